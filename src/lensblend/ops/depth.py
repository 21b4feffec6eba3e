"""Depth as networks predict it and as losses and metrics compare it: in logarithms, where a ratio is a difference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lensblend.errors import RequestError
from lensblend.ops.constants import constant
from lensblend.ops.precision import at_least_float32


def log_depth(disparity: Float[Tensor, "b 1 h w"], floor: float = 0.05) -> Float[Tensor, "b 1 h w"]:
    r"""Turn disparity into the logarithm of depth, :math:`-\log(\max(d, floor))`: what a depth network is trained for.

    A disparity of 1 becomes a log depth of 0; with the default floor the farthest that is told apart is 20 times as
    far, log depth 3.0. The floor keeps a disparity of 0, infinitely far, finite, and coarse steps apart: at 0.05 a
    level of an 8-bit map is 8 % of the distance, and at 0.01 it is 40 %. Of the embedded pairs' pixels a tenth are
    below 0.05, nine in ten of them backdrop, and the order of 0.3 % of all pairs of pixels is lost with them.

    Args:
        disparity: Larger = nearer, in [0, 1].
        floor: Disparities below it count as equally far; above 0.

    Raises:
        RequestError: The floor is not positive.

    Example:
        >>> log_depth(torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3)).flatten()
        tensor([-0.0000, 0.6931, 2.9957])
    """
    if not floor > 0:
        raise RequestError(f"`floor` is the smallest disparity that counts, above 0, but got {floor}; use 0.05.")
    return -at_least_float32(disparity).clamp(min=floor).log()


def pixel_pairs(image_size: Sequence[int], count: int) -> Int64[Tensor, "2 count"]:
    """Sample pairs of different pixels that depend on nothing but the arguments.

    The positions are pseudo-random and independent of each other, the same in every call, process and run, and the
    global random numbers stay as they are.

    Args:
        image_size: Height and width in pixels; at least two pixels together.
        count: Number of pairs, 1 or more.

    Returns:
        Positions in the flattened image, on the CPU: the pairs' first pixels, and their second ones.

    Raises:
        RequestError: There are fewer than two pixels, or no pairs are wanted.

    Example:
        >>> first, second = pixel_pairs((48, 64), 1000)
        >>> bool((first != second).all())
        True
    """
    height, width = image_size
    pixels = height * width
    if pixels < 2 or count < 1:
        raise RequestError(
            f"Pairs, 1 or more, are drawn from 2 pixels or more, but got {count} pairs of {height} × {width} pixels; "
            "use a larger image, or 1024 pairs."
        )
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(pixels, (count,), generator=generator)
    apart = torch.randint(1, pixels, (count,), generator=generator)
    return torch.stack([first, (first + apart) % pixels])


def paired_differences(depth: Float[Tensor, "b 1 h w"], count: int) -> Float[Tensor, "b count"]:
    """Subtract, at each of `pixel_pairs`, the second pixel's value from the first's.

    Maps of one size are sampled at the same pixels.

    Args:
        depth: Depth or its logarithm.
        count: Number of pairs.

    Example:
        >>> paired_differences(torch.zeros(2, 1, 32, 32), 5).shape
        torch.Size([2, 5])
    """
    first, second = constant(pixel_pairs, tuple(depth.shape[-2:]), count, image=depth, dtype=torch.int64)
    values = depth.flatten(1)
    return values[:, first] - values[:, second]
