"""Photos of 8 or 16 bits in, renderings of as many bits out; large ones are blended piece by piece.

The network looks at the photo at its own fixed size, whatever the photo's. What needs memory in proportion to the photo
is blurring and blending at the photo's size: that is done in pieces, which overlap by the radius of the widest blur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensblend.data.originals import to_8_bits
from lensblend.data.sizes import turned
from lensblend.inference.pictures import to_8bit
from lensblend.inference.rendering import BlendAt, explaining, render_photo, seen_by, weight_maps
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.ops.resize import Window, sample_bilinear

PIECE = 4_000_000  # pixels that are blended at once, with those around them
_SMALLEST = 256  # pixels a side that a piece keeps without those around it


class Rendered(NamedTuple):
    """A rendering as pixels, and the weights it was blended by, as 8-bit pictures."""

    bokeh: NDArray[Any]
    weights: list[NDArray[np.uint8]]


class Piece(NamedTuple):
    """A part of a photo, and the part that is blended to get it: as much more on each side as blurs look."""

    inner: Window
    outer: Window

    @property
    def within(self) -> Window:
        """Where the part lies in what is blended."""
        inner, outer = self
        return Window(inner.top - outer.top, inner.left - outer.left, inner.height, inner.width)


@torch.inference_mode()
def render_pixels(
    network: BokehNetwork,
    pixels: NDArray[Any],
    image_size: tuple[int, int],
    blend_at: BlendAt,
    guidance: Mapping[str, NDArray[np.float32]],
    weights: bool = False,
    most: int = PIECE,
    advance: Callable[[float], None] | None = None,
) -> Rendered:
    """Render bokeh into a photo, as `lensblend.inference.rendering.render_photo` does, in less memory.

    Args:
        network: In evaluation mode.
        pixels: ``(h, w, 3)``, 8 or 16 bits; the network sees 8, blurs and blending are of all.
        image_size: Height and width at which the network works.
        blend_at: ``network`` or ``photo``.
        guidance: What the network needs beside the photo.
        weights: Whether weight maps are wanted.
        most: How many pixels are blended at once, those around a piece counted.
        advance: Is told after each piece how large a share of the photo is done.

    Returns:
        The rendering in as many bits, and the weight maps where they are wanted.
    """
    seen, size = to_8_bits(pixels), (pixels.shape[0], pixels.shape[1])
    if blend_at == "photo":
        small, maps = seen_by(network, seen, turned(image_size, size), guidance)
        with explaining(network, size):
            blended = network.full_size(small, size, **maps)
            if blended is not None:
                return _in_pieces(pixels, blended, blended.radius, weights, most, small.device, blended.grid, advance)
        rendering = render_photo(network, seen, image_size, blend_at, guidance)
        return _in_pieces(pixels, _cut(rendering), 0, weights, most, small.device)
    rendering = _at_its_size(network, seen, turned(image_size, size), guidance)
    bokeh = rendering.bokeh

    def enlarged(_: Tensor, window: Window) -> tuple[Tensor, None]:
        return sample_bilinear(bokeh, size, window=window), None

    rendered = _in_pieces(pixels, enlarged, 0, False, most, bokeh.device)
    return Rendered(rendered.bokeh, weight_maps(rendering) if weights else [])


def _at_its_size(
    network: BokehNetwork,
    photo: NDArray[np.uint8],
    image_size: tuple[int, int],
    guidance: Mapping[str, NDArray[np.float32]],
) -> Rendering:
    """Render a photo at the network's size."""
    from lensblend.data.transforms import resize_lanczos

    return render_photo(network, resize_lanczos(photo, image_size), image_size, "network", guidance)


def _cut(rendering: Rendering) -> Callable[[Tensor, Window], tuple[Tensor, Tensor | None]]:
    """Return what cuts pieces out of a finished rendering."""
    weights = rendering.aux.get("weights")
    return lambda _, window: (window.of(rendering.bokeh), None if weights is None else window.of(weights))


def _in_pieces(
    pixels: NDArray[Any],
    blended: Callable[[Tensor, Window], tuple[Tensor, Tensor | None]],
    radius: int,
    wanted: bool,
    most: int,
    device: torch.device,
    grid: int = 1,
    advance: Callable[[float], None] | None = None,
) -> Rendered:
    """Blend a photo piece by piece into pixels like its own."""
    white = np.iinfo(pixels.dtype).max
    bokeh = np.empty_like(pixels)
    maps: list[NDArray[np.uint8]] = []
    parts = list(pieces((pixels.shape[0], pixels.shape[1]), radius, most, grid))
    for number, piece in enumerate(parts, start=1):
        part = pixels[_slices(piece.outer)].astype(np.float32) / white
        rendering, weights = blended(torch.from_numpy(part).to(device).permute(2, 0, 1)[None], piece.outer)
        levels = piece.within.of(rendering[0]).clamp(0, 1).mul(white).round().permute(1, 2, 0)
        bokeh[_slices(piece.inner)] = levels.cpu().numpy()
        if wanted and weights is not None:
            maps = maps or [np.empty(pixels.shape[:2], np.uint8) for _ in weights[0]]
            for plane, weight in zip(maps, piece.within.of(weights)[0], strict=True):
                plane[_slices(piece.inner)] = to_8bit(weight)
        if advance is not None:
            advance(number / len(parts))
    return Rendered(bokeh, maps)


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)


def pieces(image_size: tuple[int, int], radius: int, most: int, grid: int = 1) -> Iterator[Piece]:
    """Cut an image into as few parts as need no more than ``most`` pixels each with those around them.

    Args:
        image_size: Height and width.
        radius: How many pixels around a part are needed, as far as the image reaches.
        most: Kept where sides need not become shorter than the radius for that, and than 256 pixels.
        grid: With the pixels around it, a part begins at multiples of this.

    Example:
        >>> [piece.outer for piece in pieces((100, 900), 20, 60_000)]
        [Window(top=0, left=0, height=100, width=470), Window(top=0, left=430, height=100, width=470)]
    """
    counts = [1, 1]

    def sides() -> list[int]:
        return [ceil(length / count) for length, count in zip(image_size, counts, strict=True)]

    def needed() -> int:
        height, width = (min(s + 2 * radius + grid - 1, n) for s, n in zip(sides(), image_size, strict=True))
        return height * width

    while needed() > most and max(sides()) > max(radius, _SMALLEST):
        counts[sides().index(max(sides()))] += 1
    rows, columns = (list(_spans(n, count, radius, grid)) for n, count in zip(image_size, counts, strict=True))
    for (top, height), (above, tall) in rows:
        for (left, width), (before, wide) in columns:
            yield Piece(Window(top, left, height, width), Window(above, before, tall, wide))


def _spans(length: int, count: int, radius: int, grid: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Divide a side evenly: where each part starts and how long it is, without and with what is around it."""
    for index in range(count):
        start, end = index * length // count, (index + 1) * length // count
        first, last = max(0, (start - radius) // grid * grid), min(length, end + radius)
        yield (start, end - start), (first, last - first)
