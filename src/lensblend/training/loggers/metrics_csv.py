"""``metrics.csv``: every logged value of every phase, one row per step that logged something."""

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
from lensblend.training.loggers.phase_logger import PhaseLogger
from lensblend.training.phase_run import PhaseRun

_LARGEST = 2**30  # bytes
KEYS = ("phase", "epoch", "step")


class MetricsCsv(PhaseLogger):
    """Collect a phase's metrics in the run's ``metrics.csv``.

    Values that arrive for one step share a row. Rows of this phase past the step that a restart goes on from are
    dropped: those steps are done again.

    Args:
        phase_run: The phase to record.
    """

    def __init__(self, phase_run: PhaseRun) -> None:
        super().__init__()
        self._path = phase_run.run_dir / "metrics.csv"
        self._phase = phase_run.phase
        self._first_step = phase_run.first_step
        self._rows: list[dict[str, str]] | None = None

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
        if self._rows is None:
            self._rows = [r for r in read_rows(self._path) if r["phase"] != self._phase or self._is_kept(r)]
        key = str(step if step is not None else 0)
        values = {k: f"{float(v):.9g}" for k, v in metrics.items() if k != "epoch"}
        epoch = str(int(metrics["epoch"])) if "epoch" in metrics else ""
        for row in reversed(self._rows[-2:]):
            if row["phase"] == self._phase and row["step"] == key:
                row.update(values)
                return
        self._rows.append({"phase": self._phase, "epoch": epoch, "step": key, **values})

    def _is_kept(self, row: Mapping[str, str]) -> bool:
        return int(row["step"]) < self._first_step

    @rank_zero_only
    def save(self) -> None:
        """Write the file anew, atomically."""
        if self._rows is None:
            return
        columns = [*KEYS, *sorted({k for row in self._rows for k in row} - set(KEYS))]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


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
