"""Guided upsampling against window-by-window least squares in NumPy, as the paper defines it."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from lensblend.errors import RequestError
from lensblend.ops.guided import guided_upsample


def by_least_squares(plane, guide, full_guide, radius, eps):
    """Fit each window by NumPy's solver, average the windows of each pixel, enlarge with OpenCV, apply."""
    height, width = plane.shape
    models = np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            rows, columns = (slice(max(c - radius, 0), c + radius + 1) for c in (y, x))
            colours, values = guide[rows, columns].reshape(-1, 3), plane[rows, columns].ravel()
            spread = np.cov(colours, rowvar=False, bias=True) + eps * np.eye(3)
            slope = np.linalg.solve(spread, ((colours - colours.mean(0)) * (values - values.mean())[:, None]).mean(0))
            models[y, x] = *slope, values.mean() - slope @ colours.mean(0)
    means = np.zeros_like(models)
    for y in range(height):
        for x in range(width):
            rows, columns = (slice(max(c - radius, 0), c + radius + 1) for c in (y, x))
            means[y, x] = models[rows, columns].reshape(-1, 4).mean(0)
    full = cv2.resize(means, full_guide.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return (full[..., :3] * full_guide).sum(-1) + full[..., 3]


@pytest.mark.parametrize(("radius", "eps", "factor"), [(1, 1e-2, 1), (2, 1e-3, 4), (3, 1e-4, 3)])
def test_equals_least_squares_in_each_window(radius, eps, factor):
    rng = np.random.default_rng(0)
    full = rng.random((9 * factor, 11 * factor, 3))
    small = full.reshape(9, factor, 11, factor, 3).mean((1, 3))
    maps = rng.random((2, 9, 11))
    ours = guided_upsample(
        torch.from_numpy(maps)[None],
        torch.from_numpy(small).permute(2, 0, 1)[None],
        torch.from_numpy(full).permute(2, 0, 1)[None],
        radius,
        eps,
    )
    theirs = np.stack([by_least_squares(plane, small, full, radius, eps) for plane in maps])
    np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=0, atol=1e-9)


def test_a_coarse_mask_gets_the_photos_own_edge():
    """A disc in another colour than its ground, masked at an eighth of the size, comes back with its sharp rim."""
    y, x = np.mgrid[:128, :192] + 0.5
    disc = (np.hypot(y - 60, x - 90) < 40).astype(np.float32)
    rng = np.random.default_rng(0)
    colours = np.where(disc[..., None] > 0, [0.8, 0.4, 0.3], [0.2, 0.5, 0.4]) + 0.005 * rng.standard_normal(
        (128, 192, 3)
    )
    photo = torch.from_numpy(colours).float().permute(2, 0, 1)[None].clamp(0, 1)
    mask = torch.from_numpy(disc)[None, None]
    coarse = functional.avg_pool2d(mask, 8)
    guided = guided_upsample(coarse, functional.avg_pool2d(photo, 8), photo, radius=2, eps=1e-4)
    bilinear = functional.interpolate(coarse, (128, 192), mode="bilinear")
    assert (guided - mask).abs().mean() < 0.25 * (bilinear - mask).abs().mean()


def test_weights_still_sum_to_one_and_constants_stay():
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand(2, 3, 32, 48, generator=generator)
    weights = torch.rand(2, 4, 8, 12, generator=generator).softmax(1)
    full = guided_upsample(weights, functional.avg_pool2d(photo, 4), photo)
    torch.testing.assert_close(full.sum(1), torch.ones(2, 32, 48), rtol=0, atol=1e-5)
    # Also in a black photo, whose variance is zero.
    flat = guided_upsample(torch.full((1, 1, 8, 12), 0.3), torch.zeros(1, 3, 8, 12), torch.zeros(1, 3, 32, 48))
    torch.testing.assert_close(flat, torch.full((1, 1, 32, 48), 0.3), rtol=0, atol=1e-6)


def test_an_extended_map_lies_where_its_photo_lies():
    """A photo of 30×45 whose maps were predicted for 32×48: enlarging the part equals cutting the whole."""
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand(1, 3, 32, 48, generator=generator, dtype=torch.float64)
    maps = torch.rand(1, 2, 8, 12, generator=generator, dtype=torch.float64)
    small = functional.avg_pool2d(photo, 4)
    whole = guided_upsample(maps, small, photo)[..., :30, :45]
    part = guided_upsample(maps, small, photo[..., :30, :45], extent=(30 / 32, 45 / 48))
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-10)


def test_gradients_reach_maps_and_photo():
    generator = torch.Generator().manual_seed(0)
    maps, guide, full = (
        torch.rand(1, n, h, w, generator=generator, dtype=torch.float64, requires_grad=True)
        for n, h, w in ((2, 4, 5), (3, 4, 5), (3, 8, 10))
    )
    assert torch.autograd.gradcheck(lambda *a: guided_upsample(*a, radius=1, eps=1e-2), (maps, guide, full))


def test_half_precision_is_raised():
    maps, guide, full = (torch.rand(1, n, s, s) for n, s in ((1, 8), (3, 8), (3, 16)))
    with torch.autocast("cpu", torch.bfloat16):
        result = guided_upsample(maps.bfloat16(), guide.bfloat16(), full)
    assert result.dtype == torch.float32


@pytest.mark.parametrize(("radius", "eps"), [(0, 1e-3), (2, 0.0), (2, float("nan"))])
def test_bad_windows_are_refused(radius, eps):
    with pytest.raises(RequestError, match=r"`radius` is at least 1"):
        guided_upsample(torch.rand(1, 1, 8, 8), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16), radius, eps)
