"""Images continued beyond their borders."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Border = Literal["reflect", "replicate"]


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


def extend(
    image: Float[Tensor, "b c h w"], radius: int, axis: int, border: Border
) -> Float[Tensor, "b c height width"]:
    """Continue an image by ``radius`` pixels on both sides of one axis, -1 or -2.

    Its gradient is the same in every run, on a GPU too, where PyTorch's own of ``reflect`` is not and refuses to be
    computed under deterministic algorithms.

    Args:
        image: Any range.
        radius: Shorter than the axis, where the border is ``reflect``.
        axis: Of the width, -1, or of the height, -2.
        border: ``reflect``, which does not repeat the edge pixel, or ``replicate``, which repeats it alone.

    Example:
        >>> extend(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2, -1, "reflect").flatten().tolist()
        [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    if border == "reflect" and image.requires_grad and torch.is_grad_enabled():
        return _Mirror.apply(image, radius, axis)  # type: ignore[no-untyped-call]
    return _pad(image, radius, axis, border)


def _pad(image: Tensor, radius: int, axis: int, border: Border) -> Tensor:
    margins = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
    return functional.pad(image, margins, mode=border)


class _Mirror(torch.autograd.Function):
    """Mirror the border, with a gradient that adds in a fixed order."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, radius: int, axis: int) -> Tensor:
        """Mirror without repeating the edge pixel."""
        ctx.radius, ctx.axis = radius, axis
        return _pad(image, radius, axis, "reflect")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Add to each pixel's gradient those of its reflections, first the one on the left or above."""
        (gradient,), radius, axis = gradients, ctx.radius, ctx.axis
        length = gradient.shape[axis] - 2 * radius
        inner = gradient.narrow(axis, radius, length).clone(memory_format=torch.contiguous_format)
        inner.narrow(axis, 1, radius).add_(gradient.narrow(axis, 0, radius).flip(axis))
        inner.narrow(axis, length - 1 - radius, radius).add_(gradient.narrow(axis, radius + length, radius).flip(axis))
        return inner, None, None
