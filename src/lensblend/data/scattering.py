"""Light spread over discs: of one shape in the whole frame, or of one that changes towards its corners."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from jaxtyping import Float32, Float64
from scipy import fft

from lensblend.ops.apertures import Aperture

Convolve = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Planes ``(c, h, w)`` and a kernel ``(k, k)`` to their convolution where it needs no border."""

_CLIP_STEP = 2.5  # pixels by which the cuts of two neighbouring shapes may differ


def by_torch(planes: Float32[np.ndarray, "c h w"], kernel: Float32[np.ndarray, "k k"]) -> Float32[np.ndarray, "c m n"]:
    """Convolve on all of PyTorch's threads, whose number may change the last bits.

    Example:
        >>> by_torch(np.ones((1, 5, 6), np.float32), np.full((3, 3), 1 / 9, np.float32)).shape
        (1, 3, 4)
    """
    margin = kernel.shape[0] - 1
    shape = [fft.next_fast_len(length, real=True) for length in planes.shape[1:]]
    spectrum = torch.fft.rfft2(torch.from_numpy(planes), s=shape)
    spectrum *= torch.fft.rfft2(torch.from_numpy(kernel), s=shape)
    spread = torch.fft.irfft2(spectrum, s=shape)[:, margin : planes.shape[1], margin : planes.shape[2]]
    # The rounding of the transform leaves about -1e-7 where there is nothing.
    return spread.clamp_min_(0).numpy()


def scatter(
    planes: Float32[np.ndarray, "c h w"],
    rows: slice,
    columns: slice,
    radius: float,
    shape: Aperture,
    before: bool,
    convolve: Convolve = by_torch,
) -> Float32[np.ndarray, "c rows columns"]:
    """Let every pixel scatter over its disc; the frame is mirrored at its border.

    A shape that changes is mixed from those of the four nearest points of a grid, so fine that their cuts differ by
    little.

    Args:
        planes: Linear light times coverage, and coverage.
        rows: Where the result is wanted.
        columns: The same.
        radius: Of the discs, in pixels.
        shape: Of the discs.
        before: They are those of points nearer than what is in focus.
        convolve: Spreads light over discs of one shape.

    Example:
        >>> planes = np.zeros((4, 9, 9), np.float32)
        >>> planes[:, 4, 4] = 1
        >>> spread = scatter(planes, slice(0, 9), slice(0, 9), 2.0, Aperture(), before=False)
        >>> [round(float(part), 3) for part in (spread[3].sum(), spread[3, 4, 4])]
        [1.0, 0.08]
    """
    cells = shape.cats_eye * radius / _CLIP_STEP if radius > 1 else 0
    if not cells:
        return _spread(planes, rows, columns, shape.disc(radius, before=before), convolve)
    height, width = planes.shape[1:]
    half = math.hypot(height, width) / 2
    spread = np.zeros((len(planes), rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for (down, tall), (right, wide) in product(_tents(height, half / cells), _tents(width, half / cells)):
        kernel = shape.disc(radius, (down / half, right / half), before)
        reach = kernel.shape[0] // 2
        top, left = _reached(tall, rows, reach), _reached(wide, columns, reach)
        if top.stop > top.start and left.stop > left.start:
            part = spread[:, _within(top, rows), _within(left, columns)]
            part += _spread(planes, top, left, kernel, convolve, tall[:, None] * wide)
    return spread


def _tents(length: int, spacing: float) -> Iterator[tuple[float, Float32[np.ndarray, " n"]]]:
    """Yield points along a side, from its middle, and the share of each pixel that belongs to them."""
    count = max(2, math.ceil(length / spacing) + 1)
    points = np.linspace(0, length - 1, count)
    for point in points:
        share = np.maximum(1 - abs(np.arange(length) - point) / (points[1] - points[0]), 0)
        yield float(point - (length - 1) / 2), share.astype(np.float32)


def _reached(share: Float32[np.ndarray, " n"], wanted: slice, reach: int) -> slice:
    """Return what a part of a side reaches of what is wanted."""
    used = np.flatnonzero(share)
    start = max(used[0] - reach, wanted.start)
    return slice(start, max(start, min(used[-1] + 1 + reach, wanted.stop)))


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _spread(
    planes: Float32[np.ndarray, "c h w"],
    rows: slice,
    columns: slice,
    kernel: Float64[np.ndarray, "k k"],
    convolve: Convolve,
    share: Float32[np.ndarray, "h w"] | None = None,
) -> Float32[np.ndarray, "c rows columns"]:
    """Spread light over discs of one shape, where the result is wanted."""
    reach = kernel.shape[0] // 2
    inner, pads = [], [(0, 0)]
    for side, length in zip((rows, columns), planes.shape[1:], strict=True):
        start, stop = side.start - reach, side.stop + reach
        inner.append(slice(max(start, 0), min(stop, length)))
        pads.append((max(-start, 0), max(stop - length, 0)))
    window = planes[:, inner[0], inner[1]]
    if share is not None:
        window = window * share[inner[0], inner[1]]
    if reach == 0:
        return window
    return convolve(np.pad(window, pads, mode="symmetric"), kernel.astype(np.float32))
