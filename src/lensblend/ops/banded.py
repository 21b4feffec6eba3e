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
    if keep:
        band = cached_band(kernel_to_bytes(kernel), block, photo.dtype, photo.device)
    else:
        band = _build_band(kernel, block, photo.dtype, photo.device)
    return _blur_columns(_blur_rows(photo, band, borders[1]), band, borders[0])


def _blur_rows(photo: Tensor, band: Tensor, border: Border) -> Tensor:
    batch, channels, height, width = photo.shape
    block, reach = band.shape
    radius = (reach - block) // 2
    padded = extend(photo, radius, -1, border)
    if rest := -width % block:  # padding by nothing would copy the photo
        padded = functional.pad(padded, (0, rest))
    windows = padded.flatten(0, 2).unfold(1, reach, block).transpose(0, 1)  # views: (blocks, lines, reach)
    blurred = torch.bmm(windows, band.T.expand(len(windows), -1, -1))
    return blurred.transpose(0, 1).reshape(batch, channels, height, -1)[..., :width]


def _blur_columns(photo: Tensor, band: Tensor, border: Border) -> Tensor:
    batch, channels, height, width = photo.shape
    block, reach = band.shape
    radius = (reach - block) // 2
    padded = extend(photo, radius, -2, border)
    if rest := -height % block:
        padded = functional.pad(padded, (0, 0, 0, rest))
    windows = padded.flatten(0, 1).unfold(1, reach, block).transpose(-1, -2)  # views: (planes, blocks, reach, width)
    planes, blocks = windows.shape[:2]
    bands = band.expand(blocks, -1, -1)
    # One product for all planes would have to copy the windows first, which costs as much as the product.
    if torch.is_grad_enabled() and photo.requires_grad:
        blurred = torch.stack([torch.bmm(bands, plane) for plane in windows])
    else:
        blurred = photo.new_empty(planes, blocks, block, width)
        for plane, result in zip(windows, blurred, strict=True):
            torch.bmm(bands, plane, out=result)
    return blurred.view(batch, channels, -1, width)[:, :, :height]


@lru_cache(maxsize=64)
def cached_band(kernel: bytes, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the ``block`` rows of a banded matrix that blur that many pixels at once."""
    with torch.inference_mode(False):  # validation runs in inference mode; training must be able to use the same matrix
        return _build_band(kernel_from_bytes(kernel), block, dtype, device)


def _build_band(taps: Tensor, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    rows = torch.arange(block)[:, None].expand(-1, len(taps))
    columns = rows + torch.arange(len(taps))
    band = torch.zeros(block, block + len(taps) - 1, dtype=torch.float64)
    return band.index_put((rows, columns), taps.expand(block, -1)).to(device, dtype)
