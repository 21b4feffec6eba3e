"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Rendering(NamedTuple):
    """A rendered photo and the named intermediates that led to it.

    Attributes:
        bokeh: The rendered photo ``(b, 3, h, w)``, sRGB in [0, 1], of the photo's size.
        aux: Named intermediates: ``weights`` ``(b, n+1, h, w)``, ``stack`` ``(b, n+1, 3, h, w)``, ``depth``,
            ``saliency``, ``pyramid``, ``mask``, ``kernels``.
    """

    bokeh: Tensor
    aux: dict[str, Tensor]
