"""What a sweep shows while it runs, and its final table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from lensblend.launchers.jobs import Job, Outcome, labels, read_status

COLOURS = {
    **dict.fromkeys(("done", "done before"), "green"),
    **dict.fromkeys(("stopped", "stopped before", "pruned", "pruned before", "submitted"), "cyan"),
    **dict.fromkeys(("interrupted", "not started"), "yellow"),
    "failed": "red",
}


class Report:
    """Say which jobs start and end, show where those stand that run at once, and end with a table.

    A failure is said when it happens.

    Args:
        jobs: All jobs of the sweep.
        slots: Jobs at once; with one, the job itself has the terminal while it runs.
    """

    def __init__(self, jobs: Sequence[Job], slots: int) -> None:
        self._names = dict(zip((job.number for job in jobs), labels(jobs), strict=True))
        self._console = Console(highlight=False, soft_wrap=True)
        self._slots = slots
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        is_live = slots > 1 and self._console.is_terminal
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self._console, disable=not is_live)
        self._all = self._progress.add_task("jobs", total=len(jobs))
        self._lines: dict[int, TaskID] = {}

    def __enter__(self) -> Report:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, job: Job) -> None:
        """Say that a job starts."""
        self.say(f"[bold]Job {job.number}[/] ({self._name(job)}) in {escape(_shown(job.folder))}")
        if self._slots > 1:
            self._lines[job.number] = self._progress.add_task(self._name(job), total=None)

    def running(self, jobs: Sequence[Job]) -> None:
        """Show where jobs stand, as far as their folders tell."""
        if self._progress.disable:
            return
        for job in jobs:
            status = read_status(job.folder)
            where = f"{status.get('phase', '')} step {status.get('step', 0)}" if "phase" in status else "starting"
            self._progress.update(self._lines[job.number], description=f"{self._name(job)}: {escape(where)}")

    def stopping(self, signal: str) -> None:
        """Say that the jobs have been asked to stop."""
        again = "; once more stops at once" if signal == "SIGINT" else ""
        self.say(f"{signal}: the running jobs save and stop{again}")

    def ended(self, outcome: Outcome) -> None:
        """Say how a job ended."""
        job = outcome.job
        if job.number in self._lines:
            self._progress.remove_task(self._lines.pop(job.number))
        self._progress.advance(self._all)
        colour = COLOURS[outcome.state]
        line = f"[bold]Job {job.number}[/] ({self._name(job)}) [{colour}]{outcome.state}[/]{_time(outcome)}"
        details = [escape(text) for text in (outcome.error, _score(outcome)) if text]
        self.say(": ".join([line, *details]))

    def table(self, outcomes: Sequence[Outcome]) -> None:
        """Print how all jobs ended."""
        table = Table(title="Jobs of the sweep", title_justify="left", highlight=False)
        for column in ("job", "overrides", "state", "exit code", "time", "score"):
            justify: JustifyMethod = "right" if column in ("job", "exit code", "time") else "left"
            table.add_column(column, justify=justify, overflow="fold")
        for outcome in outcomes:
            code = "" if outcome.exit_code is None else str(outcome.exit_code)
            state = f"[{COLOURS[outcome.state]}]{outcome.state}[/]"
            number = str(outcome.job.number)
            table.add_row(number, self._name(outcome.job), state, code, _time(outcome).strip(), _score(outcome))
        self._console.print()
        self._console.print(table, soft_wrap=False)
        for outcome in outcomes:
            if outcome.state == "failed":
                self.say(f"Job {outcome.job.number} failed: {escape(outcome.error)} ({escape(_where(outcome.job))})")

    def noted(self, job: Job, text: str) -> None:
        """Say something of a job."""
        self.say(f"[bold]Job {job.number}[/]: {escape(text)}")

    def say(self, text: str) -> None:
        """Print a line at once, with markup."""
        self._console.print(text)
        self._console.file.flush()

    def _name(self, job: Job) -> str:
        return escape(self._names[job.number])


def _where(job: Job) -> str:
    log = job.folder / "job.log"
    return _shown(log if log.exists() else job.folder)


def _shown(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _time(outcome: Outcome) -> str:
    minutes, seconds = divmod(round(outcome.seconds), 60)
    return f" {minutes}:{seconds:02d}" if outcome.seconds else ""


def _score(outcome: Outcome) -> str:
    return f"{outcome.score[0]} {outcome.score[1]:.4f}" if outcome.score else ""
