"""Moving pixels between space and the batch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lensblend.errors import RequestError


def space_to_batch(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "four_b c half_h half_w"]:
    """Split each map into the four that take every second row and column.

    What then convolves them works on the original as a convolution of twice the dilation, at no further cost. The four
    of one photo are neighbours in the batch, ordered by the first row, then by the first column, that they take.

    Args:
        features: Sides are even.

    Returns:
        Four times as many maps of half the sides.

    Raises:
        RequestError: A side is odd.

    Example:
        >>> import torch
        >>> space_to_batch(torch.arange(8.0).view(1, 1, 2, 4)).squeeze().tolist()
        [[0.0, 2.0], [1.0, 3.0], [4.0, 6.0], [5.0, 7.0]]
    """
    batch, channels, height, width = features.shape
    if height % 2 or width % 2:
        raise RequestError(f"Sides are even to be split in two, but got {height} × {width}; extend them first.")
    split = features.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
    return split.reshape(4 * batch, channels, height // 2, width // 2)


def batch_to_space(features: Float[Tensor, "four_b c half_h half_w"]) -> Float[Tensor, "b c h w"]:
    """Put four maps together as one of twice their sides: the inverse of `space_to_batch`.

    Args:
        features: As `space_to_batch` returns them.

    Raises:
        RequestError: The batch is no multiple of four.

    Example:
        >>> import torch
        >>> batch_to_space(torch.arange(4.0).view(4, 1, 1, 1)).squeeze().tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """
    batch, channels, height, width = features.shape
    if batch % 4:
        raise RequestError(f"Four maps make one, but got {batch}; pass what `space_to_batch` returned.")
    split = features.reshape(batch // 4, 2, 2, channels, height, width).permute(0, 3, 4, 1, 5, 2)
    return split.reshape(batch // 4, channels, 2 * height, 2 * width)
