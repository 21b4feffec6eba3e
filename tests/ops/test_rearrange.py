"""Space to batch against slices in NumPy and against dilated convolutions."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lensblend.errors import RequestError
from lensblend.ops.rearrange import batch_to_space, space_to_batch


@pytest.fixture
def features():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 8, 12)).astype(np.float32))


def test_each_of_four_takes_every_second_row_and_column(features):
    split = space_to_batch(features)
    assert split.shape == (8, 3, 4, 6)
    for photo, top, left in np.ndindex(2, 2, 2):
        np.testing.assert_array_equal(split[4 * photo + 2 * top + left], features[photo, :, top::2, left::2])


def test_the_way_back_undoes_it_at_any_depth(features):
    assert torch.equal(batch_to_space(space_to_batch(features)), features)
    assert torch.equal(batch_to_space(batch_to_space(space_to_batch(space_to_batch(features)))), features)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_convolution_between_them_is_a_dilated_one(steps, features):
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    split = features
    for _ in range(steps):
        split = space_to_batch(split)
    together = functional.conv2d(split, weight, padding=1)
    for _ in range(steps):
        together = batch_to_space(together)
    dilation = 2**steps
    expected = functional.conv2d(features, weight, padding=dilation, dilation=dilation)
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(3, 4), (4, 3)])
def test_odd_sides_are_refused(height, width):
    with pytest.raises(RequestError, match=f"Sides are even to be split in two, but got {height} × {width}; extend"):
        space_to_batch(torch.zeros(1, 1, height, width))


def test_a_batch_that_is_no_multiple_of_four_is_refused():
    with pytest.raises(RequestError, match="Four maps make one, but got 6; pass what `space_to_batch` returned"):
        batch_to_space(torch.zeros(6, 1, 2, 2))
