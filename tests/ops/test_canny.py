"""Edges against a loop over pixels, against scikit-image's detector, and where the answer can be worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.feature import canny as canny_of_skimage

from lensblend.errors import RequestError
from lensblend.ops.canny import canny

TAPS = np.exp(-0.5 * np.arange(-2, 3) ** 2)
TAPS /= TAPS.sum()
AXES = {0: (0, 1), 1: (1, 1), 2: (1, 0), 3: (1, -1)}  # steps down and right, by multiples of 45 degrees


def smooth_noise(channels=3, height=30, width=41, seed=0):
    noise = np.random.default_rng(seed).standard_normal((channels, height, width))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5)) * 4


def disk(height=48, width=56):
    rows, columns = np.mgrid[:height, :width]
    return np.clip(15.3 - np.hypot(rows - 23.2, columns - 27.7), 0, 1)[None]


def by_loop(photo, threshold):
    """Blur, Sobel and suppression, pixel by pixel, away from the border."""
    gradients = []
    for plane in photo:
        smooth = ndimage.correlate1d(
            ndimage.correlate1d(plane, TAPS, axis=0, mode="mirror"), TAPS, axis=1, mode="mirror"
        )
        gradients.append([ndimage.sobel(smooth, axis=axis, mode="nearest") for axis in (1, 0)])
    right, down = np.asarray(gradients).transpose(1, 0, 2, 3)
    strength = (right**2 + down**2).sum(0)
    angle = np.degrees(np.arctan2(down.sum(0), right.sum(0)))
    octant = np.round(angle / 45).astype(int) % 4
    edges = np.zeros_like(strength)
    for row in range(1, strength.shape[0] - 1):
        for column in range(1, strength.shape[1] - 1):
            step, here = np.array(AXES[octant[row, column]]), strength[row, column]
            around = [strength[tuple(np.array([row, column]) + sign * step)] for sign in (1, -1)]
            if here > threshold and here > max(around):
                edges[row, column] = here
    return edges


@pytest.mark.parametrize("photo", [smooth_noise(), smooth_noise(1, seed=1), disk()], ids=["colour", "grey", "disk"])
def test_edges_are_those_of_a_loop_over_pixels(photo):
    expected = by_loop(photo, threshold=1.0)
    edges = canny(torch.from_numpy(photo)[None], threshold=1.0)[0, 0].numpy()
    assert 0.02 < (expected > 0).mean() < 0.5
    np.testing.assert_allclose(edges[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-9)


def test_edges_lie_where_scikit_image_finds_them():
    photo = disk()
    ours = canny(torch.from_numpy(photo)[None], threshold=1.0)[0, 0].numpy() > 0
    theirs = canny_of_skimage(photo[0], sigma=1.0)
    assert theirs.sum() > 60
    for one, other in ((ours, theirs), (theirs, ours)):
        distance = ndimage.distance_transform_edt(~other)[one]
        assert distance.max() <= 1.5
        assert distance.mean() < 0.5


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.75, 0.25), (1.0, -1.0), (0.2, 0.7)])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_step_is_one_pixel_wide_and_as_strong_as_the_kernels_say(low, high, transposed):
    photo = torch.full((1, 1, 12, 14), low)
    photo[..., 7:] = high
    expected = torch.zeros(1, 1, 12, 14)
    # Four times the difference of its neighbours: 1 - TAPS[0] of the step on one, TAPS[3] + TAPS[4] on the other.
    expected[..., 7] = (4 * (high - low) * (1 - TAPS[0] - TAPS[3] - TAPS[4])) ** 2
    if transposed:
        photo, expected = photo.mT, expected.mT
    torch.testing.assert_close(canny(photo, threshold=0.1), expected, rtol=1e-4, atol=1e-6)


def test_only_what_exceeds_the_threshold_stays():
    photo = torch.from_numpy(smooth_noise())[None]
    all_edges = canny(photo, threshold=0.0)
    middle = all_edges[all_edges > 0].median().item()  # the strength of a pixel, which does not exceed itself
    strong = canny(photo, threshold=middle)
    assert (strong > 0).sum() == (all_edges > 0).sum() // 2
    assert torch.equal(strong, torch.where(all_edges > middle, all_edges, 0))


def test_channels_add_up_and_a_plain_photo_has_no_edge_even_at_its_border():
    grey = torch.from_numpy(smooth_noise(1)).float()[None]
    torch.testing.assert_close(canny(grey.expand(-1, 3, -1, -1), 0.0), 3 * canny(grey, 0.0), rtol=1e-5, atol=1e-6)
    assert not canny(torch.full((1, 3, 20, 20), 0.3), 1e-6).any()


def test_strengths_have_a_gradient():
    photo = torch.from_numpy(disk())[None].requires_grad_()
    edges = canny(photo, 1.0)
    edges.sum().backward()
    with torch.no_grad():
        scaled = canny(1.001 * photo, 1.0).sum() - edges.sum()
    # Strengths grow with the square: the derivative along the photo itself is twice their sum.
    assert (photo.grad * photo).sum().item() == pytest.approx(2 * edges.sum().item(), rel=1e-9)
    assert scaled.item() == pytest.approx(0.002 * edges.sum().item(), rel=1e-2)


def test_half_precision_is_raised():
    photo = torch.from_numpy(disk()).float()[None]
    with torch.autocast("cpu", torch.bfloat16):
        edges = canny(photo, 1.0)
    assert edges.dtype == torch.float32
    assert torch.equal(edges, canny(photo, 1.0))


def test_a_threshold_is_not_negative():
    with pytest.raises(RequestError, match=r"not negative, but got -1\.0; use 0"):
        canny(torch.zeros(1, 1, 8, 8), -1.0)
