"""A photo with measured disparity as a stack of layers, each continued behind those in front of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from lensblend.data.lens import Layer, Lens, extent
from lensblend.ops.optics import SHARP_RADIUS

_STEP = 0.5
"""Difference of the radii of two neighbouring slices, in pixels."""

_DOUBT = 0.6
"""How far a pixel's colour may move the nearer side's share from what disparity says."""

_JUMP = 0.06
"""Where disparity differs by more between neighbouring pixels, a nearer surface hides a farther one."""


def fill_holes(disparity: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Fill what was not measured (not finite) with the farther of its two neighbours on the row.

    A stereo rig has no disparity where only one camera sees the surface, and that is the surface behind.

    Example:
        >>> fill_holes(np.array([[3.0, np.inf, np.inf, 1.0, np.nan]], np.float32)).tolist()
        [[3.0, 1.0, 1.0, 1.0, 1.0]]
    """
    known = np.isfinite(disparity)
    columns = np.arange(disparity.shape[1])
    left = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    right = np.minimum.accumulate(np.where(known, columns, len(columns))[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(np.where(known, disparity, np.inf), ((0, 0), (1, 1)), constant_values=np.inf)
    rows = np.arange(disparity.shape[0])[:, None]
    filled = np.minimum(padded[rows, left + 1], padded[rows, right + 1])
    return np.where(np.isfinite(filled), filled, filled[np.isfinite(filled)].min()).astype(np.float32)


def slice_photo(
    radiance: Float32[np.ndarray, "h w 3"], disparity: Float32[np.ndarray, "h w"], lens: Lens, edge: int = 1
) -> list[Layer]:
    """Cut a photo into layers whose discs differ by half a pixel of radius, farthest first.

    Layers join, so that a surface that recedes through several of them stays one. At an outline, where disparity
    jumps, each pixel is shared between the two sides (``part_outlines``). A photo does not show what its near parts
    hide: at outlines each layer is continued behind the nearer ones, with the colour of its nearest own pixel and as
    far as a blurred edge can uncover it. Without blur, the layers laid over one another are the photo again.

    Args:
        radiance: The photo in linear light.
        disparity: Larger = nearer, finite.
        lens: The lens that will render the layers: it decides where the cuts are.
        edge: How far outlines are blurred to each side, in pixels.

    Returns:
        Layers of constant disparity; the one in focus has exactly the disparity in focus.
    """
    sides = part_outlines(radiance, disparity, edge)
    near, far = (_place(plane, lens) for plane in (sides.near, sides.far))
    reach = 2 * math.ceil(max(abs(near).max(), abs(far).max()) * _STEP) + 2
    first, last = math.floor(min(near.min(), far.min())), math.ceil(max(near.max(), far.max()))
    layers: list[Layer] = []
    for number in range(first, last + 2):
        # A front lies between two slices, and so may its back: the front's farther one comes after the back's nearer.
        front = np.where(sides.outline, np.maximum(1 - abs(near - (number - 1)), 0) * sides.alpha, 0)
        parts = {number: _behind(sides, far, number, reach), number - 1: (front, front[..., None] * sides.front)}
        for place, (alpha, colour) in parts.items():
            if alpha.any():
                depth = np.float32(lens.focus + (2 * place * _STEP / lens.aperture if place else 0.0))
                planes = colour.astype(np.float32), alpha.astype(np.float32), np.full(alpha.shape, depth)
                layers.append(Layer(*planes, joins=True))
    return layers


class Sides(NamedTuple):
    """What the pixels of a photo are made of: two surfaces at an outline, one elsewhere (``alpha`` 1, both the same).

    Attributes:
        near: Disparity of the nearer surface, ``(h, w)``.
        far: Of the farther one.
        alpha: The nearer one's share of the pixel.
        front: Colour of the nearer one, ``(h, w, 3)``.
        back: Of the farther one.
        outline: Where there are two.
    """

    near: Float32[np.ndarray, "h w"]
    far: Float32[np.ndarray, "h w"]
    alpha: Float32[np.ndarray, "h w"]
    front: Float32[np.ndarray, "h w 3"]
    back: Float32[np.ndarray, "h w 3"]
    outline: Bool[np.ndarray, "h w"]


def part_outlines(
    radiance: Float32[np.ndarray, "h w 3"], disparity: Float32[np.ndarray, "h w"], edge: int = 1
) -> Sides:
    """Part each pixel of an outline into the surface before it and the one behind.

    Both take the mean colour of the pixels beside the outline; the nearer one's share is where the pixel's own colour
    lies between them, near what the disparity says of a softened edge. Together they make up the pixel.
    """
    size = 2 * edge + 1
    near, far = ndimage.maximum_filter(disparity, size), ndimage.minimum_filter(disparity, size)
    outline = near - far > _JUMP
    near, far = np.where(outline, near, disparity), np.where(outline, far, disparity)
    middle = (near + far) / 2
    front = _beside(radiance, disparity, ~outline, middle, 1, edge + 2)
    back = _beside(radiance, disparity, ~outline, middle, -1, edge + 2)
    soft = np.clip((ndimage.uniform_filter(disparity, size) - far) / np.maximum(near - far, 1e-6), 0, 1)
    line = front - back
    length = (line**2).sum(axis=2)
    colour = ((radiance - back) * line).sum(axis=2) / np.maximum(length, 1e-6)
    alpha = np.where(length > 1e-3, np.clip(colour, soft - _DOUBT, soft + _DOUBT), soft)
    alpha = np.where(outline, np.where(alpha > 0.98, 1, np.where(alpha < 0.02, 0, alpha)), 1)[..., None]
    # The larger share takes what the two mean colours miss of the pixel's; where it cannot, the smaller one gives way.
    share, rest = np.maximum(alpha, 1e-6), np.maximum(1 - alpha, 1e-6)
    mine = np.maximum((radiance - (1 - alpha) * back) / share, 0)
    yours = np.maximum((radiance - alpha * front) / rest, 0)
    given_back = np.where(alpha < 1, np.minimum(back, radiance / rest), back)
    given_front = np.minimum(front, radiance / share)
    front, back = np.where(alpha >= 0.5, mine, given_front), np.where(alpha >= 0.5, given_back, yours)
    alpha = alpha[..., 0].astype(np.float32)
    front, back = (np.where(outline[..., None], side, radiance).astype(np.float32) for side in (front, back))
    return Sides(near, far, alpha, front, back, outline)


def _beside(
    radiance: Float32[np.ndarray, "h w 3"],
    disparity: Float32[np.ndarray, "h w"],
    clean: Bool[np.ndarray, "h w"],
    middle: Float32[np.ndarray, "h w"],
    sign: int,
    reach: int,
) -> Float32[np.ndarray, "h w 3"]:
    """Return, for each pixel, the mean colour of the pixels around it that lie on one side of its middle disparity.

    Pixels off the outline count most; where a thing is thinner than its outline, there are no others.
    """
    height, width = disparity.shape
    pad = ((reach, reach), (reach, reach))
    colours = np.pad(radiance, (*pad, (0, 0)), mode="edge")
    depths, weights = (np.pad(plane, pad, mode="edge") for plane in (disparity, np.where(clean, 1, 1e-3)))
    total = radiance * np.float32(1e-6)
    weight = np.full((height, width), 1e-6, np.float32)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            part = slice(down, down + height), slice(right, right + width)
            share = weights[part] * (sign * (depths[part] - middle) > 0)
            total += share[..., None] * colours[part]
            weight += share
    return total / weight[..., None]


def _place(disparity: Float32[np.ndarray, "h w"], lens: Lens) -> Float32[np.ndarray, "h w"]:
    """Return the place of each point among the slices; 0 where it is in focus, between two slices elsewhere."""
    radius = lens.radius(disparity)
    place = np.sign(disparity - lens.focus) * radius / _STEP
    return np.where(radius < SHARP_RADIUS, 0, place).astype(np.float32)


def _behind(
    sides: Sides, far: Float32[np.ndarray, "h w"], number: int, reach: int
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w 3"]]:
    """Return what belongs to a slice but for fronts of outlines; a point between two slices belongs to both in part."""
    share = np.maximum(1 - abs(far - number), 0)
    alpha, colour = share.copy(), share[..., None] * sides.back
    edge = np.where(sides.outline, sides.alpha < 0.5, ndimage.binary_dilation(sides.outline, iterations=2))
    edge &= share > 0
    if edge.any():
        rows, columns = extent(edge, margin=reach)
        distance, nearest = ndimage.distance_transform_edt(~edge[rows, columns], return_indices=True)
        hidden = (far[rows, columns] > number + 1 / _STEP) & (distance <= reach)
        back, there = (plane[rows, columns][tuple(nearest)] for plane in (sides.back, share))
        alpha[rows, columns] = np.where(hidden, there, alpha[rows, columns])
        colour[rows, columns] = np.where(hidden[..., None], there[..., None] * back, colour[rows, columns])
    return alpha, colour
