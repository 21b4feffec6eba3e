"""Structural similarity of 8-bit photos on the CPU, with a uniform window: sums of whole numbers, which are exact."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from lensblend.ops.ssim import CPU_STRIP_ROWS, K1, K2, check_window

WHITE = 255
WIDEST = 8  # pixels: squares of sums over a wider window would not fit 32 bits


def ssim_of_levels(
    bokeh: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], side: int
) -> Float64[Tensor, " b"]:
    """Return what `lensblend.ops.ssim.ssim` does of 8-bit photos on the CPU, several times as fast, without gradients.

    It is that of a uniform window of ``side`` pixels, with sample covariances, over the pixels whose window is inside.

    Args:
        bokeh: A rendering: whole numbers from 0 to 255.
        target: The photo that it should equal, likewise.
        side: Of the window, odd, 7 or less.

    Raises:
        RequestError: A photo is smaller than the window.

    Example:
        >>> photo = torch.arange(256.0).view(1, 1, 16, 16)
        >>> ssim_of_levels(photo, photo, 7).item()
        1.0
    """
    if not (side % 2 and 1 < side < WIDEST):
        raise ValueError(f"`side` is 3, 5 or 7, but got {side}.")
    check_window(target, side)
    means = [
        [_mean(x.numpy(), y.numpy(), side) for x, y in zip(*planes, strict=True)]
        for planes in zip(bokeh.contiguous(), target.contiguous(), strict=True)
    ]
    return torch.tensor(means, dtype=torch.float64).mean(dim=1)


def _mean(x: NDArray[np.float32], y: NDArray[np.float32], side: int) -> float:
    """Return the mean index of two planes, strip by strip, as `lensblend.ops.ssim.ssim` takes them."""
    height, width = (length - side + 1 for length in x.shape)
    missing = 0.0
    for top in range(0, height, CPU_STRIP_ROWS):
        rows = slice(top, min(top + CPU_STRIP_ROWS, height) + side - 1)
        missing += _missing(x[rows], y[rows], side)
    return 1 - missing / (height * width)


def _missing(x: NDArray[np.float32], y: NDArray[np.float32], side: int) -> float:
    """Return the sum of what the index lacks to 1: with s = x + y and d = x - y, of means and variances times N²."""
    count, s, d = side * side, x + y, x - y
    # Up to 49 · 510² these sums are whole numbers below 2²⁴, exact in float32; what they are multiplied to, below 2³¹.
    mean_s, mean_d = (_box(plane, side).astype(np.int32) for plane in (s, d))
    var_s, var_d = (_box(np.multiply(plane, plane, out=plane), side).astype(np.int32) for plane in (s, d))
    for mean, var in ((mean_s, var_s), (mean_d, var_d)):  # in place: what fits the cache is several times as fast
        mean *= mean
        var *= count
        var -= mean
    mean_s += mean_d
    var_s += var_d
    light = mean_s + 2 * (K1 * WHITE) ** 2 * count**2
    structure = var_s + 2 * (K2 * WHITE) ** 2 * count * (count - 1)
    np.divide(mean_d, light, out=light)
    np.divide(var_d, structure, out=structure)
    return 2 * float(light.sum() + structure.sum() - 2 * np.einsum("ij,ij", light, structure))


def _box(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Sum the pixels of every window that is inside."""
    margin = slice(side // 2, -(side // 2))
    sums: Any = cv2.boxFilter(plane, cv2.CV_32F, (side, side), normalize=False, borderType=cv2.BORDER_ISOLATED)
    found: NDArray[np.float32] = sums[margin, margin]
    return found
