"""How fast a training is, and what holds it up: images a second, waiting for data, memory of the GPU."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch

from lensblend.training.datamodule import WaitedLoader
from lensblend.training.logged import SPEED


class Throughput(pl.Callback):
    """Log how fast the steps since the last ones that were logged were, as often as the training loss.

    - ``speed/images_per_s``: training pairs of all processes a second.
    - ``speed/data_share``: the share of that time in which this process waited for its loader, 0 to 1. A GPU may have
      had work meanwhile: near 0 the loader keeps up, near 1 it holds everything up.
    - ``speed/gpu_memory_gib``: on a GPU, the most that the phase's tensors have taken of it so far.

    Validations are left out, and so is the first step of a process, in which much is prepared. Nothing waits for a GPU.
    A repeated training has other such numbers: `MetricsCsv` keeps them in ``speed.csv``.
    """

    def __init__(self) -> None:
        self._began: float | None = None  # perf_counter()
        self._images = 0
        self._waited_before = 0.0
        self._validating = 0.0
        self._logged = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with this phase's memory."""
        self._logged = trainer.global_step
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._validating -= time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the clock run again."""
        self._validating += time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, and log where its step is one that is logged."""
        if self._began is None:
            self._begin(trainer)
            return
        self._images += len(batch["photo"])
        step = trainer.global_step
        if step > self._logged and step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._logged = step
            self._log(trainer, time.perf_counter() - self._began - self._validating)
            self._begin(trainer)

    def _begin(self, trainer: pl.Trainer) -> None:
        self._began, self._validating, self._images = time.perf_counter(), 0.0, 0
        self._waited_before = _waited(trainer)

    def _log(self, trainer: pl.Trainer, seconds: float) -> None:
        told = {f"{SPEED}/images_per_s": self._images * trainer.world_size / seconds}
        if isinstance(trainer.train_dataloader, WaitedLoader):
            told[f"{SPEED}/data_share"] = min((_waited(trainer) - self._waited_before) / seconds, 1.0)
        device = trainer.strategy.root_device
        if device.type == "cuda":
            told[f"{SPEED}/gpu_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        for logger in trainer.loggers:
            logger.log_metrics({**told, "epoch": trainer.current_epoch}, trainer.global_step - 1)


def _waited(trainer: pl.Trainer) -> float:
    loader = trainer.train_dataloader
    return loader.waited if isinstance(loader, WaitedLoader) else 0.0
