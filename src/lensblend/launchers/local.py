"""Run the jobs of a sweep on this machine: one fresh process each, a few at once, none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lensblend.errors import RequestError
from lensblend.launchers.devices import Pool
from lensblend.launchers.jobs import Job, Outcome, done_before, ended, labels
from lensblend.launchers.report import Report
from lensblend.launchers.standby import Standby
from lensblend.runs.signals import heeded

LAUNCHER = "LENSBLEND_LAUNCHER"
LOG = "job.log"
_PAUSE = 0.1
# After a second Ctrl-C a training stops at once; one that has not is killed.
_PATIENCE = 15.0
_LEFT_OVER = 5.0


class _Running:
    """A job in a process of its own.

    Args:
        job: What to start.
        environment: Its process's.
        gpus: What it holds.
        to_log: Whether it writes to its folder's log, and not to the terminal.
        standby: Where a process may wait that has imported what the job needs.
    """

    def __init__(
        self, job: Job, environment: Mapping[str, str], gpus: list[str], to_log: bool, standby: Standby
    ) -> None:
        self.job = job
        self.gpus = gpus
        self._started = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)
        environment = {**environment, LAUNCHER: str(os.getpid())}
        warm = standby.take(job.command, environment, job.folder / LOG if to_log else None)
        with (job.folder / LOG).open("ab") if to_log else contextlib.nullcontext() as log:
            self._process = warm or subprocess.Popen(
                job.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if to_log else None,
                # So that the terminal's Ctrl-C comes to this process only, which hands it on: once.
                process_group=0,
            )

    def outcome(self) -> Outcome | None:
        """Return how the job ended, with all that it started; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        seconds = time.monotonic() - self._started
        # The first of several processes ends a moment before the others. What is still there then is left over from
        # one that was killed.
        patience = time.monotonic() + _LEFT_OVER
        while self._send_all(0) and time.monotonic() < patience:
            time.sleep(_PAUSE)
        self._send_all(signal.SIGKILL)
        return ended(self.job, code, seconds)

    def send(self, number: int) -> None:
        """Send a signal to the job; it passes it on to what it has started."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the job and what it has started, now."""
        self._send_all(signal.SIGKILL)
        self._process.wait()

    def _send_all(self, number: int) -> bool:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


class _Stop:
    """Hand signals on to the running jobs, from within a loop rather than from within a handler."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._handed_on = 0
        self._deadline: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a signal has come."""
        return bool(self._received)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals within."""
        before = {number: signal.signal(number, lambda n, _: self._received.append(n)) for number in heeded()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def hand_on(self, running: Sequence[_Running]) -> list[str]:
        """Hand on what has come since the last call, and return its names."""
        new = self._received[self._handed_on :]
        self._handed_on += len(new)
        for number in new:
            for one in running:
                one.send(signal.SIGTERM if number == signal.SIGHUP else number)
        if self._deadline is None and self._received.count(signal.SIGINT) > 1:
            self._deadline = time.monotonic() + _PATIENCE
        if self._deadline is not None and time.monotonic() > self._deadline:
            for one in running:
                one.kill()
        return [signal.Signals(number).name for number in new]


def run_jobs(jobs: Sequence[Job], slots: int, environment: Mapping[str, str]) -> list[Outcome]:
    """Run jobs, each in a process of its own, and return how they ended, in their order.

    A job that fails leaves the others alone. Ctrl-C, SIGTERM and SIGUSR1 are handed on to the running jobs, which
    save and stop; no further job is started. A second Ctrl-C stops them at once.

    Args:
        jobs: In the order in which they start; those that are done by an earlier start are left out.
        slots: Jobs at once. With one, a job writes to the terminal; with several, each to ``job.log`` in its folder.
        environment: For the jobs.

    Raises:
        RequestError: A job asks for more GPUs than there are, or for other machines.
    """
    _check_machines(jobs)
    pool = Pool(slots, jobs, environment)
    outcomes = {job.number: known for job in jobs if (known := done_before(job))}
    waiting = [job for job in jobs if job.number not in outcomes]
    running: list[_Running] = []
    stop, standby = _Stop(), Standby()
    with Report(jobs, slots) as report, stop.caught():
        for before in outcomes.values():
            report.ended(before)
        try:
            while running or (waiting and not stop.is_asked):
                while waiting and not stop.is_asked and len(running) < slots and pool.has_room(waiting[0]):
                    job = waiting.pop(0)
                    report.started(job)
                    running.append(_Running(job, *pool.take(job), slots > 1, standby))
                    if waiting:
                        standby.prepare(waiting[0].command, pool.environment(waiting[0]))
                report.running([one.job for one in running])
                time.sleep(_PAUSE)
                for name in stop.hand_on(running):
                    report.stopping(name)
                for one in list(running):
                    outcome = one.outcome()
                    if outcome is not None:
                        running.remove(one)
                        pool.give_back(one.gpus)
                        outcomes[one.job.number] = outcome
                        report.ended(outcome)
        finally:
            standby.close()
            for one in running:
                one.kill()
    done = [outcomes.get(job.number) or Outcome(job, "not started") for job in jobs]
    report.table(done)
    return done


def _check_machines(jobs: Sequence[Job]) -> None:
    for job, label in zip(jobs, labels(jobs), strict=True):
        if job.nodes > 1:
            raise RequestError(
                f"Job {job.number} ({label}) trains on {job.nodes} machines, but its launcher starts it on this one "
                "alone: add hydra/launcher=slurm, or leave trainer.num_nodes out."
            )
