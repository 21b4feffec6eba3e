"""Keep the last and the best checkpoint of a phase."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from lensblend.training.phases import MONITORS


class KeepLastAndBest(Checkpoint):
    """Write ``last.ckpt`` after every epoch and ``best.ckpt`` whenever the monitored score improves.

    Without validation pairs ``best`` is ``last``.

    Args:
        folder: The phase's folder.
        monitor: The validation score that decides, e.g. ``val/psnr``.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self.folder = folder
        self.monitor = monitor
        self.best: float | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the epoch's validation."""
        scores = trainer.callback_metrics
        value = float(scores[self.monitor]) if self.monitor in scores else None
        validates = sum(trainer.num_val_batches) > 0
        improved = not validates or (value is not None and self._beats(value))
        if improved and value is not None:
            self.best = value
        last = self.folder / "last.ckpt"
        trainer.save_checkpoint(last)
        if improved and trainer.is_global_zero:
            _copy(last, self.folder / "best.ckpt")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let ``best`` be ``last`` where no validation took place."""
        best = self.folder / "best.ckpt"
        if trainer.is_global_zero and not best.exists() and (self.folder / "last.ckpt").exists():
            _copy(self.folder / "last.ckpt", best)

    def _beats(self, value: float) -> bool:
        if value != value:
            return False
        if self.best is None:
            return True
        return value > self.best if MONITORS[self.monitor] == "max" else value < self.best

    def state_dict(self) -> dict[str, Any]:
        """Remember the best score over a restart."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best score before a restart."""
        self.best = state_dict["best"]


def _copy(source: Path, target: Path) -> None:
    """Give a finished file a second name; it is replaced, never written in place, so the two stay independent."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        # Some file systems have no hard links.
        temporary.write_bytes(source.read_bytes())
    os.replace(temporary, target)
