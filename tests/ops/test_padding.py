"""Padding to a divisor by NumPy."""

import numpy as np
import pytest
import torch

from lensblend.ops.padding import pad_to_multiple


@pytest.mark.parametrize(("size", "padded"), [((33, 48), (48, 48)), ((32, 1), (32, 16)), ((16, 32), (16, 32))])
def test_the_border_is_repeated_to_the_right_and_at_the_bottom(size, padded):
    image = torch.rand(2, 3, *size)
    found = pad_to_multiple(image, 16)
    more = [(0, 0), (0, 0), *((0, after - before) for before, after in zip(size, padded, strict=True))]
    np.testing.assert_array_equal(found, np.pad(image.numpy(), more, mode="edge"))
    assert found is not image
