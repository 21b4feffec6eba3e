"""Resizing as products with matrices, whose sides may stay open in an exported graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

_LOBES = 3

Side = int | torch.SymInt


def resample_lanczos(levels: Float[Tensor, "b c h w"], image_size: Sequence[Side]) -> Float[Tensor, "b c h2 w2"]:
    """Resize whole levels from 0 to 255 as Pillow's antialiased Lanczos filter resizes 8-bit photos.

    They are rounded after each axis, as Pillow does; where its fixed-point numbers round the other way, a level differs
    by one.

    Example:
        >>> resample_lanczos(torch.full((1, 3, 4, 6), 7.0), (2, 3)).unique().tolist()
        [7.0]
    """
    down, across = (
        _matrix(wanted, given, _lanczos, _LOBES, antialias=True).to(levels)
        for wanted, given in zip(image_size, levels.shape[-2:], strict=True)
    )
    narrow = (levels @ across.T).round().clamp(0, 255)
    return (down @ narrow).round().clamp(0, 255)


def resample_linear(
    image: Float[Tensor, "b c h w"], image_size: Sequence[Side], antialias: bool = False
) -> Float[Tensor, "b c h2 w2"]:
    """Resize bilinearly between pixel centres.

    Args:
        image: Any range.
        image_size: Height and width of the result, in pixels.
        antialias: Whether to average over what becomes one pixel, as Pillow does, where the image shrinks; without, it
            is sampled as `lensblend.ops.resize.resize_bilinear` does.

    Example:
        >>> resample_linear(torch.tensor([[[[0.0, 1.0]]]]), (1, 4)).flatten().tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    down, across = (
        _matrix(wanted, given, _triangle, 1, antialias).to(image)
        for wanted, given in zip(image_size, image.shape[-2:], strict=True)
    )
    return down @ (image @ across.T)


def doubled(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Enlarge twice as `lensblend.ops.resize.resize_bilinear` does, with gradients that repeat on a GPU as well.

    Args:
        image: Any range.

    Example:
        >>> doubled(torch.tensor([[[[0.0, 1.0]]]]))[0, 0, 0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    for axis in (-2, -1):
        last = image.shape[axis] - 1
        first, rest = image.narrow(axis, 0, 1), image.narrow(axis, 1, last)
        before = torch.cat([first, image.narrow(axis, 0, last)], dim=axis)
        after = torch.cat([rest, image.narrow(axis, last, 1)], dim=axis)
        pairs = [torch.lerp(image, beside, 0.25) for beside in (before, after)]
        image = torch.stack(pairs, dim=axis).flatten(axis - 1, axis)
    return image


def _matrix(
    wanted_side: Side, given_side: Side, shape: Callable[[Tensor], Tensor], reach: int, antialias: bool
) -> Tensor:
    """Return how much of each given pixel is in each of those that are wanted; rows sum to one."""
    wanted, given = (torch.arange(cast("int", side)) for side in (wanted_side, given_side))
    # Lengths as tensors: in a graph, they may not be known yet.
    scale = (given[-1:].double() + 1) / (wanted[-1:].double() + 1)
    spread = scale.clamp(min=1) if antialias else torch.ones_like(scale)
    centres = (wanted.double() + 0.5) * scale
    offsets = (given.double() + 0.5 - centres[:, None]) / spread
    shares = torch.where(offsets.abs() < reach, shape(offsets), 0.0)
    return shares / shares.sum(dim=1, keepdim=True)


def _lanczos(offsets: Tensor) -> Tensor:
    return _sinc(offsets) * _sinc(offsets / _LOBES)


def _sinc(offsets: Tensor) -> Tensor:
    angles = torch.where(offsets == 0, 1.0, math.pi * offsets)
    return torch.where(offsets == 0, 1.0, torch.sin(angles) / angles)


def _triangle(offsets: Tensor) -> Tensor:
    return 1 - offsets.abs()
