"""One-dimensional kernels along both axes: products of overlapping windows with one block of a banded matrix."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from lensblend.ops.kernels import kernel_from_bytes, kernel_to_bytes
from lensblend.ops.padding import Border, extend

Borders = tuple[Border, Border]
"""How columns and how rows are continued."""


def blur_separable(photo: Tensor, kernel: Tensor, borders: Borders, keep: bool) -> Tensor:
    """Blur each row, then each column; ``keep`` the matrix for the next photo of this dtype and device."""
    # Small blocks waste the least work on the band's zeros; a GPU is busier with large ones.
    block = 32 if photo.device.type == "cpu" else 256
    radius = len(kernel) // 2
    if keep:
        band = cached_band(kernel_to_bytes(kernel), block, photo.dtype, photo.device)
    else:
        band = _build_band(kernel, block, photo.dtype, photo.device)
    rows = map_rows(extend(photo, radius, -1, borders[1]), band, block, photo.shape[-1])
    return map_columns(extend(rows, radius, -2, borders[0]), band, block, photo.shape[-2])


def map_rows(padded: Tensor, band: Tensor, step: int, length: int) -> Tensor:
    """Map windows of each row by a matrix, and put what it gives one beside the other.

    Args:
        padded: ``(b, c, h, w)``, as far as the windows of ``length`` results reach; the rest may be missing.
        band: ``(results, inputs)`` of one window.
        step: Pixels between the beginnings of windows.
        length: How many results are wanted of a row.
    """
    batch, channels, height, _ = padded.shape
    block, reach = band.shape
    padded = _whole_windows(padded, -1, -(-length // block), step, reach)
    windows = padded.flatten(0, 2).unfold(1, reach, step).transpose(0, 1)  # views: (blocks, lines, reach)
    mapped = torch.bmm(windows, band.T.expand(len(windows), -1, -1))
    return mapped.transpose(0, 1).reshape(batch, channels, height, -1)[..., :length]


def map_columns(padded: Tensor, band: Tensor, step: int, length: int) -> Tensor:
    """Map windows of each column; see `map_rows`."""
    batch, channels, _, width = padded.shape
    block, reach = band.shape
    padded = _whole_windows(padded, -2, -(-length // block), step, reach)
    windows = padded.flatten(0, 1).unfold(1, reach, step).transpose(-1, -2)  # views: (planes, blocks, reach, width)
    planes, blocks = windows.shape[:2]
    bands = band.expand(blocks, -1, -1)
    # One product for all planes would have to copy the windows first, which costs as much as the product.
    if torch.is_grad_enabled() and padded.requires_grad:
        mapped = torch.stack([torch.bmm(bands, plane) for plane in windows])
    else:
        mapped = padded.new_empty(planes, blocks, block, width)
        for plane, result in zip(windows, mapped, strict=True):
            torch.bmm(bands, plane, out=result)
    return mapped.view(batch, channels, -1, width)[:, :, :length]


def _whole_windows(padded: Tensor, axis: int, blocks: int, step: int, reach: int) -> Tensor:
    """Bring an axis to the length of that many windows."""
    needed, given = (blocks - 1) * step + reach, padded.shape[axis]
    if needed < given:
        return padded.narrow(axis, 0, needed)
    if needed == given:  # padding by nothing would copy the photo
        return padded
    return functional.pad(padded, (0, needed - given) if axis == -1 else (0, 0, 0, needed - given))


@lru_cache(maxsize=64)
def cached_band(kernel: bytes, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the ``block`` rows of a banded matrix that blur that many pixels at once."""
    with torch.inference_mode(False):  # validation runs in inference mode; training must be able to use the same matrix
        return _build_band(kernel_from_bytes(kernel), block, dtype, device)


def _build_band(taps: Tensor, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return strided_band(taps, block, 1).to(device, dtype)


def strided_band(taps: Tensor, block: int, stride: int) -> Tensor:
    """Return the matrix whose ``block`` rows hold the taps, each ``stride`` further to the right than the one above."""
    rows = torch.arange(block)[:, None].expand(-1, len(taps))
    columns = stride * rows + torch.arange(len(taps))
    band = torch.zeros(block, stride * (block - 1) + len(taps), dtype=torch.float64)
    return band.index_put((rows, columns), taps.expand(block, -1))
