"""Photos of 8 or 16 bits in, renderings of as many bits out, in memory that does not grow with what a network keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lensblend.data.originals import to_8_bits
from lensblend.inference.pictures import to_8bit
from lensblend.inference.rendering import BlendAt, render_photo, weight_maps
from lensblend.nn.rendering import BokehNetwork


class Rendered(NamedTuple):
    """A rendering as pixels, and the weights it was blended by, as 8-bit pictures."""

    bokeh: NDArray[Any]
    weights: list[NDArray[np.uint8]]


def render_pixels(
    network: BokehNetwork,
    pixels: NDArray[Any],
    image_size: tuple[int, int],
    blend_at: BlendAt,
    guidance: Mapping[str, NDArray[np.float32]],
    weights: bool = False,
) -> Rendered:
    """Render a photo of 8 or 16 bits, as many of which the rendering has."""
    rendering = render_photo(network, to_8_bits(pixels), image_size, blend_at, guidance)
    bokeh = to_8bit(rendering.bokeh[0])
    if pixels.dtype == np.uint16:
        bokeh = np.rint(rendering.bokeh[0].clamp(0, 1).double().permute(1, 2, 0).cpu().numpy() * 65535).astype(
            np.uint16
        )
    return Rendered(bokeh, weight_maps(rendering) if weights else [])
