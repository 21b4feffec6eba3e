"""What people think of compared runs: mean opinion scores beside the metrics, and how far the two agree."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan, nan
from pathlib import Path

from scipy.stats import kendalltau, spearmanr

from lensblend.comparison.gallery import Cell, Section
from lensblend.comparison.lines import Line, Opinion
from lensblend.comparison.statistics import Interval
from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError
from lensblend.inference.evaluation import aligned, shown
from lensblend.metrics.per_image import MetricClasses
from lensblend.storage import cell_text

COLUMNS = ("method", "mos", "low", "high", "images")
WORST = 4
FEWEST = 3
FEW = 10
WEAK = (
    "These are few runs: with fewer than 5, no order can be told from chance; with 5, only ρ = ±1 can, and with 9, |ρ| "
    "from 0.70 on (one random order in twenty reaches these). They say little of other runs, and nothing of causes."
)


@dataclass(frozen=True)
class Ratings:
    """The scores that a study gave, and what of them is about the compared runs.

    Attributes:
        file: Where they come from.
        of: By the method's name.
    """

    file: Path
    of: Mapping[str, Opinion]


@dataclass(frozen=True)
class Agreement:
    """How far people order runs as a metric does; 1 where they do throughout, −1 where they do the opposite.

    Attributes:
        metric: Its heading.
        spearman: Spearman's ρ; NaN where there is none.
        kendall: Kendall's τ-b; the same.
        runs: How many have both.
    """

    metric: str
    spearman: float
    kendall: float
    runs: int


def read_ratings(file: Path) -> Ratings:
    """Read the ``mos.csv`` of `lensblend survey score`.

    Raises:
        RequestError: There is no such file.
        DataError: It is no such table, or a row's numbers are none.
    """
    try:
        rows = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise DataError(
                f"{file} is no mos.csv of `lensblend survey score`: it has no column `{missing[0]}`; name that file."
            )
        found: dict[str, Opinion] = {}
        for row in rows:
            name = cell_text(row["method"])
            if name in found:
                raise DataError(f"{file} has {name!r} twice; leave one out.")
            found[name] = _opinion(file, row)
    except FileNotFoundError:
        raise RequestError(
            f"`--ratings` {file} does not exist; give the mos.csv of `lensblend survey score`."
        ) from None
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table: {error}; score the study again.") from None
    return Ratings(file, found)


def _opinion(file: Path, row: Mapping[str, str]) -> Opinion:
    try:
        mos, low, high = (float(row[name] or nan) for name in ("mos", "low", "high"))
        images = int(row["images"])
    except (TypeError, ValueError):
        mos, images = nan, 0
    if not 0 <= mos <= WORST or images < 1:
        raise DataError(
            f"{file} is damaged: of {row['method']!r} it says a mos of {row['mos']!r} (0 to {WORST}) over "
            f"{row['images']!r} images; score the study again."
        )
    return Opinion(Interval(mos, low, high), images)


def rated(lines: Sequence[Line], ratings: Ratings) -> tuple[list[Line], list[str]]:
    """Return the lines with their opinions, and what is missing on either side, a sentence each.

    A method of the study is a run where its name is the run's, as the table has it, or the path or the name of the
    run's folder, which no other run's folder may share.

    Raises:
        DataError: No method is any of the runs.
    """
    own = {line.label: _names(line, lines) for line in lines}
    found = {label: next((ratings.of[n] for n in names if n in ratings.of), None) for label, names in own.items()}
    if not any(found.values()):
        raise DataError(
            f"{ratings.file} rates {', '.join(ratings.of) or 'nothing'}; none of these is a run. "
            f"The runs are {', '.join(own)}; call the methods of the study so, or as the runs' folders."
        )
    notes = [f"{ratings.file.name} has no MOS of {label}." for label, opinion in found.items() if opinion is None]
    used = {next(n for n in names if n in ratings.of) for label, names in own.items() if found[label]}
    notes += [f"{name}, of {ratings.file.name}, is none of these runs." for name in ratings.of if name not in used]
    return [replace(line, opinion=found[line.label]) for line in lines], notes


def _names(line: Line, lines: Sequence[Line]) -> list[str]:
    """Return what a study may call a run, the surest name first, as it stands in a file."""
    folder = Path(line.folder)
    alone = sum(Path(other.folder).name == folder.name for other in lines) == 1
    once = sum(other.folder == line.folder for other in lines) == 1
    names = [line.label, *([line.folder, str(folder.resolve())] if once else []), *([folder.name] if alone else [])]
    return [name.encode(errors="backslashreplace").decode() for name in names]


def agreements(lines: Sequence[Line], metrics: MetricClasses) -> list[Agreement]:
    """Return how far MOS and each metric order the runs alike, both turned so that better is larger."""
    found = []
    for name, metric in metrics.items():
        sign = 1 if metric.higher_is_better else -1
        points = [(-o.mos.mean, sign * line.means[name].mean) for line in lines if (o := line.opinion)]
        points = [point for point in points if all(isfinite(value) for value in point)]
        rho = tau = nan
        if len(points) >= FEWEST and all(len(set(values)) > 1 for values in zip(*points, strict=True)):
            opinion, values = zip(*points, strict=True)
            rho, tau = float(spearmanr(opinion, values).statistic), float(kendalltau(opinion, values).statistic)
        found.append(Agreement(metric.heading, rho, tau, len(points)))
    return found


def agreement_cells(found: Sequence[Agreement]) -> list[list[str]]:
    """Return the agreements as cells, the head first; a dash where there is none."""
    rows = [["MOS with", "Spearman's ρ", "Kendall's τ", "runs"]]
    for one in found:
        numbers = ["–" if isnan(value) else f"{value:+.2f}" for value in (one.spearman, one.kendall)]
        rows.append([one.metric, *numbers, str(one.runs)])
    return rows


def agreement_notes(found: Sequence[Agreement]) -> list[str]:
    """Return what must be known to read the agreements, a sentence each."""
    notes = ["Rank correlations over runs: +1 where people order the runs as the metric does, −1 where the opposite."]
    runs = max((one.runs for one in found), default=0)
    if any(isnan(one.spearman) for one in found):
        notes.append(f"A dash: fewer than {FEWEST} runs have both, or all have the same value.")
    return [*notes, *([WEAK] if runs < FEW else [])]


def opinions_sections(lines: Sequence[Line], metrics: MetricClasses, notes: Sequence[str]) -> list[Section]:
    """Return the same as `opinions_markdown` as a part of the page."""
    if not any(line.opinion for line in lines):
        return []
    found = agreements(lines, metrics)
    table = [[Cell(text) for text in row] for row in agreement_cells(found)]
    return [Section("Opinions and metrics", [table], [], [*agreement_notes(found), *notes])]


def opinions_markdown(lines: Sequence[Line], metrics: MetricClasses, notes: Sequence[str]) -> list[str]:
    """Return how far opinions and metrics agree, and what is missing, as Markdown; nothing where no run was rated."""
    if not any(line.opinion for line in lines):
        return []
    found = agreements(lines, metrics)
    said = [*agreement_notes(found), *notes]
    return ["### Opinions and metrics", aligned(agreement_cells(found)), "\n".join(f"- {shown(note)}" for note in said)]
