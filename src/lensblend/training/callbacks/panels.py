"""The same few validation pairs, pictured after every validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import default_collate

from lensblend.training.pictures import cells, save_picture, sheet, to_8bit


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
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Picture the final state where nothing was validated."""
        if sum(trainer.num_val_batches) == 0:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or self.count < 1:
            return
        rows = self._render(trainer, pl_module)
        phase = Path(trainer.default_root_dir)
        save_picture(sheet(rows), phase.parent / "panels" / f"{phase.name}-epoch{trainer.current_epoch + 1:04d}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_panels"):
                logger.log_panels(rows, trainer.global_step)

    @torch.no_grad()
    def _render(self, trainer: pl.Trainer, pl_module: Any) -> dict[str, dict[str, Any]]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        samples = data.val if len(data.val) else data.train
        step = max(len(samples) // self.count, 1)
        was_training = pl_module.training
        pl_module.eval()
        rows = {}
        for index in range(0, min(len(samples), step * self.count), step):
            sample = samples[0, index]
            batch = trainer.strategy.batch_to_device(default_collate([sample]), pl_module.device)
            batch = pl_module.on_after_batch_transfer(batch, 0)
            with trainer.precision_plugin.forward_context():
                rendering = pl_module.render(batch)
            weights = rendering.aux.get("weights")
            maps = [to_8bit(w) for w in weights[0]] if weights is not None else []
            names = getattr(getattr(pl_module.network, "bank", None), "names", ())
            pictures = (to_8bit(batch["photo"][0]), to_8bit(batch["target"][0]), to_8bit(rendering.bokeh[0]))
            rows[sample["id"]] = cells(*pictures, maps, names)
        pl_module.train(was_training)
        return rows
