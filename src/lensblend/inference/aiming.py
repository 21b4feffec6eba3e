"""What a photographer points at: the disparity there, or how sharp a network keeps it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensblend.errors import DataError

_FINGER = 1 / 200  # of the width to each side: a click hits a place, not a pixel


def around(plane: NDArray[Any], point: tuple[float, float]) -> NDArray[Any]:
    """Return the values of a map around a point.

    Args:
        plane: Of the photo's size.
        point: Right and down from the upper left corner: shares of width and height where both are at most 1, else
            pixels.

    Raises:
        DataError: The point lies outside.

    Example:
        >>> plane = np.arange(20, dtype=np.float32).reshape(4, 5)
        >>> around(plane, (0.0, 1.0)).tolist(), around(plane, (3.0, 2.0)).shape
        ([[10.0, 11.0], [15.0, 16.0]], (3, 3))
    """
    height, width = plane.shape
    right, down = point
    if max(point) <= 1:
        right, down = right * (width - 1), down * (height - 1)
    if right > width - 1 or down > height - 1:
        raise DataError(
            f"`--focus {point[0]:g},{point[1]:g}` lies outside of the photo of {width}×{height} pixels; name a point "
            "in it, or shares of its sides."
        )
    row, column, reach = round(down), round(right), max(1, math.floor(width * _FINGER))
    return plane[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]


def disparity_at(disparity: NDArray[np.float32], point: tuple[float, float]) -> float:
    """Return the median disparity around a point."""
    return float(np.median(around(disparity, point)))


def disparity_of(disparity: NDArray[np.float32], mask: NDArray[np.float32]) -> float:
    """Return the median disparity of what a mask holds.

    Raises:
        DataError: It holds nothing.
    """
    held = mask >= 0.5
    if not held.any():
        raise DataError("The mask of what is in focus is black everywhere; give one that is white there.")
    return float(np.median(disparity[held]))
