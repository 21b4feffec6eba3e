"""The way of a learning rate from its first to its last value: a function of how far the phase's epochs are done."""

from __future__ import annotations

import math
from collections.abc import Callable

# What "poly" means in semantic segmentation, from DeepLab on.
POWER = 0.9


# The learning rate relative to the first, by last over first learning rate and the share of the way done, in [0, 1].
LR_PATHS: dict[str, Callable[[float, float], float]] = {
    "cosine": lambda ratio, progress: ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress)),
    "exponential": lambda ratio, progress: float(ratio**progress),
    "linear": lambda ratio, progress: 1 + (ratio - 1) * progress,
    "polynomial": lambda ratio, progress: float(ratio + (1 - ratio) * (1 - progress) ** POWER),
    "step": lambda ratio, progress: float(ratio**progress),  # of a progress that jumps, see `lr_progress`
    "constant": lambda ratio, progress: 1.0,
}


def lr_progress(step: int, steps: int, drop_every: int | None = None) -> float:
    """Return how much of the learning rate's way is done before a step.

    A step is a place in the phase's epochs, not a count of what was done: where an epoch has other steps than before
    (another batch size, other devices), both numbers are those of the epochs as they are now.

    Args:
        step: Steps before it.
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
