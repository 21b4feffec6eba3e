"""A photo and its disparity through a thin lens, slice by slice, in linear light.

The optics are those of `lensblend.data.lens` and `lensblend.data.slices`, which render training pairs. Here the slices
are made one at a time, nearest first, so that a photo of any size fits into memory, and they lie farther apart where
discs are large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from scipy import ndimage

from lensblend.data.lens import Lens, extent
from lensblend.data.scattering import scatter
from lensblend.data.slices import part_outlines
from lensblend.inference.firming import firmed
from lensblend.ops.apertures import Aperture
from lensblend.ops.colour import linear_to_srgb, srgb_to_linear
from lensblend.ops.optics import SHARP_RADIUS

Advance = Callable[[float], None]

_STEP = 0.5  # pixels of radius between slices, up to `_EVEN`; beyond, each is `_GROWTH` larger than the one before
_EVEN = 6.0
_GROWTH = 1 + _STEP / _EVEN
_BAND = 6  # slices that share one continuation behind what is nearer
_APART = 2  # slices between two surfaces of which one hides the other
_SURFACE = 3  # slices over which a surface may recede within a disc
_HARDLY = 0.25  # share of a pixel that a mask holds, from which on another colour is sought behind it
_CLIPPED = 0.9  # linear light from which on a photo's value counts as cut off


@dataclass(frozen=True)
class ThinLens:
    """A lens for a photo of any size; lengths are shares of the photo's width.

    Attributes:
        focus: Disparity of the plane in focus.
        aperture: Diameter of the disc one unit of disparity away from it.
        shape: Of the opening.
        highlights: How many times brighter than white, beyond 1, a clipped value is taken to be.
    """

    focus: float
    aperture: float
    shape: Aperture = field(default_factory=Aperture)
    highlights: float = 0.0


def refocus(
    photo: Float32[np.ndarray, "h w 3"],
    disparity: Float32[np.ndarray, "h w"],
    lens: ThinLens,
    kept: Float32[np.ndarray, "h w"] | None = None,
    advance: Advance | None = None,
) -> Float32[np.ndarray, "h w 3"]:
    """Render a photo with the depth of field of a lens.

    Each point spreads over its disc in linear light; what is nearer hides what lies behind it, and lets it through
    where it is blurred. What near parts hide is continued from beside them, as far as a blurred edge uncovers it.

    Args:
        photo: All in focus, sRGB in [0, 1].
        disparity: Larger = nearer, finite.
        lens: Where it is focused, and how far open it is.
        kept: How much of each pixel stays as it is, in [0, 1]: its colour reaches no other pixel.
        advance: Is told how large a share of the work is done, from 0 to 1.

    Returns:
        sRGB in [0, 1].

    Example:
        >>> photo = np.random.default_rng(0).random((32, 48, 3), np.float32)
        >>> picture = refocus(photo, np.zeros((32, 48), np.float32), ThinLens(focus=0.0, aperture=0.1))
        >>> bool(abs(picture - photo).max() < 1e-5)
        True
    """
    light = brightened(_linear(photo), lens.highlights)
    if kept is None:
        return _encoded(_through(light, disparity, lens, None, advance or _nothing))
    behind, opaque = _behind_kept(light, kept)
    picture = _through(behind, disparity, lens, opaque, advance or _nothing)
    # A pixel at the edge is a mix of both: only its share of what is behind changes.
    return _encoded(light + (1 - kept[..., None]) * (picture - behind))


def brightened(light: Float32[np.ndarray, "h w 3"], boost: float) -> Float32[np.ndarray, "h w 3"]:
    """Take what a camera clipped to white to be up to ``1 + boost`` times brighter, so that glints become discs.

    All three channels have to be near white: a red thing may be as red as can be and still no light.

    Example:
        >>> brightened(np.ones((1, 1, 3), np.float32), 4.0)[0, 0].tolist()
        [5.0, 5.0, 5.0]
    """
    if not boost:
        return light
    clipped = np.clip((light.min(axis=2, keepdims=True) - _CLIPPED) / (1 - _CLIPPED), 0, 1)
    return light * (1 + np.float32(boost) * clipped)


class _Scene(NamedTuple):
    """Two surfaces at outlines, one elsewhere, and the place of each among the slices."""

    near: Float32[np.ndarray, "h w"]
    far: Float32[np.ndarray, "h w"]
    alpha: Float32[np.ndarray, "h w"]
    front: Float32[np.ndarray, "h w 3"]
    back: Float32[np.ndarray, "h w 3"]
    outline: Bool[np.ndarray, "h w"]


class _Slice(NamedTuple):
    number: int
    light: Float32[np.ndarray, "4 h w"]


def _through(
    light: Float32[np.ndarray, "h w 3"],
    disparity: Float32[np.ndarray, "h w"],
    lens: ThinLens,
    opaque: Float32[np.ndarray, "h w"] | None,
    advance: Advance,
) -> Float32[np.ndarray, "h w 3"]:
    """Fill each pixel from the nearest slice on; what exceeds it is hidden."""
    scene = _parted(light, disparity, Lens(lens.focus, lens.aperture * light.shape[1]))
    total = np.zeros((4, *disparity.shape), np.float32)
    lowest = _solid(scene)
    first = math.floor(min(float(scene.near.min()), float(scene.far.min())))
    last = math.ceil(max(float(scene.near.max()), float(scene.far.max())))
    for number, planes in _slices(scene, first, last):
        if opaque is not None:
            planes *= opaque
        rows, columns = extent(planes[3] > 0, margin=math.ceil(1.4 * _radius(number)) + 1)
        if rows.stop > rows.start:
            spread = scatter(planes, rows, columns, _radius(number), lens.shape, before=number > 0)
            window = total[:, rows, columns]
            taken = np.where(number >= lowest[rows, columns], np.minimum(spread[3], 1 - window[3]), 0)
            window += spread * (taken / np.where(spread[3] > 0, spread[3], 1))
        advance((last - number + 1) / (last - first + 1))
        if opaque is None and total[3].min() > 1 - 1e-4:
            break
    advance(1.0)
    covered = total[3] > 1e-3
    picture = total[:3] / np.where(covered, total[3], 1)
    return np.where(covered[..., None], picture.transpose(1, 2, 0), light)


def _solid(scene: _Scene) -> Float32[np.ndarray, "h w"]:
    """Return the lowest slice that each pixel may show: what lies behind shines through at blurred outlines alone.

    Discs of different sizes beside one another leave gaps of a few hundredths in a surface.
    """
    lowest = scene.far - _SURFACE
    if scene.outline.any():
        distance, nearest = ndimage.distance_transform_edt(~scene.outline, return_indices=True)
        at = scene.near[tuple(nearest)]
        reach = np.maximum(_radii(at), _radii(scene.far)) + 1.5
        lowest = np.where(distance <= reach, -np.inf, lowest)
    return lowest.astype(np.float32)


def _slices(scene: _Scene, first: int, last: int) -> Iterator[_Slice]:
    """Yield what belongs to each slice, nearest first; a point between two slices belongs to both in part."""
    edge = np.where(scene.outline, scene.alpha < 0.5, ndimage.binary_dilation(scene.outline, iterations=2))
    behind = first
    for number in range(last, first - 1, -1):
        if number == last or number < behind:
            behind = max(number - _BAND + 1, first)
            far, back = _continued(scene, edge, behind, number)
        share = np.maximum(1 - abs(far - number), 0)
        colour = share[..., None] * back
        if scene.outline.any():
            front = np.maximum(1 - abs(scene.near - number), 0) * np.where(scene.outline, scene.alpha, 0)
            share, colour = share + front, colour + front[..., None] * scene.front
        yield _Slice(number, np.concatenate([colour.transpose(2, 0, 1), share[None]]))


def _continued(
    scene: _Scene, edge: Bool[np.ndarray, "h w"], lowest: int, highest: int
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w 3"]]:
    """Return place and colour of surfaces, those of a band of slices continued behind what is nearer.

    A hidden pixel looks like the one as far on the other side of the nearest visible edge, where that is of the band.
    """
    own = (scene.far > lowest - 1) & (scene.far < highest + 1)
    seeds = edge & own
    if not seeds.any():
        return scene.far, scene.back
    deepest = float(scene.near.max())
    reach = math.ceil(_radius(deepest) + max(_radius(lowest), _radius(highest))) + 2
    rows, columns = window = extent(seeds, margin=reach)
    distance, nearest = ndimage.distance_transform_edt(~seeds[window], return_indices=True)
    where = np.nonzero((scene.far[window] > highest + _APART) & (distance <= reach))
    far, back = scene.far.copy(), scene.back.copy()
    if not len(where[0]):
        return far, back
    at = np.stack([nearest[0][where] + rows.start, nearest[1][where] + columns.start])
    here = np.stack([where[0] + rows.start, where[1] + columns.start])
    limits = np.array(far.shape)[:, None] - 1
    mirrored = np.clip(2 * at - here, 0, limits)
    usable = own[tuple(mirrored)] & ~scene.outline[tuple(mirrored)]
    source = tuple(np.where(usable, mirrored, at))
    far[tuple(here)], back[tuple(here)] = scene.far[tuple(at)], scene.back[source]
    return far, back


def _parted(light: Float32[np.ndarray, "h w 3"], disparity: Float32[np.ndarray, "h w"], lens: Lens) -> _Scene:
    """Find the outlines, where one surface hides another that lies at least two slices behind it."""
    firm, edge = firmed(disparity)
    sides = part_outlines(light, firm, edge)
    near, far, here = (_place(plane, lens) for plane in (sides.near, sides.far, firm))
    outline = sides.outline & (near - far > _APART)
    seen = outline[..., None]
    return _Scene(
        np.where(outline, near, here),
        np.where(outline, far, here),
        np.where(outline, sides.alpha, 1),
        np.where(seen, sides.front, light),
        np.where(seen, sides.back, light),
        outline,
    )


def _behind_kept(
    light: Float32[np.ndarray, "h w 3"], kept: Float32[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Return the light of what lies behind what is kept, and where it counts: a little off the edge.

    Masks seldom lie exactly on the outline, and a rim of the subject's colour in the background would glow.
    """
    margin = max(1, round(kept.shape[1] / 500))
    hidden = ndimage.maximum_filter(kept, 2 * margin + 1) > 0.05
    if hidden.all():
        return light, np.zeros_like(kept)
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    share = np.maximum(1 - kept[..., None], 1e-3)
    # No more than makes up the pixel: where a mask leaves out dark hair, the sky beside it is not behind it.
    beside = np.minimum(light[tuple(nearest)], light / share)
    # What is hardly kept shows what is behind itself; else its details would stay as specks.
    trusted = np.clip((kept[..., None] - _HARDLY) / _HARDLY, 0, 1)
    behind = light + trusted * (beside - light)
    return behind, np.where(hidden, 0, 1).astype(np.float32)


def _place(disparity: Float32[np.ndarray, "h w"], lens: Lens) -> Float32[np.ndarray, "h w"]:
    """Return the place of each point among the slices: 0 in focus, above 0 nearer."""
    radius = lens.radius(disparity)
    beyond = _EVEN / _STEP + np.log(np.maximum(radius, _EVEN) / _EVEN) / math.log(_GROWTH)
    place = np.sign(disparity - lens.focus) * np.where(radius <= _EVEN, radius / _STEP, beyond)
    return np.where(radius < SHARP_RADIUS, 0, place).astype(np.float32)


def _radii(place: Float32[np.ndarray, "*sides"]) -> Float32[np.ndarray, "*sides"]:
    """Return the radius of the discs of a slice, in pixels: the inverse of `_place`."""
    even = _EVEN / _STEP
    place = abs(place)
    return np.where(place <= even, place * _STEP, _EVEN * _GROWTH ** np.maximum(place - even, 0))


def _radius(place: float | int) -> float:
    return float(_radii(np.array(place, np.float32)))


def _linear(photo: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    return srgb_to_linear(torch.from_numpy(np.ascontiguousarray(photo))).numpy()


def _encoded(light: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    return linear_to_srgb(torch.from_numpy(np.ascontiguousarray(light.clip(0, 1)))).numpy()


def _nothing(_: float) -> None:
    return None
