"""Resizing of what a network rendered."""

from __future__ import annotations

from collections.abc import Sequence

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
        >>> import torch
        >>> resize_bilinear(torch.rand(1, 3, 24, 32), (48, 64)).shape
        torch.Size([1, 3, 48, 64])
    """
    if len(image_size) != 2 or min(image_size) < 1:
        raise RequestError(f"`image_size` is (height, width), both positive, but got {list(image_size)}.")
    image = at_least_float32(image)
    height, width = image_size
    return functional.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=False)
