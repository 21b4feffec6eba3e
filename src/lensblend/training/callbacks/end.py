"""End a phase after its optimizer steps."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from lensblend.training.rates import steps_per_epoch


class EndAfterSteps(pl.Callback):
    """End a training after so many optimizer steps, with a validation, also within an epoch.

    Lightning's own ``max_steps`` would end it without one, and count epochs otherwise when it goes on.

    Args:
        steps: How many; None for as many as its epochs have.
    """

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See in which epoch that will be; train nothing where all is done."""
        self._look(trainer)
        if self.steps is not None:
            within = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            within = within // trainer.accumulate_grad_batches if within < trainer.num_training_batches else 0
            left = max(self.steps - trainer.global_step, 0) + within
            epochs = trainer.current_epoch + math.ceil(left / steps_per_epoch(trainer))
            trainer.fit_loop.max_epochs = min(epochs, trainer.max_epochs or epochs)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step."""
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        if self.steps is not None and trainer.global_step >= self.steps:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # this one is validated, whatever its number
