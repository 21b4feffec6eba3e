"""Tables of runs and metrics: for people as Markdown, for programs as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from lensblend.comparison.statistics import METHOD, Interval, difference_interval, mean_interval
from lensblend.inference.evaluation import Scores, aligned, mean_cells, means_by_f_number
from lensblend.metrics.per_image import MetricClasses, PerImageMetric
from lensblend.storage import csv_text

MOS = "MOS ↓"
RATED = "MOS: mean opinion score of people, 0 (almost identical) to 4 (mostly different), as the study gives it."


@dataclass(frozen=True)
class Opinion:
    """What people think of a run.

    Attributes:
        mos: Mean opinion score, 0 to 4, smaller is better, with its interval.
        images: Over how many images.
    """

    mos: Interval
    images: int

    @property
    def written(self) -> str:
        """The score as tables print it, with its interval where there is one."""
        mean, low, high = (f"{value:.2f}" for value in (self.mos.mean, self.mos.low, self.mos.high))
        return mean if isnan(self.mos.low) else f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Line:
    """One row of the comparison.

    Attributes:
        label: Names the run.
        folder: The run's.
        phase: Which of its phases.
        parameters: Of its network.
        means: By metric.
        differences: By metric, to the run that all are compared with; None for that run itself.
        opinion: What people think of it, where they were asked.
    """

    label: str
    folder: str
    phase: str
    parameters: int
    means: dict[str, Interval]
    differences: dict[str, Interval] | None
    opinion: Opinion | None = None


def compare_scores(
    named: Mapping[str, Mapping[str, Scores]], reference: int
) -> dict[str, tuple[dict[str, Interval], dict[str, Interval] | None]]:
    """Return each run's means and its paired differences to the reference, with intervals.

    Args:
        named: Scores by run, image and metric; all runs have the same images and metrics.
        reference: Index of the run that the others are compared with.
    """
    against = list(named.values())[reference]
    metrics = list(next(iter(against.values())))
    compared = {}
    for index, (label, scores) in enumerate(named.items()):
        ours = {m: [scores[name][m] for name in against] for m in metrics}
        means = {m: mean_interval(ours[m]) for m in metrics}
        theirs = {m: [row[m] for row in against.values()] for m in metrics}
        paired = {m: difference_interval(ours[m], theirs[m]) for m in metrics}
        compared[label] = (means, None if index == reference else paired)
    return compared


def written(interval: Interval, metric: type[PerImageMetric], signed: bool = False) -> str:
    """Return an interval for a table: the mean, then its bounds; without bounds where there are none.

    Example:
        >>> from lensblend.metrics.fidelity import Psnr
        >>> written(Interval(26.194, 25.1, 27.3), Psnr)
        '26.19 [25.10, 27.30]'
    """
    mean, low, high = (metric.written(value, signed) for value in (interval.mean, interval.low, interval.high))
    return mean if isnan(interval.low) else f"{mean} [{low}, {high}]"


def verdict(interval: Interval, metric: type[PerImageMetric]) -> str:
    """Return ``better`` or ``worse`` where a difference's interval excludes zero, else nothing."""
    if not interval.excludes_zero:
        return ""
    return "better" if metric.beats(interval.mean, 0.0) else "worse"


def table_cells(lines: Sequence[Line], metrics: MetricClasses) -> list[list[str]]:
    """Return the comparison as cells, the head first: a row per run, its means, then its differences."""
    titles = [metric.title() for metric in metrics.values()]
    reference = next(line.label for line in lines if line.differences is None)
    several, rated = len(lines) > 1, any(line.opinion for line in lines)
    head = ["", *titles, *([MOS] if rated else []), *(f"Δ {title}" for title in titles if several), "parameters"]
    if several:
        head[0] = f"Δ to {reference}"
    rows = [head]
    for line in lines:
        deltas = [_delta(line, m, metric) for m, metric in metrics.items() if several]
        means = [written(line.means[m], metric) for m, metric in metrics.items()]
        opinion = [line.opinion.written if line.opinion else "–"] if rated else []
        rows.append([line.label, *means, *opinion, *deltas, f"{line.parameters:,}"])
    return rows


def _delta(line: Line, name: str, metric: type[PerImageMetric]) -> str:
    if line.differences is None:
        return "–"
    interval = line.differences[name]
    mark = {"better": " ✓", "worse": " ✗", "": ""}[verdict(interval, metric)]
    return written(interval, metric, signed=True) + mark


def marks(lines: Sequence[Line], metrics: MetricClasses) -> list[list[str]]:
    """Return, for each cell of `table_cells`, whether it is the best of its column, better, worse, or nothing."""
    several = len(lines) > 1
    best = {m: _best([line.means[m].mean for line in lines], metric) for m, metric in metrics.items()}
    opinions = [line.opinion.mos.mean for line in lines if line.opinion]
    rows = [[""] * len(table_cells(lines, metrics)[0])]
    for line in lines:
        means = ["best" if several and line.means[m].mean == best[m] else "" for m in metrics]
        paired = line.differences or {}
        deltas = [verdict(paired[m], metric) if paired else "" for m, metric in metrics.items() if several]
        liked = line.opinion is not None and several and line.opinion.mos.mean == min(opinions)
        opinion = ["best" if liked else ""] if opinions else []
        rows.append(["", *means, *opinion, *deltas, ""])
    return rows


def _best(means: Sequence[float], metric: type[PerImageMetric]) -> float:
    known = [mean for mean in means if not isnan(mean)]
    return (max if metric.higher_is_better else min)(known, default=nan)


def explanation(count: int, several: bool) -> str:
    """Return the sentence below the table that says what its brackets and marks are."""
    if count == 1:
        return "One image: there are no intervals."
    text = f"Means over {count} images; in brackets the {METHOD}."
    if several:
        text += " Δ: mean of the paired differences; ✓ better, ✗ worse: its interval excludes zero."
    return text


def explained(lines: Sequence[Line], count: int) -> str:
    """Return all that must be known to read the table."""
    rated = f" {RATED}" if any(line.opinion for line in lines) else ""
    return f"{explanation(count, len(lines) > 1)}{rated}"


def markdown(lines: Sequence[Line], metrics: MetricClasses, count: int) -> str:
    """Return the comparison as a Markdown table with its explanation."""
    return f"{aligned(table_cells(lines, metrics))}\n\n{explained(lines, count)}"


def f_number_table(
    named: Mapping[str, Mapping[str, Scores]], f_numbers: Mapping[str, float], metrics: MetricClasses
) -> list[str]:
    """Return the means at each f-number as one Markdown table, a row per run; nothing where all images have one."""
    rows: dict[str, Scores] = {}
    for label, scores in named.items():
        known = {name: number for name, number in f_numbers.items() if name in scores}
        rows |= {f"{label}, {group}": row for group, row in means_by_f_number(scores, known).items()}
    return [aligned(mean_cells(metrics, rows))] if rows else []


def comparison_csv(lines: Sequence[Line], count: int) -> str:
    """Return a row per run and metric; empty where there is no interval or nothing to compare with."""
    reference = next(line.label for line in lines if line.differences is None)
    columns = ["run", "folder", "phase", "parameters", "metric", "count", "mean", "low", "high"]
    rows: list[list[Any]] = [[*columns, "against", "difference", "difference_low", "difference_high"]]
    for line in lines:
        for metric, mean in line.means.items():
            own = [line.label, line.folder, line.phase, line.parameters, metric, count, *_numbers(mean)]
            paired = [reference, *_numbers(line.differences[metric])] if line.differences else [""] * 4
            rows.append([*own, *paired])
        if line.opinion:
            own = [line.label, line.folder, line.phase, line.parameters, "mos", line.opinion.images]
            rows.append([*own, *_numbers(line.opinion.mos), *[""] * 4])
    return csv_text(rows)


def scores_csv(named: Mapping[str, Mapping[str, Scores]]) -> str:
    """Return a row per run and image, a column per metric."""
    metrics = list(next(iter(next(iter(named.values())).values())))
    rows: list[list[Any]] = [["run", "id", *metrics]]
    for label, scores in named.items():
        rows += [[label, name, *(repr(row[m]) for m in metrics)] for name, row in scores.items()]
    return csv_text(rows)


def _numbers(interval: Interval) -> list[str]:
    return ["" if isnan(value) else repr(value) for value in (interval.mean, interval.low, interval.high)]
