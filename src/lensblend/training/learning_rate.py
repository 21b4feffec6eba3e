"""The way of a learning rate from its first to its last value: a function of the step alone."""

from __future__ import annotations

import math

# What "poly" means in semantic segmentation, from DeepLab on.
POWER = 0.9


def lr_factor(path: str, ratio: float, progress: float) -> float:
    """Return the learning rate at a point of its path, relative to the first.

    Args:
        path: ``cosine``, ``exponential``, ``linear``, ``polynomial`` (of power 0.9), ``step`` or ``constant``.
            ``step`` is the exponential path of a progress that jumps, as :func:`lr_progress` makes it.
        ratio: Last over first learning rate.
        progress: Share of the way done, in [0, 1].

    Example:
        >>> [round(lr_factor("cosine", 0.1, t), 3) for t in (0.0, 0.5, 1.0)]
        [1.0, 0.55, 0.1]
    """
    match path:
        case "cosine":
            return ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress))
        case "exponential" | "step":
            return float(ratio**progress)
        case "linear":
            return 1 + (ratio - 1) * progress
        case "polynomial":
            return float(ratio + (1 - ratio) * (1 - progress) ** POWER)
        case _:
            return 1.0


def lr_progress(step: int, steps: int, drop_every: int | None = None) -> float:
    """Return how much of the learning rate's way is done before a step; a function of the step alone.

    Args:
        step: Steps done.
        steps: Steps of the whole phase; the last of them has the last learning rate.
        drop_every: Steps between two jumps, or None for a path that moves at every step. The stretch after the last
            jump may be shorter.

    Example:
        >>> [lr_progress(step, 30, drop_every=10) for step in (0, 9, 10, 19, 20, 29)]
        [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    """
    if drop_every is None:
        return min(step / max(steps - 1, 1), 1.0)
    jumps = max(math.ceil(steps / drop_every) - 1, 1)
    return min(step // drop_every, jumps) / jumps
