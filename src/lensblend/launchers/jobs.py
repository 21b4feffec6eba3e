"""The jobs of a sweep: what each is, where it stands, how it ended."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensblend.errors import DataError, Interrupted, RequestError
from lensblend.runs import status_file
from lensblend.runs.configuration import overrides_hash
from lensblend.runs.signals import STOPS

STATUS = "status.json"
DONE = ("done", "stopped", "pruned")
_STOPPED = {Interrupted.exit_code} | {code for number in STOPS for code in (-number, 128 + number)}


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        number: Its place in the sweep.
        overrides: What it sets.
        folder: Where it writes.
        command: Starts it, in a process of its own.
        processes: How many train together; None: as many as it gets GPUs.
        on_gpu: Whether it wants GPUs; None: if there are any.
        nodes: Machines that train together; a cluster's launcher provides them.
    """

    number: int
    overrides: tuple[str, ...]
    folder: Path
    command: tuple[str, ...] = ()
    processes: int | None = 1
    on_gpu: bool | None = None
    nodes: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: The job.
        state: ``done`` or ``pruned``, either with `` before`` if by an earlier start of the sweep; ``failed``,
            ``interrupted``, ``not started`` or ``submitted`` (to a cluster, and not waited for).
        exit_code: Of its process; None without one.
        seconds: How long it ran.
        error: Why it failed, in one line.
        score: The last phase's best value of what it monitors, by name.
    """

    job: Job
    state: str
    exit_code: int | None = None
    seconds: float = 0.0
    error: str = ""
    score: tuple[str, float] | None = None


def read_status(folder: Path) -> dict[str, Any]:
    """Return what a job's folder says of it, empty where it says nothing that can be read."""
    try:
        return status_file.read_status(folder / STATUS)
    except (FileNotFoundError, DataError):
        return {}


def done_before(job: Job) -> Outcome | None:
    """Return the outcome of a job that an earlier start of the sweep has done, None for others."""
    status = read_status(job.folder)
    state = status.get("state")
    return Outcome(job, f"{state} before", 0, score=score(status)) if state in DONE else None


def ended(job: Job, exit_code: int, seconds: float) -> Outcome:
    """Return how a job ended, from its exit code and what it wrote.

    A job that was killed wrote nothing; neither does the first process of several when another one fails, because
    Lightning kills it.
    """
    status = read_status(job.folder)
    if exit_code == 0:
        state = str(status["state"]) if status.get("state") in DONE else "done"
        return Outcome(job, state, 0, seconds, score=score(status))
    if exit_code in _STOPPED:
        return Outcome(job, "interrupted", exit_code, seconds, score=None)
    said = str(status.get("error") or "") if status.get("state") == "failed" else ""
    if not said and exit_code < 0:
        said = f"killed by {signal.Signals(-exit_code).name}, perhaps for want of memory"
    return Outcome(job, "failed", exit_code, seconds, error=said or f"ended with exit code {exit_code}")


def score(status: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the best value that the last phase that was finished or pruned monitored, by name."""
    phases = [phase for phase in status.get("phases", {}).values() if phase.get("best")]
    name, value = next(iter(phases[-1]["best"].items())) if phases else ("", None)
    return None if value is None else (name, value)


def labels(jobs: Sequence[Job]) -> list[str]:
    """Return what tells each job from the others: its overrides without those that all of them have.

    Example:
        >>> jobs = [Job(0, ("seed=1", "kernels=a"), Path()), Job(1, ("seed=1", "kernels=b"), Path())]
        >>> labels(jobs)
        ['kernels=a', 'kernels=b']
    """
    common = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(o for o in job.overrides if o not in common) or "(the same as others)" for job in jobs]


class Folders:
    """Give each job of a sweep its folder, when the sweep is started again the one that it had.

    Args:
        sweep: The sweep's folder.
        resume: Whether the sweep may have been started before.
    """

    def __init__(self, sweep: Path, resume: bool) -> None:
        self._sweep = sweep
        self._resume = resume
        self._taken: set[Path] = set()

    def choose(self, proposed: Path, overrides: Sequence[str]) -> Path:
        """Return a job's folder.

        Args:
            proposed: What the configuration calls it.
            overrides: The job's.

        Raises:
            RequestError: It belongs to another job, or to one that was started before, and ``resume`` is off.
        """
        folder = self._known(overrides) or (proposed if _is_free(proposed, self._taken) else None)
        if folder is None and not self._resume:
            other = "another job of this sweep" if proposed in self._taken else "an earlier start"
            raise RequestError(
                f"{proposed} belongs to {other}. To go on with that sweep, add hydra.launcher.resume=true; for a new "
                "one give another hydra.sweep.dir, or make hydra.sweep.subdir differ between its jobs."
            )
        number = 0
        while folder is None:
            candidate = self._sweep / str(number)
            folder = candidate if _is_free(candidate, self._taken) else None
            number += 1
        self._taken.add(folder)
        return folder

    def _known(self, overrides: Sequence[str]) -> Path | None:
        if not self._resume:
            return None
        wanted = overrides_hash(overrides)
        for file in sorted(self._sweep.rglob(STATUS), key=lambda path: (len(path.parts), len(path.name), path)):
            if file.parent not in self._taken and read_status(file.parent).get("overrides_hash") == wanted:
                return file.parent
        return None


def _is_free(folder: Path, taken: Collection[Path]) -> bool:
    return folder not in taken and not (folder / STATUS).exists()
