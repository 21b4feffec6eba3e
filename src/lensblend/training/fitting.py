"""Fit, without the advice of Lightning that does not apply here."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytorch_lightning as pl

from lensblend.training.datamodule import PairsDataModule


def fit_quietly(trainer: pl.Trainer, module: pl.LightningModule, data: PairsDataModule, resume: Path | None) -> None:
    """Train one phase.

    Args:
        trainer: Fits.
        module: What is trained.
        data: On what.
        resume: The checkpoint from which to go on.
    """
    with warnings.catch_warnings():
        # Lightning 2.6 asks PyTorch in a way that PyTorch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=".*treespec.*LeafSpec.*")
        # The module converts batches also without this data module; that it does so with one is meant.
        warnings.filterwarnings("ignore", message="You have overridden `on_after_batch_transfer`.*")
        # The metrics add up over processes by themselves; training values are the first process's.
        warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist=True.*")
        # Few workers are right for small data sets and few cores; the loader group sets them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # It is: `KeyedSampler` starts at the batch that the checkpoint names.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch.*")
        # Networks without weights to train are scored all the same; the run says so itself.
        warnings.filterwarnings("ignore", message=".*configure_optimizers` returned `None`.*")
        warnings.filterwarnings("ignore", message="`training_step` returned `None`.*")
        # Small data sets have fewer batches than `log_every_n_steps`; each epoch logs its means all the same.
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
