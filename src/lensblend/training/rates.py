"""The learning rates of a phase's optimizers, by the place in its epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lensblend.training.learning_rate import LR_PATHS, lr_progress


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
