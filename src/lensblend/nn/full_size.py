"""Rendering at a photo's full size from weights that were predicted at another, as a whole or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from lensblend.ops.colour import linear_to_srgb, srgb_to_linear
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resize import Window


@dataclass(frozen=True)
class FullSize:
    """What renders any piece of a photo, alike in every piece.

    Attributes:
        weights: Takes a piece ``(b, 3, h, w)`` and where it lies, and gives its weights ``(b, n+1, h, w)``.
        copies: Takes the piece, in the light in which it is blended, and its weights, and gives its copies, sharpest
            first.
        radius: How far, in pixels, a copy looks: what is closer to an inner border of a piece is not as in the whole.
        linear_light: Whether copies are made and blended in linear light.
        grid: Pixels of which the first row and column of a piece are multiples, so that blurs on a coarser grid have
            their nodes at the same places in every piece.
    """

    weights: Callable[[Tensor, Window], Tensor]
    copies: Callable[[Tensor, Tensor], Iterable[Tensor]]
    radius: int
    linear_light: bool = False
    grid: int = 1

    def __call__(self, piece: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Render a piece ``(b, 3, h, w)`` of a photo, in [0, 1], and return with it its weights.

        One copy is in memory at a time.
        """
        piece = at_least_float32(piece)
        weights = self.weights(piece, window)
        light = srgb_to_linear(piece) if self.linear_light else piece
        bokeh = None
        for share, copy in zip(weights[:, :, None].unbind(1), self.copies(light, weights), strict=True):
            bokeh = share * copy if bokeh is None else bokeh.addcmul_(share, copy)
        if bokeh is None:
            raise ValueError("there is no copy to blend")
        return linear_to_srgb(bokeh) if self.linear_light else bokeh, weights
