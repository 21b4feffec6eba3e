"""Stretch maps to the whole of their range."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def stretch(plane: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Stretch each photo's map to [0, 1] by its least and its largest value; a flat one becomes 0.

    Example:
        >>> stretch(torch.tensor([[[[0.2, 0.3, 0.4]]]])).round(decimals=4).flatten().tolist()
        [0.0, 0.5, 1.0]
    """
    low, high = plane.amin((2, 3), keepdim=True), plane.amax((2, 3), keepdim=True)
    return (plane - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda plane: plane, "minmax": stretch}
