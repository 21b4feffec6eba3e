"""Pixel centres against NumPy's evenly spaced numbers, and crops against the whole."""

import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.ops.coordinates import coordinate_maps


@pytest.mark.parametrize(("height", "width"), [(2, 2), (5, 8), (33, 47)])
def test_rows_and_columns_go_evenly_from_minus_one_to_one(height, width):
    vertical, horizontal = coordinate_maps(height, width).numpy()
    expected_rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    expected_columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    np.testing.assert_allclose(vertical, np.broadcast_to(expected_rows, (height, width)), rtol=0, atol=1e-7)
    np.testing.assert_allclose(horizontal, np.broadcast_to(expected_columns, (height, width)), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (7, 3), (27, 37)])
def test_a_crop_keeps_its_place_bit_for_bit(top, left):
    whole = coordinate_maps(33, 47)
    crop = coordinate_maps(6, 10, top=top, left=left, full_height=33, full_width=47)
    assert crop.dtype == torch.float32
    assert torch.equal(crop, whole[:, top : top + 6, left : left + 10])


def test_a_photo_ends_with_its_crop_unless_its_size_is_given():
    assert torch.equal(coordinate_maps(2, 2, top=3, left=1), coordinate_maps(5, 3)[:, 3:, 1:])


def test_the_only_row_and_column_are_the_first():
    assert torch.equal(coordinate_maps(1, 1), torch.full((2, 1, 1), -1.0))


def test_they_are_made_where_they_are_wanted():
    assert coordinate_maps(2, 3, device="meta").device.type == "meta"
    assert coordinate_maps(2, 3, device=torch.device("cpu")).device.type == "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "got 0 pixels from 0 on, in a photo of 0"),
        ((4, 4, -1, 0), "got 4 pixels from -1 on, in a photo of 3"),
        ((4, 4, 2, 0, 5), "got 4 pixels from 2 on, in a photo of 5"),
        ((4, 4, 0, 2, 4, 5), "got 4 pixels from 2 on, in a photo of 5"),
    ],
)
def test_a_crop_beyond_the_photo_is_refused(arguments, message):
    with pytest.raises(RequestError, match=message + "; correct its place"):
        coordinate_maps(*arguments)
