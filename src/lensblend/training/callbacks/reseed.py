"""Give every step its own random numbers, so that a restart needs none from before it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from lensblend.data.transforms import key_seed

_STEP = -2  # distinct from every index of a sample and from the order of an epoch


class Reseed(pl.Callback):
    """Seed Python's, NumPy's and PyTorch's global generators before each step from (seed, epoch, batch, process).

    Dropout and whatever else draws from them in a step then depends on nothing that happened before it.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed for the step that follows."""
        seed = key_seed(self.seed, trainer.current_epoch, _STEP, batch_idx, trainer.global_rank)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
