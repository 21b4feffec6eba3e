"""TensorBoard: a phase's numbers and pictures in event files, and what it is compared by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lensblend.inference.pictures import sheet
from lensblend.runs.files import below
from lensblend.runs.redaction import redact
from lensblend.training.loggers.phase_logger import PhaseLogger, Rows, check_links, panel_key
from lensblend.training.phase_run import PhaseRun


class PhaseTensorBoardLogger(PhaseLogger, TensorBoardLogger):
    """Log a phase to ``PHASE/tensorboard/from-step-N``, where N is the step from which this start of it goes on.

    Args:
        phase_run: The phase to record.
        save_dir: A folder that several runs share: there it is ``SWEEP/RUN/PHASE/from-step-N``. Default: the run's own.
    """

    takes_numbers = True

    def __init__(self, phase_run: PhaseRun, save_dir: str | None = None) -> None:
        run = "/".join(phase_run.run_dir.resolve().parts[-2:])
        super().__init__(
            save_dir=Path(save_dir) if save_dir else below(phase_run.folder, "tensorboard"),
            name=f"{run}/{phase_run.phase}" if save_dir else "",
            version=f"from-step-{phase_run.first_step}",
            default_hp_metric=False,
        )
        self._config = redact(dict(phase_run.config))
        check_links(Path(self.log_dir), phase_run)

    @rank_zero_only
    def log_panels(self, rows: Rows, step: int) -> None:
        """Log one strip of pictures per pair, each under a key of its own."""
        for name, row in rows.items():
            self.experiment.add_image(panel_key(name), np.array(sheet({name: row})), step, dataformats="HWC")

    @rank_zero_only
    def log_numbers(self, numbers: Mapping[str, float], device: str, step: int) -> None:
        """Log the configuration with what the phase is compared by: a row of TensorBoard's page HPARAMS."""
        self.log_hyperparams({**self._config, "device": device}, dict(numbers), step)
