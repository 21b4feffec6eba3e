"""A photo with measured disparity as a stack of layers, each continued behind those in front of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Integer
from scipy import ndimage

from lensblend.data.lens import Layer, Lens, extent

_STEP = 1.0


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
    radiance: Float32[np.ndarray, "h w 3"], disparity: Float32[np.ndarray, "h w"], lens: Lens
) -> list[Layer]:
    """Cut a photo into layers whose discs differ by one pixel of radius, farthest first.

    A photo does not show what its near parts hide. Each layer is therefore continued behind the nearer ones, with
    the colour of its nearest own pixel and as far as two blurred edges can uncover it; so a blurred edge never
    lets darkness through. Laid over one another without blur, the layers are the photo again.

    Args:
        radiance: The photo in linear light.
        disparity: Larger = nearer, finite.
        lens: The lens that will render the layers: it decides where the cuts are.

    Returns:
        Layers of constant disparity; the one in focus has exactly the disparity in focus.
    """
    signed = np.sign(disparity - lens.focus) * lens.radius(disparity)
    index = np.rint(signed / _STEP).astype(np.int32)
    reach = 2 * int(abs(index).max()) + 2
    return [_slice(radiance, index, number, lens, reach) for number in np.unique(index).tolist()]


def _slice(
    radiance: Float32[np.ndarray, "h w 3"], index: Integer[np.ndarray, "h w"], number: int, lens: Lens, reach: int
) -> Layer:
    own = index == number
    nearer = index > number
    rows, columns = extent(own, margin=reach)
    colour = np.zeros_like(radiance)
    alpha = np.zeros(own.shape, np.float32)
    distance, nearest = ndimage.distance_transform_edt(~own[rows, columns], return_indices=True)
    covers = own[rows, columns] | (nearer[rows, columns] & (distance <= reach))
    alpha[rows, columns] = covers
    colour[rows, columns] = np.where(covers[..., None], radiance[rows, columns][tuple(nearest)], 0)
    disparity = lens.focus + (2 * number * _STEP / lens.aperture if number else 0.0)
    return Layer(colour, alpha, np.full(own.shape, disparity, np.float32))
