"""The learning rates of a phase's optimizers, by the place in its epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lensblend.training.learning_rate import LearningRate, Length

# What a scheduler that cycles momentum changes beside the rate, and by what it is known.
_CYCLED, _CYCLES = ("momentum", "betas"), "max_momentum"
_NEVER = 10**9


def steps_per_epoch(trainer: pl.Trainer) -> int:
    """Return the optimizer steps of an epoch, as it is now."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def is_whole_epoch(trainer: pl.Trainer) -> bool:
    """Tell, at an epoch's end, whether all of its batches were trained, or the phase has ended within it."""
    done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return bool(done >= trainer.num_training_batches)


class Rates:
    """The learning rates of a phase's optimizers, each on the same path from its own first rates.

    They follow the place in the phase's epochs: a training that goes on with other batches, devices or accumulation
    takes the path up where its epochs are; where the phase is limited by its steps, where these are. What a restart
    brings back of rates and other numbers of an optimizer's configuration gives way to what the configuration says
    now. A scheduler of PyTorch's has a state of its own instead, which goes on as it was.

    Args:
        way: Of all rates.
        optimizers: In the order in which the module gives them to Lightning.
        trainer: Knows the epochs and their steps.
    """

    def __init__(self, way: LearningRate, optimizers: Sequence[Optimizer], trainer: pl.Trainer) -> None:
        self._way, self._trainer, self._optimizers = way, trainer, optimizers
        self.schedules: list[Any]
        if way.scheduler is not None:
            self.schedules = [way.scheduler(optimizer) for optimizer in optimizers]
        else:
            # A function of its own: PyTorch saves what a method is bound to.
            self.schedules = [LambdaLR(optimizer, lambda step: self._factor(step)) for optimizer in optimizers]
        self._base = [] if way.scheduler else [list(schedule.base_lrs) for schedule in self.schedules]
        self._asked = [
            [self._numbers(optimizer, group) for group in optimizer.param_groups] for optimizer in optimizers
        ]

    def _numbers(self, optimizer: Optimizer, group: dict[str, Any]) -> dict[str, Any]:
        """Return what the configuration alone decides of a group."""
        keys = [key for key in (*optimizer.defaults, "initial_lr") if key in group]
        cycled = _CYCLED if self._way.scheduler and _CYCLES in group else ()
        return {key: group[key] for key in keys if key not in (*cycled, "lr")}

    @property
    def length(self) -> Length:
        """How long the phase is."""
        return self._way.length or Length(self._trainer.max_epochs or 1)

    @property
    def _is_by_epoch(self) -> bool:
        return self._way.scheduler is not None and self._way.interval == "epoch"

    def for_lightning(self, schedule: Any) -> dict[str, Any]:
        """Return one of the schedules, and when Lightning takes its step: after every one, or never."""
        if not self._is_by_epoch:
            return {"scheduler": schedule, "interval": "step"}
        # Lightning would take a step that depends on a score after the epoch's checkpoint: going on would lack it.
        return {"scheduler": schedule, "interval": "epoch", "frequency": _NEVER, "monitor": self._way.monitor}

    def step(self) -> None:
        """Go on by one step of the optimizers."""
        for schedule in self.schedules if not self._is_by_epoch else ():
            schedule.step()

    def end_epoch(self) -> None:
        """Go on by an epoch that is done, before it is saved."""
        scores = self._trainer.callback_metrics
        for schedule in self.schedules if self._is_by_epoch and is_whole_epoch(self._trainer) else ():
            if not isinstance(schedule, ReduceLROnPlateau):
                schedule.step()
            elif self._way.monitor in scores:
                schedule.step(float(scores[self._way.monitor]))

    def _factor(self, step: int) -> float:
        return self._way.factor(step, steps_per_epoch(self._trainer), self.length)

    def begin(self) -> None:
        """Put what the configuration says in the place of what a checkpoint has brought back."""
        for optimizer, asked in zip(self._optimizers, self._asked, strict=True):
            for group, values in zip(optimizer.param_groups, asked, strict=True):
                group.update(values)
        for schedule, base in zip(self.schedules, self._base, strict=False):
            schedule.base_lrs = list(base)
            self._set(schedule, schedule.last_epoch)

    def follow(self, epoch: int, batch: int) -> None:
        """Set the rates for the step that a batch of an epoch begins."""
        if self._way.scheduler is not None:
            return
        per_epoch = steps_per_epoch(self._trainer)
        step = epoch * per_epoch + batch // self._trainer.accumulate_grad_batches
        if self.length.is_in_steps(per_epoch):
            step = self._trainer.global_step
        for schedule in self.schedules:
            if schedule.last_epoch != step:
                self._set(schedule, step)

    def _set(self, schedule: LambdaLR, step: int) -> None:
        schedule.last_epoch = step
        rates = [base * self._factor(step) for base in schedule.base_lrs]
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates
