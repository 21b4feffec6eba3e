"""A thin lens in front of a scene made of layers: linear light in, linear light out.

Everything is computed in linear light and in NumPy and SciPy on one thread, and 8-bit sRGB goes through tables, so
that a scene gives the same bytes in every process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from scipy import fft

from lensblend.data.scattering import scatter
from lensblend.ops.apertures import Aperture
from lensblend.ops.colour import srgb_to_linear
from lensblend.ops.optics import SHARP_RADIUS, circle_of_confusion

_RADIUS_STEP = 0.25


@dataclass(frozen=True)
class Layer:
    """One surface of a scene, as a pinhole camera sees it with nothing in front.

    Attributes:
        colour: Linear light times ``alpha``, ``(h, w, 3)`` float32; highlights exceed 1.
        alpha: Coverage in [0, 1], ``(h, w)`` float32.
        disparity: Larger = nearer, in [0, 1], ``(h, w)`` float32; also defined where ``alpha`` is 0.
        joins: It goes on where the surface behind it ends, such as the ground at the horizon. It first fills what is
            not covered yet, and hides only as much as it covers beyond that; other layers hide all that is behind.
    """

    colour: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    disparity: Float32[np.ndarray, "h w"]
    joins: bool = False


@dataclass(frozen=True)
class Lens:
    """A thin lens with a round aperture.

    Attributes:
        focus: Disparity of the plane in focus.
        aperture: Diameter of the disc, in pixels, one unit of disparity away from the plane in focus.
        max_radius: Larger discs are cut to this radius, in pixels.
        cats_eye: How far its rim cuts discs off towards the frame's corners; see `lensblend.ops.apertures.Aperture`.
    """

    focus: float
    aperture: float
    max_radius: float = math.inf
    cats_eye: float = 0.0

    def radius(self, disparity: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Return the radius of the disc of each point, in pixels."""
        return circle_of_confusion(disparity, self.focus, self.aperture, self.max_radius)


def linearise(photo: UInt8[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w c"]:
    """Turn 8-bit sRGB into linear light in [0, 1] (IEC 61966-2-1)."""
    return _LEVELS[photo]


def develop(radiance: Float32[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Turn linear light into 8-bit sRGB, rounded to the nearest level; what exceeds 1 is clipped.

    Example:
        >>> photo = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
        >>> bool((develop(linearise(photo)) == photo).all())
        True
    """
    return np.searchsorted(_DECISIONS, radiance, side="right").astype(np.uint8)


def pinhole(layers: Sequence[Layer]) -> Float32[np.ndarray, "h w 3"]:
    """Render layers, farthest first, with everything in focus."""
    return _composite(layers, [_premultiplied(layer) for layer in layers])


def render(layers: Sequence[Layer], lens: Lens) -> Float32[np.ndarray, "h w 3"]:
    """Render layers, farthest first, through a lens, in linear light.

    The colour and the coverage of each layer are spread over the discs of its points, and the layers are laid over one
    another back to front: the blurred edge of a near layer lets the light of those behind it through (partial
    occlusion), and a layer that joins the one behind it takes no light from it. Where a layer's disparity varies,
    each point scatters over its own disc, interpolated between discs a quarter of a pixel apart; so the light of a
    point that nothing hides is kept. Outside the frame the scene is mirrored. Points whose radius is below
    ``SHARP_RADIUS`` stay as they are.

    Args:
        layers: Of one size, farthest first.
        lens: Where it is focused and how far open it is.

    Example:
        >>> flat = np.ones((8, 8), np.float32)
        >>> scene = [Layer(np.ones((8, 8, 3), np.float32), flat, 0.2 * flat)]
        >>> float(render(scene, Lens(focus=1.0, aperture=6.0)).mean().round(4))
        1.0
    """
    return _composite(layers, [_defocus(layer, lens) for layer in layers])


def extent(where: Bool[np.ndarray, "h w"], margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns that hold all True pixels, widened by a margin; empty slices if there are none."""
    sides = []
    for axis, length in enumerate(where.shape):
        used = np.flatnonzero(where.any(axis=1 - axis))
        sides.append(slice(max(used[0] - margin, 0), min(used[-1] + 1 + margin, length)) if used.size else slice(0, 0))
    return sides[0], sides[1]


def _premultiplied(layer: Layer) -> Float32[np.ndarray, "4 h w"]:
    return np.concatenate([layer.colour.transpose(2, 0, 1), layer.alpha[None]])


def _composite(
    layers: Sequence[Layer], spreads: Sequence[Float32[np.ndarray, "4 h w"]]
) -> Float32[np.ndarray, "h w 3"]:
    radiance, cover = np.zeros_like(spreads[0][:3]), np.zeros_like(spreads[0][3])
    both = zip(layers, spreads, strict=True)
    for joins, members in groupby(both, key=lambda both: both[0].joins):
        run = [spread for _, spread in members]
        for spread in [_joined(run)] if joins else run:
            alpha = spread[3]
            hidden = np.maximum(cover + alpha - 1, 0) if joins else np.minimum(alpha, cover)
            radiance = spread[:3] + (1 - hidden / np.where(cover > 0, cover, 1)) * radiance
            cover = np.minimum(cover + alpha, 1) if joins else np.maximum(cover, alpha)
    radiance = radiance / np.where(cover > 0, cover, 1)
    return np.ascontiguousarray(radiance.transpose(1, 2, 0))


def _joined(spreads: Sequence[Float32[np.ndarray, "4 h w"]]) -> Float32[np.ndarray, "4 h w"]:
    """Fill each pixel from the nearest layer on; where there is more than it holds, the farthest are hidden."""
    joined = spreads[-1]
    for spread in reversed(spreads[:-1]):
        alpha = spread[3]
        taken = np.minimum(alpha, 1 - joined[3])
        joined = joined + taken / np.where(alpha > 0, alpha, 1) * spread
    return joined


def _defocus(layer: Layer, lens: Lens) -> Float32[np.ndarray, "4 h w"]:
    sharp = _premultiplied(layer)
    radius = lens.radius(layer.disparity)
    least, most = float(radius.min()), float(radius.max())
    if most < SHARP_RADIUS:
        return sharp
    if least == most and not lens.cats_eye:
        spread = np.zeros_like(sharp)
        rows, columns = extent(layer.alpha > 0, margin=math.ceil(most))
        spread[:, rows, columns] = scatter(sharp, rows, columns, most, Aperture(), False, _convolved)
        return spread
    return _spread_by_radius(sharp, radius, Aperture(cats_eye=lens.cats_eye))


def _spread_by_radius(
    sharp: Float32[np.ndarray, "4 h w"], radius: Float32[np.ndarray, "h w"], shape: Aperture
) -> Float32[np.ndarray, "4 h w"]:
    """Let each point scatter over its own disc; an opaque plane stays opaque, and its even light even."""
    light = np.concatenate([sharp, np.ones_like(sharp[:1])])
    spread = np.zeros_like(light)
    for size, share in _shares(radius):
        rows, columns = extent(share > 0, margin=math.ceil(size))
        spread[:, rows, columns] += scatter(light * share, rows, columns, size, shape, False, _convolved)
    # Discs of different sizes or shapes beside one another cover a plane up to a few thousandths only.
    return spread[:4] / spread[4]


def _shares(radius: Float32[np.ndarray, "h w"]) -> Iterator[tuple[float, Float32[np.ndarray, "h w"]]]:
    """Yield radii, a quarter of a pixel apart unless all are alike, and which share of each point has such a disc."""
    if radius.min() == radius.max():
        yield float(radius.max()), np.ones_like(radius)
        return
    steps = np.where(radius < SHARP_RADIUS, 0, radius / _RADIUS_STEP).astype(np.float32)
    for step in range(math.floor(steps.min()), math.ceil(steps.max()) + 1):
        share = np.maximum(1 - abs(steps - step), 0)
        if share.any():
            yield step * _RADIUS_STEP, share


def _convolved(
    planes: Float32[np.ndarray, "c h w"], kernel: Float32[np.ndarray, "k k"]
) -> Float32[np.ndarray, "c m n"]:
    """Convolve light and, from the fourth plane on, coverage on one thread, where it needs no border."""
    margin = kernel.shape[0] - 1
    shape = [fft.next_fast_len(side, real=True) for side in planes.shape[1:]]
    spectrum = fft.rfft2(planes, shape, workers=1) * fft.rfft2(kernel, shape, workers=1)
    blurred = fft.irfft2(spectrum, shape, workers=1)[:, margin : planes.shape[1], margin : planes.shape[2]]
    blurred = np.maximum(blurred, 0)  # the rounding of the transform leaves about -1e-7 where there is nothing
    blurred[3:] = np.minimum(blurred[3:], 1)
    return blurred


def _decoded(encoded: Float64[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    return srgb_to_linear(torch.from_numpy(encoded)).numpy().astype(np.float32)


_LEVELS = _decoded(np.arange(256) / 255)
_DECISIONS = _decoded((np.arange(255) + 0.5) / 255)
