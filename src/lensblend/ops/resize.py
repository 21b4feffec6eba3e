"""Resizing of what a network rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lensblend.errors import RequestError
from lensblend.ops.precision import at_least_float32


def resize_bilinear(image: Float[Tensor, "b c h w"], image_size: Sequence[int]) -> Float[Tensor, "b c height width"]:
    """Resize by bilinear interpolation between pixel centres, without antialiasing.

    This is the way back from a network's size to the photo's own ("bilinear back", ``align_corners=False``);
    it is not meant for shrinking. Half precision is raised to float32. The range never grows.

    Args:
        image: Anything with a value per pixel: a rendered photo, weights, depth.
        image_size: Height and width in pixels.

    Example:
        >>> resize_bilinear(torch.rand(1, 3, 24, 32), (48, 64)).shape
        torch.Size([1, 3, 48, 64])
    """
    if len(image_size) != 2 or min(image_size) < 1:
        raise RequestError(f"`image_size` is (height, width), both positive, but got {list(image_size)}.")
    image = at_least_float32(image)
    height, width = image_size
    return functional.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=False)


class Window(NamedTuple):
    """A part of an image: its first row and column, its height and width."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Float[Tensor, "*_b h w"]) -> Float[Tensor, "*_b height width"]:
        """Cut the part out of the image."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


def sample_bilinear(
    image: Float[Tensor, "b c h w"],
    image_size: Sequence[int],
    extent: tuple[float, float] = (1.0, 1.0),
    window: Window | None = None,
) -> Float[Tensor, "b c height width"]:
    """Resize the upper left part of an image as `resize_bilinear` does, where that part need not end between pixels.

    Args:
        image: Anything with a value per pixel.
        image_size: Height and width that the part gets.
        extent: Its shares of the rows and of the columns, in (0, 1].
        window: Which part of the result is wanted; None for all of it.

    Example:
        >>> sample_bilinear(torch.tensor([[[[0.0, 1.0, 2.0, 9.0]]]]), (1, 3), (1.0, 0.75)).flatten().tolist()
        [0.0, 1.0, 2.0]
    """
    image = at_least_float32(image)
    top, left, height, width = window or Window(0, 0, *image_size)
    rows, columns = (
        (torch.arange(first, first + count, dtype=image.dtype, device=image.device) + 0.5) * (2 * share / length) - 1
        for first, count, length, share in zip((top, left), (height, width), image_size, extent, strict=True)
    )
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).expand(len(image), -1, -1, -1)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
