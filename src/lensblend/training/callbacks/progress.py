"""Show how far a phase has come: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar

from lensblend.runs.messages import note, say
from lensblend.training.callbacks.end import EndAfterSteps
from lensblend.training.logged import is_score, val_loss
from lensblend.training.rates import steps_per_epoch

_LOSS = "train/loss"
_LOSS_EVERY = 0.5  # seconds


class Progress(pl.Callback):
    """Become a rich bar where a person watches, and plain lines in log files.

    Args:
        every_seconds: At most one plain line in this time, besides one at the end of each epoch.
    """

    def __new__(cls, every_seconds: float = 30.0) -> Any:
        """Choose by where the output goes."""
        return TerminalProgress() if sys.stdout.isatty() else PlainProgress(every_seconds)


class TerminalProgress(RichProgressBar):
    """Lightning's rich bar without the logger's version, which would be the end of the phase's name.

    The training loss beside it is at most half a second old: reading it waits for the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loss: dict[str, float] = {}
        self._read = -math.inf

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch's last loss."""
        self._read = -math.inf
        super().on_train_epoch_end(trainer, pl_module)
        if self.is_enabled:
            note(_line(trainer, str(trainer.global_step)))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | Any]:
        """Return what stands beside the bar."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        now = time.monotonic()
        if now - self._read >= _LOSS_EVERY:
            self._read = now
            self._loss = {k: float(v) for k, v in trainer.callback_metrics.items() if k == _LOSS}
        return {**self._loss, **{name: value for name, value in metrics.items() if name != "v_num"}}


class PlainProgress(ProgressBar):
    """Print one line per epoch, and one now and then within a long epoch.

    Args:
        every_seconds: At most one line in this time within an epoch.
    """

    def __init__(self, every_seconds: float = 30.0) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self._enabled = True
        self._started = self._said = time.monotonic()
        self._first_step = 0

    def disable(self) -> None:
        """Say nothing: Lightning calls this on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Say something again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = self._said = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if the last one is long ago."""
        if time.monotonic() - self._said >= self.every_seconds:
            self._say(trainer, (batch_idx + 1) // trainer.accumulate_grad_batches)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line."""
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        in_epoch = -(-done // trainer.accumulate_grad_batches)
        self._say(trainer, in_epoch)

    def _say(self, trainer: pl.Trainer, in_epoch: int) -> None:
        """Print a line; what is left is counted in the epochs, whose steps may be others than before a restart."""
        self._said = time.monotonic()
        done, epochs = trainer.global_step, trainer.max_epochs or 0
        ahead = max((epochs - trainer.current_epoch) * steps_per_epoch(trainer) - in_epoch, 0)
        ends = [callback.steps for callback in trainer.callbacks if isinstance(callback, EndAfterSteps)]  # type: ignore[attr-defined]
        ahead = min([ahead, *(max(steps - done, 0) for steps in ends if steps is not None)])
        elapsed = self._said - self._started
        left = elapsed / max(done - self._first_step, 1) * ahead
        if self._enabled:
            say(f"{_line(trainer, f'{done}/{done + ahead}')} · {left:.0f} s left")


def _line(trainer: pl.Trainer, step: str) -> str:
    """Return how far a phase has come, and its newest values."""
    scores = {k: v for k, v in trainer.callback_metrics.items() if k in (_LOSS, val_loss()) or is_score(k)}
    values = " · ".join(f"{name} {float(value):.4g}" for name, value in scores.items())
    phase = trainer.default_root_dir.rstrip("/").rsplit("/", 1)[-1]
    return f"{phase} · epoch {trainer.current_epoch + 1}/{trainer.max_epochs} · step {step} · {values}"
