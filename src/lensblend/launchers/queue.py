"""Watch jobs in SLURM's queue until each has ended, and tell how."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lensblend.launchers.jobs import DONE, Job, Outcome, ended, read_status
from lensblend.launchers.report import Report

# A job that is preempted, or told to stop, comes back: PREEMPTED, REQUEUED and the like are not among these.
OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_REMEDIES = {
    "TIMEOUT": "a step and a save took longer than hydra.launcher.signal_delay_s",
    "OUT_OF_MEMORY": "give hydra.launcher.mem_gb",
}


class Queue:
    """What SLURM says of jobs. It needs no accounting data base; jobs that ended some minutes ago are forgotten."""

    def states(self, ids: Sequence[str]) -> dict[str, str] | None:
        """Return the state of each job that SLURM still knows, by its number; None where SLURM does not answer.

        Args:
            ids: Numbers, of arrays with the task's: ``12_0``.
        """
        arrays = ",".join(sorted({name.split("_")[0] for name in ids}))
        command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={arrays}", "--format=%i %T"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0:
            # So it says of a single number that it has forgotten.
            return {} if "Invalid job id" in done.stderr else None
        pairs = [line.split() for line in done.stdout.splitlines()]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0] in ids}


def wait(jobs: Sequence[Job], ids: Mapping[int, str], files: Path, queue: Queue, report: Report) -> dict[int, Outcome]:
    """Wait until every job has ended, report each change of state, and return the outcomes by number.

    Args:
        jobs: What was submitted.
        ids: What SLURM calls them, by number.
        files: Where the batch scripts leave exit codes.
        queue: SLURM's.
        report: Where changes are told.
    """
    outcomes: dict[int, Outcome] = {}
    known = dict.fromkeys(ids.values(), "PENDING")
    began: dict[int, float] = {}
    pause = _FIRST_PAUSE
    while len(outcomes) < len(jobs):
        states = queue.states(list(ids.values()))
        left = [job for job in jobs if job.number not in outcomes]
        for job in left if states is not None else []:
            name = ids[job.number]
            state = (states or {}).get(name, "")
            if state and state != known[name]:
                report.noted(job, f"{name} {state.lower()}")
                known[name], pause = state, _FIRST_PAUSE
            if state == "RUNNING":
                began.setdefault(job.number, time.monotonic())
            if not state or state in OVER:
                seconds = time.monotonic() - began.get(job.number, time.monotonic())
                outcomes[job.number] = outcome(job, files / f"{name}.exit", state, seconds)
                report.ended(outcomes[job.number])
        if len(outcomes) < len(jobs):
            time.sleep(pause)
            pause = min(pause * 1.2, _LONGEST_PAUSE)
    return outcomes


def outcome(job: Job, file: Path, state: str, seconds: float) -> Outcome:
    """Return how a job ended: done only if its folder says so.

    Args:
        job: The job.
        file: Where its batch script left the exit code, if it came so far.
        state: SLURM's last word on it, empty if it has forgotten it.
        seconds: How long it ran.
    """
    status = read_status(job.folder)
    code = _read_code(file)
    if status.get("state") in DONE and code in (0, None):
        return ended(job, 0, seconds)
    if code is not None and code != 0:
        return ended(job, code, seconds)
    why = f"SLURM says {state}" if state else "SLURM has forgotten it"
    said = f"{why}, its folder {status.get('state', 'nothing')}" + (
        f"; {_REMEDIES[state]}" if state in _REMEDIES else ""
    )
    if state == "CANCELLED":
        return Outcome(job, "interrupted", None, seconds, error=said)
    return Outcome(job, "failed", 1, seconds, error=said)


def _read_code(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
