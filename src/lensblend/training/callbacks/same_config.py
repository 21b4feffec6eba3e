"""Processes that train together were started separately: see to it that they train the same thing in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lensblend.errors import TrainingError
from lensblend.runs.configuration import config_hash, flat
from lensblend.training.cluster import check_shared


class SameConfig(pl.Callback):
    """Compare the configurations of all processes before the first step, and whether all machines see the folder.

    Each process composes its own from the same command line. A value that depends on the process or the machine (an
    environment variable, a random choice) would let them train different networks without a word.

    Args:
        config: This process's, as plain dicts.
        run_dir: The training's folder.
    """

    def __init__(self, config: Mapping[str, Any], run_dir: Path) -> None:
        self.config = {**config, "run_dir": str(run_dir.resolve())}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compare before anything is trained.

        Raises:
            TrainingError: They differ, or a machine does not see the folder; in every process, with keys and values, or
                names.
        """
        if trainer.world_size == 1:
            return
        ours = flat(self.config), config_hash(self.config)
        gathered: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(gathered, ours)
        first, first_hash = gathered[0]
        for rank, (values, hashed) in enumerate(gathered):
            keys = [key for key in sorted(first.keys() | values.keys()) if first.get(key) != values.get(key)]
            if hashed != first_hash or "run_dir" in keys:
                told = "; ".join(f"{key}: {first.get(key)!r} in process 0, {values.get(key)!r} here" for key in keys)
                raise TrainingError(
                    f"Process {rank} of {trainer.world_size} was started with another configuration ({told}). "
                    "Give values that do not depend on the process or the machine."
                )
        if trainer.num_nodes > 1:
            check_shared(Path(self.config["run_dir"]))
