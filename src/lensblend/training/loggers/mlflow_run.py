"""MLflow: one run per phase in the training's experiment, found again when the phase goes on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from lensblend.errors import DataError, Interrupted, RequestError
from lensblend.inference.pictures import sheet
from lensblend.runs.documents import read_json
from lensblend.runs.files import below
from lensblend.runs.messages import say
from lensblend.runs.redaction import redact
from lensblend.storage import json_text, write_atomically
from lensblend.training.loggers.phase_logger import PhaseLogger, Rows, check_links, is_copy, panel_key, place
from lensblend.training.phase_run import PhaseRun

KEPT = "mlflow_run.json"
# Before MLflow sets the variable itself, to the place of the phase before.
_FROM_ENVIRONMENT = os.environ.get("MLFLOW_TRACKING_URI")


class PhaseMlflowLogger(PhaseLogger, MLFlowLogger):
    """Log a phase to its own run, found again by the id that the phase's folder keeps.

    Args:
        phase_run: The phase to record.
        tracking_uri: Of MLflow's server or store; default: the variable ``MLFLOW_TRACKING_URI``, or else
            ``mlflow.db`` and ``mlartifacts`` in the run's folder.

    Raises:
        RequestError: MLflow cannot be reached, or knows no such run.
    """

    takes_numbers = True

    def __init__(self, phase_run: PhaseRun, tracking_uri: str | None = None) -> None:
        identity = phase_run.identity
        tracking_uri = tracking_uri or _FROM_ENVIRONMENT
        store, pictures = (below(phase_run.run_dir, name) for name in ("mlflow.db", "mlartifacts"))
        for place_of_own in (store, pictures):
            check_links(place_of_own, phase_run)
        own = f"sqlite:///{store.resolve()}"
        self._kept, self._folder = phase_run.folder / KEPT, phase_run.folder
        known = self._known()
        super().__init__(
            experiment_name=redact(phase_run.group),
            run_name=redact(f"{identity.label} / {phase_run.phase}" if identity.label else phase_run.phase),
            tracking_uri=tracking_uri or own,
            artifact_location=None if tracking_uri else pictures.resolve().as_uri(),
            tags=redact({"phase": phase_run.phase, "tags": ", ".join(dict.fromkeys(identity.tags))}),
            run_id=known,
        )
        self._pictures: Path | None = None if tracking_uri else pictures
        self._begin(known, redact(dict(phase_run.config)))

    @rank_zero_only
    def _begin(self, known: str | None, config: Mapping[str, Any]) -> None:
        """Start the run, or go on in it; its parameters are those that it was started with."""
        from mlflow.exceptions import MlflowException

        # It warns of every experiment that it begins.
        logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            if known is None:
                self.log_hyperparams(dict(config))
            else:
                self.experiment.update_run(known, status="RUNNING")
        except MlflowException as error:
            begun = "" if known is None else f", or remove {self._kept} to begin a new run"
            raise RequestError(
                f"MLflow could not start ({str(error).splitlines()[0]}); see logger.mlflow.tracking_uri, use "
                f"logger=csv{begun}."
            ) from error
        write_atomically(self._kept, json_text({"run": self.run_id, **place(self._folder)}) + "\n")
        self._takes_pictures = self._pictures is None or _is_within(self._place_of_pictures(), self._pictures)
        if not self._takes_pictures:
            say(f"{self._folder.parent / 'mlflow.db'} was begun in another folder: pictures are not added to its runs.")

    def _place_of_pictures(self) -> str:
        return str(self.experiment.get_run(self.run_id).info.artifact_uri)

    def _known(self) -> str | None:
        """Return the run that the phase's folder keeps; none for a copy of it: two trainings would spoil one run."""
        try:
            noted = read_json(self._kept)
        except FileNotFoundError:
            return None
        run = noted.get("run") if isinstance(noted, dict) else None
        if not isinstance(run, str) or not re.fullmatch(r"[\w-]{1,64}", run) or not isinstance(noted.get("path"), str):
            raise DataError(f"{self._kept} is damaged: it holds no id of an MLflow run; remove it, and one is begun.")
        return None if is_copy(noted, self._folder) else run

    @rank_zero_only
    def log_panels(self, rows: Rows, step: int) -> None:
        """Log one strip of pictures per pair, each under a key of its own."""
        for name, row in rows.items() if self._takes_pictures else ():
            self.experiment.log_image(self.run_id, sheet({name: row}), key=panel_key(name), step=step)

    @rank_zero_only
    def log_numbers(self, numbers: Mapping[str, float], device: str, step: int) -> None:
        """Log what the phase is compared by: columns of MLflow's table of runs."""
        self.log_metrics(numbers, step)
        self.experiment.set_tag(self.run_id, "device", device)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Say how it ended: FINISHED, FAILED, or KILLED by a signal."""
        status = {0: "FINISHED", Interrupted.exit_code: "KILLED"}.get(exit_code, "FAILED")
        self.experiment.set_terminated(self.run_id, status)


def _is_within(uri: str, folder: Path) -> bool:
    """Tell whether an address is that of a place on this machine within a folder."""
    parts = urlsplit(uri)
    return parts.scheme == "file" and Path(url2pathname(parts.path)).resolve().is_relative_to(folder.resolve())
