"""Edges of masks against SciPy's Sobel filter, which repeats the border in its mode "nearest"."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lensblend.ops.edges import mask_edges


def sobel_length(mask):
    binary = (mask > 0.5).astype(np.float64)
    return np.hypot(*(ndimage.sobel(binary, axis=axis, mode="nearest") for axis in (0, 1)))


def soft_disk(height=40, width=53):
    rows, columns = np.mgrid[:height, :width]
    return np.clip(12.3 - np.hypot(rows - 20, columns - 44), 0, 1).astype(np.float32)  # cut off by the right border


def noise(height=31, width=24):
    return np.random.default_rng(0).random((height, width), dtype=np.float32)


@pytest.mark.parametrize("mask", [soft_disk(), noise(), noise(1, 9), noise(1, 1)], ids=["disk", "noise", "row", "dot"])
def test_edges_are_where_scipys_gradient_exceeds_the_threshold(mask):
    expected = sobel_length(mask) > 1.5
    assert mask.size < 10 or 0.03 < expected.mean() < 0.97
    edges = mask_edges(torch.from_numpy(mask)[None, None])
    np.testing.assert_array_equal(edges[0, 0].numpy(), expected.astype(np.float32))


def test_every_mask_of_a_batch_has_its_own_edges():
    masks = torch.stack([torch.from_numpy(noise()), torch.from_numpy(noise()).flip(0), torch.ones(31, 24)])[:, None]
    edges = mask_edges(masks)
    for index in range(3):
        assert torch.equal(edges[index], mask_edges(masks[index : index + 1])[0])
    assert edges[0].any()
    assert not edges[2].any()


def test_a_lone_corner_is_no_edge_but_a_side_is():
    mask = torch.zeros(1, 1, 7, 7)
    mask[..., 3, 3] = 1  # gradient: √2 at the corners, 2 at the sides, 0 in the middle
    expected = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert torch.equal(mask_edges(mask)[0, 0, 2:5, 2:5], expected)
    assert mask_edges(mask).sum() == 4


def test_a_half_is_background():
    mask = torch.full((1, 1, 5, 6), 0.5)
    mask[..., 3:] = 0.51
    assert mask_edges(mask)[0, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert not mask_edges(mask.clamp(max=0.5)).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_kept_and_changes_nothing(dtype):
    mask = torch.from_numpy(soft_disk())[None, None].to(dtype)
    edges = mask_edges(mask)
    assert edges.dtype == dtype
    assert torch.equal(edges.float(), mask_edges(mask.float()))


def test_autocast_changes_nothing():
    mask = torch.from_numpy(noise())[None, None]
    expected = mask_edges(mask)
    with torch.autocast("cpu", torch.bfloat16):
        edges = mask_edges(mask)
    assert edges.dtype == torch.float32
    assert torch.equal(edges, expected)
