"""Find finished trainings: what a folder holds, where each run stands, and which of them can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lensblend.errors import DataError, RequestError
from lensblend.runs.configuration import read_config
from lensblend.runs.folders import run_folders, shown
from lensblend.runs.status_file import FINISHED, read_status
from lensblend.storage import real

PhaseChoice = Callable[[Mapping[str, Any], Sequence[str]], Sequence[str]]
"""Takes a run's configuration and its finished phases, at least one, in their order; returns those to compare."""


@dataclass(frozen=True)
class Entry:
    """One row of a comparison: what one phase of one run has learned.

    Attributes:
        run_dir: The run's folder.
        phase: Which phase.
        config: The run's configuration.
        tags: What the run combined, from its ``status.json``.
        left_out: Terms of the phase's loss that were left out, by their names, and why, from the same.
    """

    run_dir: Path
    phase: str
    config: dict[str, Any]
    tags: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Path:
        """The phase's best weights."""
        return self.run_dir / self.phase / "best.ckpt"


@dataclass(frozen=True)
class LeftOut:
    """A run, or a phase of it, that cannot be compared.

    Attributes:
        folder: The run's folder.
        reason: Why not.
    """

    folder: Path
    reason: str


def class_name(node: Mapping[str, Any]) -> str:
    """Return the name of the class that a configuration's node builds; empty where it names none.

    Example:
        >>> class_name({"_target_": "lensblend.networks.depth_blend.DepthBlend"})
        'DepthBlend'
    """
    return str(node.get("_target_", "")).rsplit(".", 1)[-1]


def last_phase(_: Mapping[str, Any], done: Sequence[str]) -> Sequence[str]:
    """Compare a run's last phase."""
    return done[-1:]


def every_phase(_: Mapping[str, Any], done: Sequence[str]) -> Sequence[str]:
    """Compare all that a run has finished."""
    return done


def find_entries(
    folders: Sequence[Path], phase: str | None = None, choose: PhaseChoice = last_phase
) -> tuple[list[Entry], list[LeftOut]]:
    """Find the runs in and below folders, in natural order, each once.

    Args:
        folders: Run folders, or folders below which run folders lie.
        phase: Compare this phase; default: those that ``choose`` says, which needs the whole run to be finished.
        choose: Says which phases of a run have an entry of their own.

    Returns:
        What can be compared, and what cannot.

    Raises:
        RequestError: A folder does not exist, or holds no run.
    """
    entries: list[Entry] = []
    left_out: list[LeftOut] = []
    for run_dir in dict.fromkeys(found.resolve() for folder in folders for found in _runs_below(folder)):
        try:
            entries += _entries_of(shown(run_dir), phase, choose)
        except (DataError, RequestError) as error:
            left_out.append(LeftOut(shown(run_dir), str(error)))
    return entries, left_out


def _runs_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder; give a run's folder, or one below which runs lie.")
    found = run_folders(folder)
    if not found:
        holder = next((p for p in folder.resolve().parents if (p / "status.json").is_file()), None)
        hint = f"did you mean {shown(holder)}?" if holder else "give the folder of `lensblend train`, or of a sweep."
        raise RequestError(f"{folder} holds no run: there is no status.json in it or below it; {hint}")
    return found


def _entries_of(run_dir: Path, phase: str | None, choose: PhaseChoice) -> list[Entry]:
    """Return a run's entries, or raise why there are none."""
    status = _read_status(run_dir / "status.json")
    phases = status.get("phases", {})
    done = [name for name, entry in phases.items() if entry.get("state") in FINISHED]
    if phase is not None and phase not in done:
        known = phases[phase].get("state", "new") if phase in phases else "not trained"
        raise RequestError(f"its phase {phase} is {known}; finished are: {', '.join(done) or 'none'}")
    if phase is None and status.get("state") not in FINISHED:
        said = f" ({status['error']})" if status.get("error") else ""
        finished = f"; finished phases: {', '.join(done)} (--phase NAME compares one)" if done else ""
        raise RequestError(f"it is {status.get('state', 'new')}{said}{finished}")
    if not done:
        raise RequestError("it has finished no phase")
    if not (run_dir / "config.yaml").is_file():
        raise DataError("its config.yaml is missing; `lensblend train` with the run's own command writes it anew")
    config = read_config(run_dir)
    unsaid = [key for key in ("data", "model") if not config.get(key)]
    if unsaid:
        raise DataError(f"its config.yaml does not say its `{unsaid[0]}`")
    if str((config.get("module") or {}).get("_target_", "")).endswith(".Estimation"):
        raise RequestError("it estimates saliency or depth and renders nothing; its scores are in its metrics.csv")
    chosen = [phase] if phase else choose(config, done)
    tags = tuple(status.get("tags", ()))
    entries = [Entry(run_dir, name, config, tags, phases[name].get("left_out") or {}) for name in chosen]
    missing = [str(entry.checkpoint) for entry in entries if not entry.checkpoint.is_file()]
    if missing:
        raise DataError(f"{', '.join(missing)} is missing; train that phase again")
    return entries


def _read_status(file: Path) -> dict[str, Any]:
    try:
        return read_status(file)
    except FileNotFoundError:
        raise DataError("it has not started: there is no status.json, only what Hydra wrote") from None
    except DataError as error:
        said = f"its status.json is damaged; `lensblend train resume=` on that folder writes it anew ({error})"
        raise DataError(said) from None


def choose_reference(entries: Sequence[Entry], labels: Sequence[str], against: str | None) -> int:
    """Return which entry the others are compared with.

    Args:
        entries: What is compared.
        labels: Their labels.
        against: A label or a run's folder; default: the first.

    Raises:
        RequestError: It names none of them.
    """
    if against is None:
        return 0
    if against in labels:
        return labels.index(against)
    folder = real(against)
    for index, entry in enumerate(entries):
        if folder in (entry.run_dir.resolve(), (entry.run_dir / entry.phase).resolve()):
            return index
    raise RequestError(f"`--against {against}` is none of the runs compared; there are: {', '.join(labels)}.")
