"""Tables of runs and metrics for programs: CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import Any

from lensblend.comparison.lines import Line
from lensblend.comparison.statistics import Interval
from lensblend.comparison.tables import verdict
from lensblend.inference.evaluation import Scores
from lensblend.metrics.per_image import MetricClasses
from lensblend.storage import csv_text


def comparison_csv(lines: Sequence[Line], metrics: MetricClasses) -> str:
    """Return a row per row of the table and metric; empty where there is no interval or nothing to compare with."""
    reference = next(line.label for line in lines if line.differences is None)
    columns = ["run", "folder", "phase", "parameters", "metric", "count", "mean", "low", "high"]
    columns += ["against", "difference", "difference_low", "difference_high"]
    rows: list[list[Any]] = [[*columns, "seeds", "sd", "difference_sd", "verdict"]]
    for line in lines:
        for metric, mean in line.means.items():
            own = [line.label, line.folder, line.phase, line.parameters, metric, mean.count, *_numbers(mean)]
            over_seeds = [line.seeds, _number(line.spreads.get(metric, nan))]
            if line.differences:
                paired = line.differences[metric]
                said = [_number(paired.spread), verdict(paired, metrics[metric])]
                rows.append([*own, reference, *_numbers(paired), *over_seeds, *said])
            else:
                rows.append([*own, *[""] * 4, *over_seeds, "", ""])
        if line.opinion:
            own = [line.label, line.folder, line.phase, line.parameters, "mos", line.opinion.images]
            rows.append([*own, *_numbers(line.opinion.mos), *[""] * 4, line.seeds, *[""] * 3])
    return csv_text(rows)


def scores_csv(named: Mapping[str, Mapping[str, Scores]], metrics: MetricClasses) -> str:
    """Return a row per run and image, a column per metric; empty where an image has no score that it may lack."""
    rows: list[list[Any]] = [["run", "id", *metrics]]
    for label, scores in named.items():
        rows += [[label, n, *(kind.in_file(row[m]) for m, kind in metrics.items())] for n, row in scores.items()]
    return csv_text(rows)


def _numbers(interval: Interval) -> list[str]:
    return [_number(value) for value in (interval.mean, interval.low, interval.high)]


def _number(value: float) -> str:
    return "" if isnan(value) else repr(value)
