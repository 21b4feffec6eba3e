"""What a logger is told of a phase beyond its metrics; Lightning's own loggers get the metrics alone."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger

from lensblend.errors import DataError, RequestError
from lensblend.runs.files import below
from lensblend.runs.instantiate import build, classes_in
from lensblend.runs.redaction import redact
from lensblend.runs.roles import LOGGER
from lensblend.training.phase_run import PhaseRun

Rows = Mapping[str, Mapping[str, NDArray[np.uint8]]]
LONGEST_NAME = 128
# What is to be installed for Lightning's own loggers and those that derive from them; extras of this project, too.
_PACKAGES: dict[type[Logger], str] = {TensorBoardLogger: "tensorboard", MLFlowLogger: "mlflow"}


class PhaseLogger(Logger):
    """A logger that is built with the ``phase_run`` that it records; it overrides those of the hooks that it needs.

    Attributes:
        takes_numbers: Whether it is told the numbers; some take renderings to measure.
    """

    takes_numbers: ClassVar[bool] = False

    @classmethod
    def check(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse values of its arguments before anything is trained.

        Args:
            arguments: Those of the configuration.
        """

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

    def log_failure(self, reason: str) -> None:
        """Note why the phase failed; `finish` follows. Nothing is noted of one that a signal stopped."""

    def finish(self, exit_code: int) -> None:
        """Close what belongs to the phase, however it ended."""


def check_loggers(nodes: Mapping[str, Any]) -> None:
    """Refuse loggers that could not be built, before anything is trained.

    Args:
        nodes: What ``logger`` says, of classes that may stand there.

    Raises:
        RequestError: A package is not installed, or an argument has a value that it cannot have.
    """
    for key, node in nodes.items():
        if not node:
            continue
        kind = next(classes_in(node, f"logger.{key}", LOGGER))
        missing = [name for of, name in _PACKAGES.items() if issubclass(kind, of) and find_spec(name) is None]
        if missing:
            raise RequestError(
                f"`logger.{key}` needs {missing[0]}, which is not installed here: pip install "
                f"'lensblend[{missing[0]}]', or use logger=csv."
            )
        if issubclass(kind, PhaseLogger):
            kind.check(node)


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
        check_links(Path(logger.log_dir or logger.save_dir or phase_run.run_dir), phase_run)
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


def check_links(folder: Path, phase_run: PhaseRun) -> None:
    """Refuse links in the run's folder where a logger will write: what they lead to would be written over.

    Raises:
        DataError: There is one.
    """
    root, folder = phase_run.run_dir.absolute(), folder.absolute()
    if root not in folder.parents:
        return
    for path in (*folder.parents, folder, *folder.rglob("*")):
        if root in path.parents and path.is_symlink():
            raise DataError(f"{path} is a link where a logger would write; put the file or folder itself in its place.")


def panel_key(pair: str) -> str:
    """Return the key under which every run logs a pair's pictures: its id, as far as W&B and MLflow take it.

    Letters and digits of any script stay. Where something else had to go, a hash of the id keeps keys apart.

    Example:
        >>> panel_key("street_01"), panel_key("街"), panel_key("val.street 01")
        ('panels/street_01', 'panels/街', 'panels/val_street_01-df7283')
    """
    key = re.sub(r"[^\w-]", "_", pair)
    # W&B makes a file's name of it and more.
    key = key.encode()[:LONGEST_NAME].decode(errors="ignore")
    if key != pair:
        key = f"{key}-{hashlib.sha256(pair.encode(errors='surrogatepass')).hexdigest()[:6]}"
    return f"panels/{key}"


def is_copy(noted: Mapping[str, Any], folder: Path) -> bool:
    """Tell whether a phase's folder is a copy of the one that was noted; one that was moved or renamed is not.

    Args:
        noted: What `place` has returned.
        folder: As it is now.
    """
    now = place(folder)
    return noted["path"] != now["path"] and noted.get("inode") != now["inode"]


def place(folder: Path) -> dict[str, Any]:
    """Return what tells a folder from its copies: its path, and its number on its disk, which moving it keeps."""
    return {"path": str(folder.resolve()), "inode": folder.stat().st_ino}
