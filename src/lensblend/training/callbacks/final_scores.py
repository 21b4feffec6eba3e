"""The few numbers by which finished phases are compared."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import default_collate

from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.loggers.phase_logger import PhaseLogger

TIMED = 3


class FinalScores(pl.Callback):
    """Give loggers that ask for them the scores of ``best.ckpt``, the number of parameters and the latency.

    Args:
        keep: Knows the scores.
    """

    def __init__(self, keep: KeepLastAndBest) -> None:
        self._keep = keep

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the loggers."""
        takers = [logger for logger in trainer.loggers if isinstance(logger, PhaseLogger) and logger.takes_numbers]
        if not trainer.is_global_zero or not takers:
            return
        numbers = {name.removeprefix("val/"): score for name, score in self._keep.best_scores.items()}
        network: Any = pl_module.network
        numbers["parameters"] = sum(p.numel() for p in network.parameters())
        numbers["latency_s"] = latency(trainer, pl_module)
        for logger in takers:
            logger.log_numbers(numbers, device_name(pl_module.device), max(trainer.global_step - 1, 0))


@torch.no_grad()
def latency(trainer: pl.Trainer, pl_module: Any) -> float:
    """Return the seconds that one photo of the phase's size takes on the training's device: a median after a warm-up.

    The network is left in the mode it was in, and no random number is taken from the training.
    """
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    samples = data.val if len(data.val) else data.train
    device = pl_module.device
    batch = trainer.strategy.batch_to_device(default_collate([samples[0, 0]]), device)
    was_training = pl_module.training
    pl_module.eval()
    seconds = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for _ in range(1 + TIMED):
            _finish_work(device)
            start = time.perf_counter()
            with trainer.precision_plugin.forward_context():
                pl_module.answer(batch)
            _finish_work(device)
            seconds.append(time.perf_counter() - start)
    pl_module.train(was_training)
    return median(seconds[1:])


def device_name(device: torch.device) -> str:
    """Return what a latency was measured on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _finish_work(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
