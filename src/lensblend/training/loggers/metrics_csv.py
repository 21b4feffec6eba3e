"""``metrics.csv``: every logged value of every phase, a row per step that logged something; ``speed.csv``: speed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError
from lensblend.storage import write_atomically
from lensblend.training.logged import SPEED
from lensblend.training.loggers.phase_logger import PhaseLogger
from lensblend.training.phase_run import PhaseRun

_LARGEST = 2**30  # bytes
KEYS = ("phase", "epoch", "step")


class MetricsCsv(PhaseLogger):
    """Collect a phase's metrics in the run's ``metrics.csv``, and what depends on the machine in ``speed.csv``.

    ``metrics.csv`` is the same, bit by bit, for a training that was stopped and went on. Values that arrive for one
    step share a row. Rows of this phase past the step that a restart goes on from are dropped: those steps are done
    again.

    Args:
        phase_run: The phase to record.
    """

    def __init__(self, phase_run: PhaseRun) -> None:
        super().__init__()
        self._phase = phase_run.phase
        self._metrics, self._speed = (
            _Table(phase_run.run_dir / name, phase_run.phase, phase_run.first_step)
            for name in ("metrics.csv", "speed.csv")
        )

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "csv"

    @property
    def version(self) -> str:
        """The phase."""
        return self._phase

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step; ``step`` counts finished optimizer steps from 0."""
        epoch = str(int(metrics["epoch"])) if "epoch" in metrics else ""
        for table, is_speed in ((self._metrics, False), (self._speed, True)):
            values = {k: float(v) for k, v in metrics.items() if k != "epoch" and k.startswith(f"{SPEED}/") == is_speed}
            if values:
                table.add(values, epoch, step or 0)

    @rank_zero_only
    def save(self) -> None:
        """Write the files anew, atomically."""
        self._metrics.save()
        self._speed.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


class _Table:
    """One file, which other phases share.

    Args:
        path: The file.
        phase: Whose rows are added.
        first_step: Of the phase's rows that there are, those before it stay.
    """

    def __init__(self, path: Path, phase: str, first_step: int) -> None:
        self._path, self._phase, self._first_step = path, phase, first_step
        self._rows: list[dict[str, str]] = []
        self._was_read = self._has_news = False

    def add(self, values: Mapping[str, float], epoch: str, step: int) -> None:
        if not self._was_read:
            self._rows, self._was_read = [row for row in read_rows(self._path) if self._is_kept(row)], True
        self._has_news = True
        told = {name: f"{value:.9g}" for name, value in values.items()}
        for row in reversed(self._rows[-2:]):
            if row["phase"] == self._phase and row["step"] == str(step):
                row.update(told)
                return
        self._rows.append({"phase": self._phase, "epoch": epoch, "step": str(step), **told})

    def _is_kept(self, row: Mapping[str, str]) -> bool:
        return row["phase"] != self._phase or int(row["step"]) < self._first_step

    def save(self) -> None:
        if not self._has_news:
            return
        columns = [*KEYS, *sorted({k for row in self._rows for k in row} - set(KEYS))]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._path, text.getvalue())
        self._has_news = False


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return a CSV file's rows, empty cells left out; none where there is no file.

    Raises:
        DataError: It is damaged.
    """
    try:
        text = read_text(path, limit=_LARGEST)
    except FileNotFoundError:
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        damaged = any(None in row or None in row.values() or not row["step"].isdecimal() for row in rows)
        damaged = damaged or any("phase" not in row for row in rows)
    except (csv.Error, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); move it away to go on without its rows.") from None
    if damaged:
        raise DataError(f"{path} is damaged: it holds rows that no training writes; move it away.")
    return [{k: v for k, v in row.items() if v != "" or k in KEYS} for row in rows]
