"""Sobel's responses against SciPy."""

import numpy as np
import torch
from scipy import ndimage

from lensblend.ops.gradients import sobel


def test_sobel_is_scipys_in_both_directions():
    image = np.random.default_rng(0).random((2, 3, 7, 9), dtype=np.float32)
    ours = sobel(torch.from_numpy(image))
    for index, axis in enumerate((-1, -2)):
        expected = np.stack([[ndimage.sobel(plane, axis=axis, mode="nearest") for plane in photo] for photo in image])
        np.testing.assert_allclose(ours[:, :, index], expected, atol=1e-5)


def test_a_constant_image_has_no_gradient_up_to_its_border():
    assert sobel(torch.full((1, 2, 4, 5), 0.7)).abs().max() < 1e-6


def test_autocast_changes_nothing():
    image = torch.rand(1, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = sobel(image)
    assert torch.equal(found, sobel(image))
