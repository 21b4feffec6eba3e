"""The same few validation pairs, pictured after every validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from lensblend.inference.pictures import error_map, save_picture, sheet
from lensblend.runs.files import below
from lensblend.training.loggers.phase_logger import PhaseLogger

Rows = dict[str, dict[str, NDArray[np.uint8]]]


class Panels(pl.Callback):
    """Render a fixed grid of pairs into ``PATH/panels`` and to every logger that takes pictures.

    The pairs are spread evenly over the validation split (over the training split where there is none) and stay the
    same for the whole training.

    Args:
        count: Number of pairs.
    """

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Picture the state after a validation."""
        if not trainer.sanity_checking and self._is_wanted(trainer):
            self._draw(trainer, self._render(trainer, pl_module)[0], trainer.current_epoch + 1)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give loggers that keep tables the final pictures and their scores; picture what was never validated."""
        if not self._is_wanted(trainer):
            return
        rows, scores = self._render(trainer, pl_module)
        if sum(trainer.num_val_batches) == 0:
            self._draw(trainer, rows, trainer.current_epoch)
        for logger in trainer.loggers:
            if isinstance(logger, PhaseLogger):
                logger.log_final({name: _table_row(row) for name, row in rows.items()}, scores, _step(trainer))

    def _is_wanted(self, trainer: pl.Trainer) -> bool:
        return trainer.is_global_zero and self.count > 0

    def _draw(self, trainer: pl.Trainer, rows: Rows, epochs: int) -> None:
        phase = Path(trainer.default_root_dir)
        save_picture(sheet(rows), below(phase.parent, "panels") / f"{phase.name}-epoch{epochs:04d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, PhaseLogger):
                logger.log_panels(rows, _step(trainer))

    @torch.no_grad()
    def _render(self, trainer: pl.Trainer, pl_module: Any) -> tuple[Rows, dict[str, dict[str, float]]]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        samples = data.val if len(data.val) else data.train
        step = max(len(samples) // self.count, 1)
        was_training = pl_module.training
        pl_module.eval()
        rows: Rows = {}
        scores = {}
        for index in range(0, min(len(samples), step * self.count), step):
            sample = samples[0, index]
            # This also converts the batch to [0, 1], as in training.
            batch = trainer.strategy.batch_to_device(default_collate([sample]), pl_module.device)
            with trainer.precision_plugin.forward_context():
                rows[sample["id"]], scores[sample["id"]] = pl_module.picture(batch)
        pl_module.train(was_training)
        return rows, scores


def _step(trainer: pl.Trainer) -> int:
    """Return the last optimizer step, counted as the metrics count."""
    return max(trainer.global_step - 1, 0)


def _table_row(row: dict[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """Add the error, and name weight maps by their kernel alone: those of different kernel sets share a column."""
    maps = {caption: caption.partition(" · ")[2] for caption in row if " · " in caption}
    distinct = len(set(maps.values())) == len(maps)
    renamed = {f"weight {maps[c]}" if c in maps and distinct else c: pixels for c, pixels in row.items()}
    if "bokeh" not in row:
        return renamed
    pictures = {c: renamed.pop(c) for c in ("photo", "target", "bokeh")}
    return {**pictures, "error": error_map(row["bokeh"], row["target"]), **renamed}
