"""Where in the whole photo a pixel is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lensblend.errors import RequestError


def coordinate_maps(
    height: int,
    width: int,
    top: int = 0,
    left: int = 0,
    full_height: int | None = None,
    full_width: int | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "2 {height} {width}"]:
    """Map the pixel centres of a photo, or of a crop of it, to their place in the whole photo.

    Rows go from -1 at the centre of the photo's first pixel to 1 at that of its last, and so do columns. A crop's maps
    are that part of the whole photo's, bit for bit. A photo of one row or column has it at -1.

    Args:
        height: Rows of the crop, in pixels.
        width: Columns of the crop.
        top: Rows of the photo above the crop.
        left: Columns of the photo to the left of it.
        full_height: Rows of the whole photo; without it, it ends where the crop does.
        full_width: Columns of the whole photo; without it, it ends where the crop does.
        device: Where to make them.

    Returns:
        The vertical coordinate, then the horizontal one, in [-1, 1], single precision.

    Raises:
        RequestError: The crop is empty or reaches beyond the photo.

    Example:
        >>> coordinate_maps(2, 3)[1].tolist()
        [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
        >>> coordinate_maps(1, 2, top=2, left=1, full_height=5, full_width=3)[:, 0].tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """
    rows = _positions(height, top, full_height, device)
    columns = _positions(width, left, full_width, device)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def _positions(length: int, start: int, full: int | None, device: torch.device | str | None) -> Tensor:
    full = start + length if full is None else full
    if length < 1 or start < 0 or start + length > full:
        raise RequestError(
            f"A crop has at least one pixel and lies within the photo, but got {length} pixels from {start} on, "
            f"in a photo of {full}; correct its place or its size."
        )
    places = torch.arange(start, start + length, dtype=torch.float32, device=device)
    return 2 * places / max(full - 1, 1) - 1
