"""Sides that a network can halve as often as it does."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Float[Tensor, "b c h w"], divisor: int) -> Float[Tensor, "b c height width"]:
    """Extend an image to the right and at the bottom, by repeating its border, to sides that a number divides.

    Args:
        image: Photos or maps.
        divisor: Of both sides; an image whose sides it divides already is copied.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.rand(1, 3, 33, 48), 16).shape
        torch.Size([1, 3, 48, 48])
    """
    height, width = image.shape[-2:]
    return functional.pad(image, (0, -width % divisor, 0, -height % divisor), mode="replicate")
