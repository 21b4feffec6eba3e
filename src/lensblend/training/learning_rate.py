"""The way of a learning rate from its first to its last value: a function of how far the phase is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lensblend.errors import one_of

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
EXTEND = ("stretch", "hold")


@dataclass(frozen=True)
class Length:
    """How long a phase trains: whichever of its limits comes first.

    Attributes:
        epochs: Passes over the training pairs; None for no such limit.
        steps: Optimizer steps; None for no such limit.
    """

    epochs: int | None
    steps: int | None = None

    def is_in_steps(self, per_epoch: int) -> bool:
        """Tell whether its steps come first, where an epoch has so many."""
        return self.steps is not None and (self.epochs is None or self.steps < self.epochs * per_epoch)

    def total(self, per_epoch: int) -> int:
        """Return all of its optimizer steps, where an epoch has so many.

        Example:
            >>> Length(3, 25).total(10), Length(2, 25).total(10), Length(None, 25).total(10)
            (25, 20, 25)
        """
        limits = [self.steps] if self.epochs is None else [self.steps, self.epochs * per_epoch]
        return min(limit for limit in limits if limit is not None)

    def is_longer(self, before: Length) -> bool:
        """Tell whether it is another length, and none of its limits comes earlier.

        Example:
            >>> Length(20).is_longer(Length(10)), Length(20, 5).is_longer(Length(10)), Length(9).is_longer(Length(9))
            (True, False, False)
        """
        now, then = self._limits(), before._limits()
        return now != then and all(one >= other for one, other in zip(now, then, strict=True))

    def _limits(self) -> list[float]:
        return [math.inf if limit is None else float(limit) for limit in (self.epochs, self.steps)]


@dataclass(frozen=True)
class Extension:
    """A phase that goes on beyond the length that it had.

    Attributes:
        before: The length that it had.
        epochs: Epochs that were done then, in parts of them too.
        steps: Optimizer steps that were done then.
        rule: One of `EXTEND`: ``stretch`` takes up the path through the new length where the phase is, ``hold`` keeps
            the learning rate that its last step had.
    """

    before: Length
    epochs: float
    steps: int
    rule: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Extension:
        """Build one from what a run's ``schedule.extended`` keeps."""
        epochs = record["epoch"] + record["batch"] / max(record["batches"], 1)
        return cls(Length(record["max_epochs"], record["max_steps"]), epochs, record["step"], record["extend"])


@dataclass(frozen=True)
class LearningRate:
    """The way of a phase's learning rate, relative to its first value.

    Attributes:
        path: One of `LR_PATHS`.
        ratio: Last over first learning rate.
        every: Epochs between two drops of the path ``step``; None for the others.
        warmup: Steps in which the rate rises in equal parts to its first value, from where on the path begins (that of
            ``step`` keeps its drops); below 1 a share of the phase's steps, 0 for none.
        length: Of the phase; None for the trainer's epochs.
        extensions: What its length was before, in order.
        scheduler: Builds a scheduler of PyTorch's from an optimizer, which takes the place of the path.
        interval: When that one takes a step: after every ``epoch`` or every ``step``.
        monitor: What it looks at, if it does.
    """

    path: str = "cosine"
    ratio: float = 1.0
    every: int | None = None
    warmup: float = 0.0
    length: Length | None = None
    extensions: tuple[Extension, ...] = ()
    scheduler: Callable[[Any], Any] | None = None
    interval: str = "epoch"
    monitor: str | None = None

    def __post_init__(self) -> None:
        one_of("lr_path", self.path, LR_PATHS)

    def factor(self, place: int, per_epoch: int, length: Length) -> float:
        """Return the learning rate of a step, relative to the first one.

        Args:
            place: Steps before it: of the phase's epochs as they are now or, where its steps limit it, those done.
            per_epoch: Steps of an epoch, as it is now.
            length: Of the phase now.
        """
        in_steps = length.is_in_steps(per_epoch)
        begins = [e.steps if in_steps else round(e.epochs * per_epoch) for e in self.extensions]
        lengths = [*(extension.before for extension in self.extensions), length]
        last = sum(begin <= place for begin in begins)
        while last and self.extensions[last - 1].rule == "hold":
            last -= 1
            place = max(begins[last] - 1, 0)
        return self._along(place, lengths[last].total(per_epoch), per_epoch, lengths[0].total(per_epoch))

    def _along(self, place: int, total: int, per_epoch: int, first_total: int) -> float:
        """Return the factor at a place of the path through so many steps."""
        rising = round(self.warmup * first_total) if self.warmup < 1 else int(self.warmup)
        if place < rising:
            return (place + 1) / (rising + 1)
        if self.every is not None:
            return LR_PATHS[self.path](self.ratio, lr_progress(place, total, self.every * per_epoch))
        return LR_PATHS[self.path](self.ratio, lr_progress(place - rising, total - rising))


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
