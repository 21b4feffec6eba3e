"""What a logger is told of a phase beyond its metrics; Lightning's own loggers get the metrics alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from lensblend.errors import DataError
from lensblend.runs.files import below
from lensblend.runs.instantiate import build, classes_in
from lensblend.runs.redaction import redact
from lensblend.runs.roles import LOGGER
from lensblend.training.phase_run import PhaseRun

Rows = Mapping[str, Mapping[str, NDArray[np.uint8]]]


class PhaseLogger(Logger):
    """A logger that is built with the ``phase_run`` that it records; it overrides those of the hooks that it needs.

    Attributes:
        takes_numbers: Whether it is told the numbers; some take renderings to measure.
    """

    takes_numbers: ClassVar[bool] = False

    def log_panels(self, rows: Rows, step: int) -> None:
        """Log the pictures after a validation.

        Args:
            rows: Pictures by caption, by the pair's id.
            step: The optimizer step they belong to, counted from 0 as in the metrics.
        """

    def log_final(self, rows: Rows, scores: Mapping[str, Mapping[str, float]], step: int) -> None:
        """Log the pictures and scores of each pair at the phase's end."""

    def log_numbers(self, numbers: Mapping[str, float], device: str, step: int) -> None:
        """Log what the phase is compared by.

        Args:
            numbers: The best checkpoint's scores, ``parameters`` and ``latency_s``.
            device: What the latency was measured on.
            step: The optimizer step they belong to.
        """

    def finish(self, exit_code: int) -> None:
        """Close what belongs to the phase, however it ended."""


def build_loggers(nodes: Mapping[str, Any], phase_run: PhaseRun) -> list[Logger]:
    """Build the loggers of a phase.

    Lightning's own know nothing of phases: they are told the configuration, and where to write unless the node says
    so: each start of a phase to a place of its own, by default ``PHASE/KEY/from-step-N`` in the run's folder.

    Args:
        nodes: What ``logger`` says; what is set to null is left out.
        phase_run: The phase.
    """
    loggers = []
    for key, node in nodes.items():
        if not node:
            continue
        where = f"logger.{key}"
        kind = next(classes_in(node, where, LOGGER))
        if issubclass(kind, PhaseLogger):
            loggers.append(build({**node, "_partial_": True}, where, LOGGER)(phase_run=phase_run))
            continue
        logger: Logger = build({**_place(kind, node, key, phase_run), "_partial_": False}, where, LOGGER)
        _check_links(logger, phase_run)
        logger.log_hyperparams(redact(dict(phase_run.config)))
        loggers.append(logger)
    return loggers


def _place(kind: type, node: Mapping[str, Any], key: str, phase_run: PhaseRun) -> dict[str, Any]:
    """Return a node with those arguments that say where to write, for those of them that its class has."""
    run = "/".join(phase_run.run_dir.resolve().parts[-2:])
    known = {
        "save_dir": str(below(phase_run.folder, key)),
        # In a folder that other runs may share, a phase is found by its run.
        "name": f"{run}/{phase_run.phase}" if "save_dir" in node else "",
        "version": f"from-step-{phase_run.first_step}",
        "experiment_name": phase_run.group,
        "run_name": phase_run.phase,
    }
    takes = inspect.signature(kind).parameters
    return {**{name: value for name, value in known.items() if name in takes}, **node}


def _check_links(logger: Logger, phase_run: PhaseRun) -> None:
    """Refuse links in the run's folder where a logger will write: what they lead to would be written over.

    Raises:
        DataError: There is one.
    """
    root, folder = phase_run.run_dir.absolute(), Path(logger.log_dir or logger.save_dir or phase_run.run_dir).absolute()
    if root not in folder.parents:
        return
    for path in (*folder.parents, folder, *folder.rglob("*")):
        if root in path.parents and path.is_symlink():
            raise DataError(f"{path} is a link where a logger would write; put the file or folder itself in its place.")
