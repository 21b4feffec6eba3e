"""Scores of systems, out of the table that ``lensblend compare`` writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lensblend.benching.cases import System
from lensblend.errors import DataError, RequestError
from lensblend.storage import real

_NEEDED = ("run", "folder", "metric", "mean")


@dataclass(frozen=True)
class Scores:
    """One score of several systems.

    Attributes:
        metric: Its name.
        of: The score by the system's name.
    """

    metric: str
    of: dict[str, float]


def scores_of(systems: Sequence[System], file: Path) -> Scores:
    """Return the score of each system that a ``compare.csv`` knows, by the run's name or its folder.

    A file with several metrics gives its first.

    Raises:
        RequestError: There is no such file, or it knows none of the systems.
        DataError: It is no table of ``lensblend compare``.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"`--scores` {file} does not exist; give the compare.csv of `lensblend compare`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as a table: {error}; give the compare.csv.") from None
    reader = csv.DictReader(io.StringIO(text))
    rows = list(reader)
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing or not rows:
        what = f"it has no column `{missing[0]}`" if missing else "it has no rows"
        raise DataError(f"{file} is no compare.csv of `lensblend compare`: {what}.")
    metric = rows[0]["metric"]
    found: dict[str, float] = {}
    for row in rows:
        for system in systems:
            if row["metric"] == metric and row["mean"] and _is(system, row["run"], row["folder"]):
                found[system.name] = _number(row["mean"], file)
    if not found:
        known = ", ".join(dict.fromkeys(row["run"] for row in rows))
        asked = ", ".join(system.name for system in systems)
        raise RequestError(f"`--scores` {file} knows {known}, but none of {asked}; compare those runs first.")
    return Scores(metric, found)


def _is(system: System, run: str, folder: str) -> bool:
    """Tell whether a run of the table is a system: of its name, or in the folder that it came from or lies in."""
    if system.name == run:
        return True
    if system.model is None or not folder:
        return False
    place = real(system.model)
    # Runs that differ in their seed alone are one row, with all their folders.
    return any(real(one) in (place, *place.parents[:2]) for one in folder.split("; "))


def _number(text: str, file: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{file} is damaged: a mean is {text!r}, not a number; compare again.") from None
