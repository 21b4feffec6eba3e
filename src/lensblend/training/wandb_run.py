"""One Weights & Biases run per phase: group = the training, job_type = the phase, tags = what was combined."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lensblend.errors import Interrupted, RequestError
from lensblend.training.files import write_atomically
from lensblend.training.phase_run import PhaseRun
from lensblend.training.pictures import sheet

Rows = Mapping[str, Mapping[str, NDArray[np.uint8]]]


class PhaseWandbLogger(WandbLogger):
    """Log a phase to its own run, found again by the id that the phase's folder keeps.

    ``WANDB_MODE=offline`` keeps the run on disk, in the training's folder.

    Args:
        phase_run: The phase to record.
        project: W&B's project.
        entity: W&B's team or user; default: the account's own.
    """

    def __init__(self, phase_run: PhaseRun, project: str = "lensblend", entity: str | None = None) -> None:
        super().__init__(
            name=f"{phase_run.group}/{phase_run.phase}",
            save_dir=phase_run.run_dir,
            id=_run_id(phase_run.folder),
            project=project,
            entity=entity,
            group=phase_run.group,
            job_type=phase_run.phase,
            tags=list(phase_run.tags),
            config=dict(phase_run.config),
            resume="allow",
        )
        try:
            _ = self.experiment
        except wandb.errors.Error as error:
            raise RequestError(
                f"W&B could not start ({error}); log in with `wandb login`, set WANDB_MODE=offline, or use logger=csv."
            ) from error

    @rank_zero_only
    def log_panels(self, rows: Rows, step: int) -> None:
        """Log the grid of pictures under one key, one strip per pair, its id as caption."""
        strips = [wandb.Image(sheet({name: row}), caption=name) for name, row in rows.items()]
        self.experiment.log({"panels": strips, "trainer/global_step": step})

    @rank_zero_only
    def log_final(self, rows: Rows, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Log the phase's final table: one row per pair of the grid, its pictures and its scores."""
        pictures = list(dict.fromkeys(caption for row in rows.values() for caption in row))
        names = list(dict.fromkeys(name for row in scores.values() for name in row))
        table = wandb.Table(columns=["id", *pictures, *names])
        for name, row in rows.items():
            images = [wandb.Image(row[c]) if c in row else None for c in pictures]
            table.add_data(name, *images, *(scores[name].get(n) for n in names))
        self.experiment.log({"final": table})

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Close the run, so that the next phase gets its own; one that a signal stopped is marked as preempted."""
        if self._experiment is not None:
            if exit_code == Interrupted.exit_code:
                self._experiment.mark_preempting()
            self._experiment.finish(exit_code=exit_code)
            self._experiment = None


def _run_id(folder: Path) -> str:
    """Return the phase's run id, choosing one at the first call."""
    file = folder / "wandb_id"
    if not file.exists():
        write_atomically(file, secrets.token_hex(4) + "\n")
    return file.read_text(encoding="utf-8").strip()
