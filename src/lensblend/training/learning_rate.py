"""The way of a learning rate from its first to its last value: a function of how far the phase's epochs are done."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

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
    (another batch size, other devices), both numbers are those of the epochs as they are now; see `Rates`.

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


def steps_per_epoch(trainer: pl.Trainer) -> int:
    """Return the optimizer steps of an epoch, as it is now."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


class Rates:
    """The learning rates of a phase's optimizers, each on the same path from its own first rate.

    They follow the place in the phase's epochs: a training that goes on with other batches, devices or accumulation
    takes the path up where its epochs are. What a restart brings back of rates and other numbers of an optimizer's
    configuration gives way to what the configuration says now.

    Args:
        path: One of `LR_PATHS`.
        ratio: Last over first learning rate.
        every: Epochs between two drops of the path ``step``; None for the others.
        optimizers: In the order in which the module gives them to Lightning.
        trainer: Knows the epochs and their steps.
    """

    def __init__(
        self, path: str, ratio: float, every: int | None, optimizers: Sequence[Optimizer], trainer: pl.Trainer
    ) -> None:
        self._path, self._ratio, self._every, self._trainer = LR_PATHS[path], ratio, every, trainer
        self._optimizers = optimizers
        # A function of its own: PyTorch saves what a method is bound to.
        self.schedules = [LambdaLR(optimizer, lambda step: self._factor(step)) for optimizer in optimizers]
        self._base = [list(schedule.base_lrs) for schedule in self.schedules]
        self._asked = [
            [{key: group[key] for key in (*optimizer.defaults, "initial_lr")} for group in optimizer.param_groups]
            for optimizer in optimizers
        ]

    def _factor(self, step: int) -> float:
        per_epoch = steps_per_epoch(self._trainer)
        drop_every = None if self._every is None else self._every * per_epoch
        return self._path(self._ratio, lr_progress(step, per_epoch * (self._trainer.max_epochs or 1), drop_every))

    def begin(self) -> None:
        """Put what the configuration says in the place of what a checkpoint has brought back."""
        for optimizer, asked in zip(self._optimizers, self._asked, strict=True):
            for group, values in zip(optimizer.param_groups, asked, strict=True):
                rate = group["lr"]
                group.update(values)
                group["lr"] = rate
        for schedule, base in zip(self.schedules, self._base, strict=True):
            schedule.base_lrs = list(base)
            self._set(schedule, schedule.last_epoch)

    def follow(self, epoch: int, batch: int) -> None:
        """Set the rates for the step that a batch of an epoch begins."""
        step = epoch * steps_per_epoch(self._trainer) + batch // self._trainer.accumulate_grad_batches
        for schedule in self.schedules:
            if schedule.last_epoch != step:
                self._set(schedule, step)

    def _set(self, schedule: LambdaLR, step: int) -> None:
        schedule.last_epoch = step
        rates = [base * self._factor(step) for base in schedule.base_lrs]
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates
