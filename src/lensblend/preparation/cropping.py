"""From a transform between two photos to two pictures of one size that show the same."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8

from lensblend.errors import DataError
from lensblend.ops.colour import linear_to_srgb, srgb_to_linear

_CELLS = 32  # of a side, over whose light exposures are compared
_DARKEST, _BRIGHTEST = 0.01, 0.85  # of linear light; outside, noise and clipping decide
_FEWEST_CELLS = 16
_AGREEING = 0.2  # how far off the median ratio a cell still counts


class Rectangle(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the last ones not included."""

    top: int
    left: int
    bottom: int
    right: int


def common_rectangle(
    transform: Float64[np.ndarray, "3 3"], reference: tuple[int, int], moving: tuple[int, int]
) -> Rectangle:
    """Return the largest rectangle of the reference whose every pixel lies in the moving photo.

    The valid pixels of a row are an interval, and the valid area is convex; so a rectangle is valid where its first and
    last row are, and all pairs of rows are tried: no larger one exists.

    Args:
        transform: From pixels of the moving photo to those of the reference.
        reference: Its (height, width).
        moving: Its (height, width).

    Raises:
        DataError: No pixel lies in both.

    Example:
        >>> shift = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]])
        >>> common_rectangle(shift, (10, 20), (10, 20))
        Rectangle(top=0, left=2, bottom=9, right=20)
    """
    first, last = _intervals(np.linalg.inv(transform), reference, moving)
    best, area = Rectangle(0, 0, 0, 0), 0
    for top in range(reference[0]):
        widths = np.minimum(last[top], last[top:]) - np.maximum(first[top], first[top:]) + 1
        areas = np.maximum(widths, 0) * np.arange(1, len(widths) + 1)
        height = int(areas.argmax())
        if areas[height] > area:
            area, bottom = int(areas[height]), top + height
            left, right = max(first[top], first[bottom]), min(last[top], last[bottom])
            best = Rectangle(top, int(left), bottom + 1, int(right) + 1)
    if area == 0:
        raise DataError("the two photos have no pixel in common")
    return best


def _intervals(
    inverse: Float64[np.ndarray, "3 3"], reference: tuple[int, int], moving: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last valid column of each row; where none is, the first lies behind the last."""
    across, down, depth = inverse
    sign = np.sign(float(depth @ [(reference[1] - 1) / 2, (reference[0] - 1) / 2, 1]))
    # Each is a linear function of (x, y, 1) that must not be negative.
    bounds = sign * np.stack([across, (moving[1] - 1) * depth - across, down, (moving[0] - 1) * depth - down, depth])
    rows = np.arange(reference[0])
    first, last = np.zeros(reference[0]), np.full(reference[0], reference[1] - 1.0)
    for slope, fall, start in bounds:
        rest = fall * rows + start + 1e-9 * max(moving)  # rounding does not cost a column
        if abs(slope) < 1e-15:
            last = np.where(rest < 0, -1, last)
        elif slope > 0:
            first = np.maximum(first, np.ceil(-rest / slope))
        else:
            last = np.minimum(last, np.floor(-rest / slope))
    return first.astype(np.int64), last.astype(np.int64)


def laid(
    moving: UInt8[np.ndarray, "i j 3"], transform: Float64[np.ndarray, "3 3"], place: Rectangle
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the moving photo as it lies in a rectangle of the reference, by Lanczos interpolation."""
    shift = np.array([[1.0, 0.0, -place.left], [0.0, 1.0, -place.top], [0.0, 0.0, 1.0]])
    size = (place.right - place.left, place.bottom - place.top)
    # The kernel reaches over the photo's edge, where it finds the edge repeated.
    border = cv2.BORDER_REPLICATE
    warped = cv2.warpPerspective(moving, shift @ transform, size, flags=cv2.INTER_LANCZOS4, borderMode=border)
    return np.asarray(warped, dtype=np.uint8)


def reduced(photo: UInt8[np.ndarray, "h w 3"], height: int) -> UInt8[np.ndarray, "i j 3"]:
    """Return a photo of this height by averaging areas, its shape kept; a smaller one stays as it is."""
    if photo.shape[0] <= height:
        return photo
    width = max(1, round(photo.shape[1] * height / photo.shape[0]))
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def exposure_gains(
    reference: UInt8[np.ndarray, "h w 3"], aligned: UInt8[np.ndarray, "h w 3"]
) -> Float64[np.ndarray, 3]:
    """Return by what the light of each channel must be multiplied to be exposed as the reference is.

    Exposure and white balance multiply light, not levels of sRGB, and a blur keeps the mean of light; so means of
    linear light over cells are compared. The median over cells is taken twice, the second time of those that agree
    with the first.

    Raises:
        DataError: Too much is black or clipped.
    """
    light = [_light(photo) for photo in (reference, aligned)]
    gains = []
    for channel in range(3):
        here, there = (means[..., channel] for means in light)
        usable = (np.minimum(here, there) > _DARKEST) & (np.maximum(here, there) < _BRIGHTEST)
        if usable.sum() < _FEWEST_CELLS:
            raise DataError("too much of the photos is black or clipped to compare their exposures")
        ratios = here[usable] / there[usable]
        median = np.median(ratios)
        gains.append(float(np.median(ratios[np.abs(ratios / median - 1) <= _AGREEING])))
    return np.array(gains)


def _light(photo: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    linear = srgb_to_linear(torch.arange(256) / 255).numpy().astype(np.float32)[photo]
    size = (min(_CELLS, photo.shape[1]), min(_CELLS, photo.shape[0]))
    return np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA))


def exposed(photo: UInt8[np.ndarray, "h w 3"], gains: Float64[np.ndarray, 3]) -> UInt8[np.ndarray, "h w 3"]:
    """Multiply the light of each channel of an sRGB photo; what grows beyond white is clipped."""
    linear = srgb_to_linear(torch.arange(256) / 255)
    tables = [linear_to_srgb((linear * float(gain)).clamp(0, 1)).mul(255).round().byte().numpy() for gain in gains]
    return np.stack([table[photo[..., channel]] for channel, table in enumerate(tables)], axis=-1)
