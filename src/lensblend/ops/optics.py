"""Thin-lens optics: how large the disc is that a point spreads over, and the disc itself."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from lensblend.errors import RequestError

Disparity = TypeVar("Disparity", Tensor, np.ndarray)

SHARP_RADIUS = 0.5
"""Discs of a smaller radius, in pixels, lie inside one pixel: the point is in focus."""

_SUBROWS = 64


def circle_of_confusion(disparity: Disparity, focus: float, aperture: float, max_radius: float = math.inf) -> Disparity:
    r"""Return the radius, in pixels, of the disc that each point spreads over.

    .. math:: r = \min(r_{max}, \tfrac{1}{2} \, aperture \, |d - d_{focus}|)

    The circle of confusion of a thin lens is linear in the difference of inverse depths, and disparity is inverse
    depth up to an affine map, which only rescales ``aperture``.

    Args:
        disparity: Larger = nearer; any shape and range.
        focus: Disparity of the plane in focus.
        aperture: Diameter of the disc, in pixels, one unit of disparity away from the plane in focus.
        max_radius: Larger discs are cut to this radius.

    Returns:
        Radii of the shape and kind (tensor or array) of ``disparity``.

    Example:
        >>> circle_of_confusion(np.array([1.0, 0.75, 0.0]), focus=1.0, aperture=16.0, max_radius=6.0).tolist()
        [0.0, 2.0, 6.0]

    References:
        M. Potmesil and I. Chakravarty, "Synthetic image generation with a lens and aperture camera model",
        ACM Transactions on Graphics 1 (1982) 85-108.
    """
    if aperture < 0 or max_radius < 0:
        raise RequestError(
            f"`aperture` and `max_radius` are in pixels and not negative, but got {aperture} and {max_radius}; "
            "use 0 for a pinhole."
        )
    return (abs(disparity - focus) * (0.5 * aperture)).clip(max=max_radius)


def defocus_disc(radius: float) -> Float64[np.ndarray, "k k"]:
    """Return the disc of a point out of focus: each pixel holds its share of the disc's area.

    The rim is anti-aliased by exact widths along 64 lines per pixel, so the disc grows smoothly with its radius;
    up to ``SHARP_RADIUS`` it is a single pixel.

    Args:
        radius: In pixels, of any real value.

    Returns:
        A kernel of odd side that sums to one.

    Example:
        >>> defocus_disc(0.5).tolist()
        [[1.0]]
        >>> defocus_disc(3.2).shape
        (7, 7)
    """
    if not 0 <= radius < math.inf:
        raise RequestError(f"`radius` is in pixels, finite and not negative, but got {radius}; use 0 for a point.")
    if radius <= SHARP_RADIUS:
        return np.ones((1, 1))
    reach = math.ceil(radius - 0.5)
    side = 2 * reach + 1
    lines = (np.arange(side * _SUBROWS) + 0.5) / _SUBROWS - 0.5 - reach
    half_widths = np.sqrt(np.maximum(radius**2 - lines**2, 0.0))[:, None]
    centres = np.arange(side)[None, :] - reach
    overlap = np.minimum(centres + 0.5, half_widths) - np.maximum(centres - 0.5, -half_widths)
    kernel: np.ndarray = np.maximum(overlap, 0.0).reshape(side, _SUBROWS, side).sum(axis=1)
    return kernel / kernel.sum()
