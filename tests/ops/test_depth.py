from __future__ import annotations

import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.ops.depth import log_depth, paired_differences, pixel_pairs


def test_log_depth_is_numpys_and_ends_at_the_floor() -> None:
    disparity = np.linspace(0, 1, 2 * 7 * 9).reshape(2, 1, 7, 9)
    for floor in (0.05, 0.2):
        expected = -np.log(np.maximum(disparity, floor))
        np.testing.assert_allclose(log_depth(torch.from_numpy(disparity), floor), expected, rtol=1e-15)
    assert log_depth(torch.zeros(1, 1, 1, 1)).item() == pytest.approx(np.log(20), rel=1e-6)


def test_nearer_is_smaller() -> None:
    disparity = torch.linspace(0.05, 1, 50).view(1, 1, 5, 10)
    assert (log_depth(disparity).flatten().diff() < 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_before_the_logarithm(dtype: torch.dtype) -> None:
    disparity = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = log_depth(disparity)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, -np.log(np.maximum(disparity.double().numpy(), 0.05)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("floor", [0.0, -0.1, float("nan")])
def test_a_floor_without_a_logarithm_is_refused(floor: float) -> None:
    with pytest.raises(RequestError, match=rf"above 0, but got {floor}; use 0.05"):
        log_depth(torch.ones(1, 1, 4, 4), floor)


def test_pairs_are_different_pixels_inside_the_image() -> None:
    for size in ((1, 2), (5, 7), (192, 256)):
        first, second = pixel_pairs(size, 4096)
        both = torch.stack([first, second])
        assert both.min() >= 0
        assert both.max() < size[0] * size[1]
        assert (first != second).all()
        assert first.shape == (4096,)


def test_pairs_depend_on_the_arguments_alone() -> None:
    torch.manual_seed(1)
    first = pixel_pairs((20, 30), 100)
    state = torch.get_rng_state()
    assert torch.equal(pixel_pairs((20, 30), 100), first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(pixel_pairs((20, 30), 100), first)
    assert not torch.equal(pixel_pairs((20, 31), 100), first)


def test_pairs_reach_everywhere_and_both_ways() -> None:
    first, second = pixel_pairs((64, 64), 8192)
    for position in (first, second):
        quarters = np.histogram2d(position // 64, position % 64, bins=2)[0] / 8192
        np.testing.assert_allclose(quarters, 0.25, atol=0.03)
    assert (first > second).float().mean().item() == pytest.approx(0.5, abs=0.03)
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < 0.05


@pytest.mark.parametrize(("size", "count"), [((1, 1), 10), ((0, 8), 10), ((8, 8), 0)])
def test_pairs_that_cannot_be_drawn_are_refused(size: tuple[int, int], count: int) -> None:
    with pytest.raises(RequestError, match=rf"but got {count} pairs of {size[0]} × {size[1]} pixels"):
        pixel_pairs(size, count)


def test_differences_are_first_minus_second_in_every_image() -> None:
    depth = np.random.default_rng(0).random((3, 1, 6, 11))
    rows, columns = np.divmod(pixel_pairs((6, 11), 50).numpy(), 11)
    expected = depth[:, 0, rows[0], columns[0]] - depth[:, 0, rows[1], columns[1]]
    np.testing.assert_array_equal(paired_differences(torch.from_numpy(depth), 50), expected)
