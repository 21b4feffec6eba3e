"""Focus from a pair against SciPy's Gaussian and NumPy's percentiles, and on photos blurred in known places."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lensblend.ops.focus import focus_from_pair

pytestmark = pytest.mark.usefixtures("one_thread")


def photo(height=64, width=96):
    return np.random.default_rng(0).random((3, height, width))


def blurred_right(image, sigma=3):
    target = image.copy()
    half = image.shape[2] // 2
    target[..., half:] = gaussian_filter(image, (0, sigma, sigma))[..., half:]
    return target


def focus(*pair):
    return focus_from_pair(*(torch.from_numpy(image.astype(np.float32))[None] for image in pair))[0, 0].numpy()


@pytest.mark.parametrize("size", [(64, 96), (130, 77)])
def test_is_one_minus_the_blurred_difference_between_its_percentiles(size):
    sharp = photo(*size)
    target = blurred_right(sharp)
    sigma = min(size) / 64
    difference = np.abs(sharp - target).mean(axis=0)
    radius = int(np.ceil(3 * sigma))
    difference = gaussian_filter(difference, sigma, mode="mirror", radius=radius)
    low, high = np.percentile(difference, [5, 95])
    assert high - low > 0.1
    expected = 1 - np.clip((difference - low) / (high - low), 0, 1)
    np.testing.assert_allclose(focus(sharp, target), expected, atol=1e-4)


def test_what_was_blurred_is_out_of_focus():
    sharp = photo()
    found = focus(sharp, blurred_right(sharp))
    assert found[:, :44].min() > 0.95
    assert found[:, 52:].mean() < 0.3
    assert found.min() == 0


@pytest.mark.parametrize("offset", [0, 0.1])
def test_equal_photos_and_equally_brighter_ones_are_in_focus_everywhere(offset):
    sharp = 0.8 * photo()
    np.testing.assert_allclose(focus(sharp, sharp + offset), 1, atol=1e-4)


def test_rounding_to_8_bits_is_not_stretched_to_a_mask():
    sharp = photo()
    assert focus(sharp, np.round(sharp * 255) / 255).mean() > 0.8


def test_each_pair_of_a_batch_has_its_own_percentiles():
    sharp = np.stack([photo(), photo()[:, ::-1]])
    target = np.stack([blurred_right(sharp[0]), 0.5 * sharp[1] + 0.5 * blurred_right(sharp[1], 6)])
    pairs = [torch.from_numpy(images.astype(np.float32)) for images in (sharp, target)]
    together = focus_from_pair(*pairs)
    assert together.shape == (2, 1, 64, 96)
    for index in range(2):
        alone = focus_from_pair(*(images[index : index + 1] for images in pairs))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-6)


def test_half_precision_is_raised():
    sharp = torch.rand(1, 3, 40, 40).bfloat16()
    assert focus_from_pair(sharp, sharp.flip(-1)).dtype == torch.float32
