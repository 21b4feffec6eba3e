"""Blurs on coarser grids against SciPy's on all pixels."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

from lensblend.ops import decimated
from lensblend.ops.blur import blurs
from lensblend.ops.decimated import decimation, fast_blurs
from lensblend.ops.kernels import box_kernel, disk_kernel, gaussian_kernel

LEVEL = 1 / 255
PAPER = [gaussian_kernel(size) for size in (25, 45, 75)]


def squares(side):
    """A chessboard: corners and edges of full contrast, as far from photos as a picture gets."""
    rows, columns = torch.arange(301) // side, torch.arange(222) // side
    return ((rows[:, None] + columns) % 2).float().expand(1, 3, -1, -1)


def natural(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


PHOTOS = {
    "noise": lambda: torch.rand(1, 3, 160, 233, generator=torch.Generator().manual_seed(0)),
    "black and white noise": lambda: torch.rand(2, 3, 181, 166, generator=torch.Generator().manual_seed(1)).round(),
    "squares of 75": lambda: squares(75),
    "squares of 20": lambda: squares(20),
    "a cat": lambda: natural(data.chelsea()),
    "a portrait": lambda: natural(data.astronaut()),
    "coffee": lambda: natural(data.coffee()),
}


def scipy_blur(photo, kernel):
    planes, kernel = photo.double().numpy(), kernel.numpy()
    columns = ndimage.convolve1d(planes, kernel, axis=-2, mode="mirror")
    return ndimage.convolve1d(columns, kernel, axis=-1, mode="mirror")


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_within_half_a_level_of_scipy(name):
    photo = PHOTOS[name]()
    for kernel, blurred in zip(PAPER, fast_blurs(photo, PAPER), strict=True):
        expected = scipy_blur(photo, kernel)
        error = np.abs(blurred.double().numpy() - expected).max()
        assert 1e-3 * LEVEL < error < 0.5 * LEVEL  # and it was not computed exactly


@pytest.mark.parametrize("size", [19, 25, 31, 45, 61, 75, 101, 151, 301])
def test_any_width_is_within_half_a_level(size):
    kernel, photo = gaussian_kernel(size), squares(60)[..., :220, :200]
    blurred = next(fast_blurs(photo, [kernel])).double().numpy()
    assert np.abs(blurred - scipy_blur(photo, kernel)).max() < 0.5 * LEVEL


def test_factors_grow_with_the_kernel():
    plans = [decimation(gaussian_kernel(size)) for size in (5, 25, 45, 75, 151, 301)]
    assert [plan and plan.factor for plan in plans] == [None, 2, 4, 8, 16, 32]
    assert decimation(box_kernel(75)) is None
    assert decimation(disk_kernel(37)) is None


@pytest.mark.parametrize("size", [(91, 130), (92, 131), (93, 129), (96, 128), (95, 127)])
def test_a_blur_is_the_mean_of_what_it_sees(size):
    """Of any size, whatever remains beside the last node: constants stay, the range never grows, the mean is kept."""
    constant = torch.full((1, 1, *size), 0.7)
    noise = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)).round()
    for flat, blurred in zip(fast_blurs(constant, PAPER), fast_blurs(noise, PAPER), strict=True):
        assert flat.shape == constant.shape
        assert (flat - 0.7).abs().max() < 1e-6
        assert -1e-6 < blurred.min() < blurred.max() < 1 + 1e-6
    for exact, blurred in zip(blurs(noise, PAPER), fast_blurs(noise, PAPER), strict=True):
        assert abs((exact.mean() - blurred.mean()).item()) < 0.02 * LEVEL


def test_mirrored_photos_give_mirrored_blurs():
    """Nodes lie at both ends where the sides are a multiple of the factor, and one pixel."""
    photo = torch.rand(1, 3, 97, 145, generator=torch.Generator().manual_seed(0))
    for blurred, mirrored in zip(fast_blurs(photo, PAPER), fast_blurs(photo.flip(-1, -2), PAPER), strict=True):
        torch.testing.assert_close(mirrored.flip(-1, -2), blurred, rtol=0, atol=1e-6)


def test_a_part_on_the_grid_is_blurred_as_in_the_whole():
    """Its first pixel at a multiple of the factor, and as much around it as the blur reaches."""
    photo = torch.rand(1, 3, 300, 320, generator=torch.Generator().manual_seed(0))
    for kernel, whole in zip(PAPER, fast_blurs(photo, PAPER), strict=True):
        plan = decimation(kernel)
        top, left, reach = 3 * plan.factor, 5 * plan.factor, plan.reach
        part = next(fast_blurs(photo[..., top:, left : left + 200], [kernel]))
        inner = (..., slice(reach, -reach), slice(reach, 200 - reach))
        torch.testing.assert_close(part[inner], whole[..., top:, left : left + 200][inner], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 54), (30, 200), (1, 1)])
def test_photos_that_a_blur_spans_are_blurred_exactly(size):
    photo = torch.rand(1, 3, *size)
    plan = decimation(PAPER[-1])
    assert min(size) <= plan.reach
    kernels = PAPER[-1:]
    assert torch.equal(next(fast_blurs(photo, kernels)), next(blurs(photo, kernels)))


def test_the_smallest_photo_that_is_decimated():
    kernel = PAPER[1]
    reach = decimation(kernel).reach
    photo = torch.rand(1, 3, reach + 1, reach + 2, generator=torch.Generator().manual_seed(0))
    blurred = next(fast_blurs(photo, [kernel]))
    assert 1e-5 < np.abs(blurred.numpy() - scipy_blur(photo, kernel)).max() < 0.5 * LEVEL


def test_kernels_without_a_coarser_grid_are_exact_beside_those_with_one():
    photo = torch.rand(1, 3, 130, 140)
    kernels = [gaussian_kernel(5), PAPER[1], box_kernel(31), disk_kernel(9)]
    fast, exact = list(fast_blurs(photo, kernels)), list(blurs(photo, kernels))
    assert [torch.equal(a, b) for a, b in zip(fast, exact, strict=True)] == [True, False, True, True]


def test_the_gradient_is_the_transposed_blur():
    generator = torch.Generator().manual_seed(0)
    photo, other = (torch.rand(1, 2, 100, 83, dtype=torch.float64, generator=generator) for _ in range(2))
    for kernel in PAPER:
        leaf = photo.clone().requires_grad_()
        blurred = next(fast_blurs(leaf, [kernel]))
        blurred.backward(other)
        assert torch.sum(blurred * other).item() == pytest.approx(torch.sum(leaf * leaf.grad).item(), rel=1e-12)
        torch.testing.assert_close(next(fast_blurs(photo, [kernel])), blurred.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_is_raised_and_double_kept(dtype):
    photo = torch.rand(1, 3, 90, 80).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        blurred = next(fast_blurs(photo, [PAPER[0]]))
    assert blurred.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert np.abs(blurred.double().numpy() - scipy_blur(photo, PAPER[0])).max() < 0.5 * LEVEL


def test_an_exported_blur_is_exact_and_leaves_no_fakes_behind():
    class Blur(torch.nn.Module):
        def forward(self, photo):
            return next(fast_blurs(photo, PAPER[:1]))

    photo = torch.rand(1, 1, 90, 80)
    decimated._decimation.cache_clear()
    exported = torch.export.export(Blur(), (photo,)).module()
    torch.testing.assert_close(exported(photo), next(blurs(photo, PAPER[:1])), rtol=0, atol=1e-6)
    assert not torch.equal(next(fast_blurs(photo, PAPER[:1])), exported(photo))


def test_an_unsharpened_kernel_would_be_off_by_more(monkeypatch):
    monkeypatch.setattr(decimated, "_sharpened", lambda taps, factor: taps)
    decimated._decimation.cache_clear()
    try:
        assert decimation(PAPER[0]) is None
    finally:
        decimated._decimation.cache_clear()
