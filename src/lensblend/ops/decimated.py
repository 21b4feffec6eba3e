"""Wide smooth blurs on a coarser grid: several times as fast as exact ones, and off by less than half a level.

Along each axis the kernel is evaluated at every f-th pixel only, and cubic B-splines between these nodes give all
pixels. A spline blurs too, so the kernel is sharpened by as much beforehand. The nodes lie at multiples of f from the
first pixel, and f is the largest power of two with which the step of a full-contrast edge is off by less than
`TOLERANCE` levels; kernels with a rim, such as boxes, and narrow ones have none, and are blurred exactly. Nothing
of this goes below zero and all of it sums to one, so that a constant image stays constant and the range never grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from lensblend.ops.banded import map_columns, map_rows, strided_band
from lensblend.ops.blur import blurs
from lensblend.ops.constants import constant, may_keep
from lensblend.ops.kernels import kernel_from_bytes, kernel_std, kernel_to_bytes
from lensblend.ops.padding import extend
from lensblend.ops.precision import at_least_float32, full_precision

TOLERANCE = 0.15  # 8-bit levels, along one axis; both and several edges add up
_COARSEST = 4  # octaves of factors that are tried


class Decimation(NamedTuple):
    """How a kernel is evaluated on a coarser grid.

    Attributes:
        factor: Pixels between nodes.
        kernel: The sharpened kernel, as long as the given one, as bytes.
        reach: Pixels of the photo on each side that a blurred pixel depends on.
    """

    factor: int
    kernel: bytes
    reach: int


def fast_blurs(
    photo: Float[Tensor, "b c h w"], kernels: Sequence[Float64[Tensor, "*_k"]]
) -> Iterator[Float[Tensor, "b c h w"]]:
    """Give a photo blurred by each kernel, as `lensblend.ops.blur.blurs` does, wide Gaussians on a coarser grid.

    Exact are: kernels that have no `Decimation`; photos with a side no longer than its reach; and everything while a
    graph is traced. Gradients reach the photo.

    Args:
        photo: Any range; the error is given for [0, 1].
        kernels: As for `blurs`.

    Example:
        >>> from lensblend.ops.kernels import gaussian_kernel
        >>> photo, kernels = torch.rand(1, 3, 96, 128), [gaussian_kernel(45)]
        >>> bool((next(fast_blurs(photo, kernels)) - next(blurs(photo, kernels))).abs().max() < 0.5 / 255)
        True
    """
    photo = at_least_float32(photo).contiguous()
    traced, shortest = not may_keep(photo), min(photo.shape[-2:])
    plans = [None if traced else decimation(kernel) for kernel in kernels]
    plans = [plan if plan is not None and plan.reach < shortest else None for plan in plans]
    if not any(plans):
        yield from blurs(photo, kernels)
        return
    margin = max(_margin(plan, photo.shape[-2], _blocks(photo, plan.factor)) for plan in plans if plan)
    padded = extend(photo, margin, -2, "reflect")
    for kernel, plan in zip(kernels, plans, strict=True):
        if plan is None:
            yield from blurs(photo, [kernel])
            continue
        with full_precision(photo.device):
            copy = _blurred(padded, plan, margin, photo.shape[-2:])
        yield copy


def decimation(kernel: Float64[Tensor, "*_k"]) -> Decimation | None:
    """Return how a kernel is evaluated on a coarser grid; None where that would be seen.

    Example:
        >>> from lensblend.ops.kernels import box_kernel, gaussian_kernel
        >>> kernels = gaussian_kernel(75), gaussian_kernel(5), box_kernel(75)
        >>> [plan and plan.factor for plan in map(decimation, kernels)]
        [8, None, None]
    """
    return _decimation(kernel_to_bytes(kernel)) if kernel.ndim == 1 else None


@lru_cache(maxsize=256)
def _decimation(content: bytes) -> Decimation | None:
    kernel = kernel_from_bytes(content)
    taps, factor = kernel.numpy(), 2 ** int(np.log2(max(1.0, kernel_std(kernel))))
    for _ in range(_COARSEST):
        if factor < 2:
            break
        sharpened = _sharpened(taps, factor)
        if 255 * _step_error(taps, sharpened, factor) < TOLERANCE:
            return Decimation(factor, sharpened.tobytes(), len(taps) // 2 + 2 * factor)
        factor //= 2
    return None


def _sharpened(taps: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Return the kernel at the nodes that gives, after the spline, the least squares to ``taps`` over all pixels.

    Only taps a multiple of ``factor`` apart share nodes, so that each class of them is a small system of its own.
    """
    spline, sharpened = _spline(factor), np.empty_like(taps)
    overlaps = [spline[: len(spline) - shift] @ spline[shift:] for shift in range(0, len(spline), factor)]
    wanted = np.convolve(taps, spline)[len(spline) // 2 :][: len(taps)]
    for first in range(factor):
        count = len(taps[first::factor])
        shares = sum(np.eye(count, k=k) * overlaps[abs(k)] for k in range(-3, 4))
        sharpened[first::factor] = np.linalg.solve(shares, wanted[first::factor])
    sharpened = sharpened.clip(0)
    return sharpened / sharpened.sum()


def _step_error(taps: NDArray[np.float64], sharpened: NDArray[np.float64], factor: int) -> float:
    """Return by how much a pixel may be off beside an edge from 0 to 1, wherever both lie."""
    spline, largest = _spline(factor), 0.0
    for phase in range(factor):
        error = np.zeros(len(taps) + 4 * factor)
        error[2 * factor : 2 * factor + len(taps)] -= taps
        for shift in range(-factor - phase, 2 * factor - phase + 1, factor):
            if abs(shift) < 2 * factor:
                start = 2 * factor + shift
                error[start : start + len(taps)] += spline[2 * factor - 1 + shift] * sharpened
        largest = max(largest, np.abs(error.cumsum()).max())
    return largest


def _spline(factor: int) -> NDArray[np.float64]:
    """Sample a cubic B-spline whose nodes are ``factor`` pixels apart; its shifts by these sum to one."""
    distance = np.abs(np.arange(1 - 2 * factor, 2 * factor)) / factor
    return np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, (2 - distance) ** 3 / 6)


def _blurred(padded: Tensor, plan: Decimation, margin: int, size: Sequence[int]) -> Tensor:
    """Blur a photo of this size, of which ``margin`` mirrored rows were added above and below."""
    factor, blocks = plan.factor, _blocks(padded, plan.factor)
    nodes = [_nodes(factor, length, blocks) for length in size]
    down = constant(_down, plan.kernel, factor, blocks[0], image=padded)
    up = constant(_up, factor, blocks[1], image=padded)
    first = factor - plan.reach  # where the kernel of the node before the first pixel begins
    step = len(down) * factor
    few = map_columns(padded[..., first + margin :, :], down, step, nodes[0])
    margin = _margin(plan, size[1], blocks)
    few = map_rows(extend(few, margin, -1, "reflect")[..., first + margin :], down, step, nodes[1])
    return map_columns(map_rows(few, up, len(up) // factor, size[1]), up, len(up) // factor, size[0])


def _blocks(image: Tensor, factor: int) -> tuple[int, int]:
    """Return how many nodes the bands give at once on the way down, and how many they take forward on the way up."""
    # Small blocks waste the least work on the bands' zeros; a GPU is busier with large ones.
    return (max(2, 32 // factor), max(1, 32 // factor)) if image.device.type == "cpu" else (64, 64)


def _nodes(factor: int, length: int, blocks: tuple[int, int]) -> int:
    """Return how many nodes an axis has: those of whole windows on the way up, and three that the last pixels need."""
    return -(-length // (factor * blocks[1])) * blocks[1] + 3


def _margin(plan: Decimation, length: int, blocks: tuple[int, int]) -> int:
    """Return how far an axis is continued, so that the windows of all nodes are whole; less where it is too short."""
    windows = -(-_nodes(plan.factor, length, blocks) // blocks[0])
    reach = plan.factor * (blocks[0] - 1) + len(kernel_from_bytes(plan.kernel))
    needed = (windows - 1) * blocks[0] * plan.factor + reach
    return max(plan.reach, min(needed - length - plan.reach + plan.factor, length - 1))


def _down(kernel: bytes, factor: int, block: int) -> Tensor:
    return strided_band(kernel_from_bytes(kernel), block, factor)


def _up(factor: int, block: int) -> Tensor:
    """Return the matrix from nodes to the pixels between them: four of them count for each."""
    rows = torch.arange(block * factor)
    band = torch.zeros(len(rows), block + 3, dtype=torch.float64)
    spline = torch.from_numpy(np.append(_spline(factor), 0.0))
    for node in range(4):
        offsets = 2 * factor - 1 + (node - 1) * factor - rows % factor
        band[rows, rows // factor + node] = spline[offsets]
    return band
