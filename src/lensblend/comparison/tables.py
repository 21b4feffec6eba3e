"""Tables of runs and metrics for people: as cells and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan

from lensblend.comparison.explanations import TOO_FEW, explained, is_seeded
from lensblend.comparison.lines import Line
from lensblend.comparison.statistics import Interval
from lensblend.inference.evaluation import Scores, aligned, mean_cells
from lensblend.inference.means import means_by_f_number
from lensblend.metrics.per_image import MetricClasses, PerImageMetric

MOS = "MOS ↓"


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
    """Return ``better`` or ``worse`` where a difference's interval excludes zero, ``too few`` images or seeds, or none.

    See `lensblend.comparison.statistics.Difference`.
    """
    if interval.too_few:
        return TOO_FEW
    if not interval.excludes_zero:
        return ""
    return "better" if metric.beats(interval.mean, 0.0) else "worse"


def table_cells(lines: Sequence[Line], metrics: MetricClasses) -> list[list[str]]:
    """Return the comparison as cells, the head first: a row per run, its means, then its differences."""
    titles = [metric.title() for metric in metrics.values()]
    reference = next(line.label for line in lines if line.differences is None)
    several, rated = len(lines) > 1, any(line.opinion for line in lines)
    seeded = is_seeded(lines)
    head = [
        "",
        *(["seeds"] if seeded else []),
        *titles,
        *([MOS] if rated else []),
        *(f"Δ {title}" for title in titles if several),
        "parameters",
    ]
    head += ["seconds"] if _timed(lines) else []
    if several:
        head[0] = f"Δ to {reference}"
    rows = [head]
    for line in lines:
        deltas = [_delta(line, m, metric) for m, metric in metrics.items() if several]
        means = [_with_spread(line.means[m], metric, line.spreads.get(m, nan)) for m, metric in metrics.items()]
        opinion = [line.opinion.written if line.opinion else "–"] if rated else []
        seeds = [str(line.seeds)] if seeded else []
        cost = [f"{line.parameters:,}", *([f"{line.seconds:.3g}"] if _timed(lines) else [])]
        rows.append([line.label, *seeds, *means, *opinion, *deltas, *cost])
    return rows


def _delta(line: Line, name: str, metric: type[PerImageMetric]) -> str:
    if line.differences is None:
        return "–"
    interval = line.differences[name]
    mark = {"better": " ✓", "worse": " ✗", TOO_FEW: f" ({TOO_FEW})", "": ""}[verdict(interval, metric)]
    return _with_spread(interval, metric, interval.spread, signed=True) + mark


def _with_spread(interval: Interval, metric: type[PerImageMetric], apart: float, signed: bool = False) -> str:
    """Return an interval for a table, with the standard deviation over seeds behind the mean where there is one."""
    text = written(interval, metric, signed)
    if isnan(apart):
        return text
    mean, bracket, bounds = text.partition(" [")
    return f"{mean} ± {apart:.{metric.decimals}f}{bracket}{bounds}"


def _timed(lines: Sequence[Line]) -> bool:
    return not any(isnan(line.seconds) for line in lines)


def marks(lines: Sequence[Line], metrics: MetricClasses) -> list[list[str]]:
    """Return, for each cell of `table_cells`, whether it is the best of its column, better, worse, or nothing."""
    several = len(lines) > 1
    best = {m: _best([line.means[m].mean for line in lines], metric) for m, metric in metrics.items()}
    opinions, cost = [line.opinion.mos.mean for line in lines if line.opinion], ["", *([""] if _timed(lines) else [])]
    rows = [[""] * len(table_cells(lines, metrics)[0])]
    for line in lines:
        means = ["best" if several and line.means[m].mean == best[m] else "" for m in metrics]
        paired = line.differences or {}
        deltas = [_mark(paired[m], metric) if paired else "" for m, metric in metrics.items() if several]
        liked = line.opinion is not None and several and line.opinion.mos.mean == min(opinions)
        opinion = ["best" if liked else ""] if opinions else []
        rows.append(["", *([""] if is_seeded(lines) else []), *means, *opinion, *deltas, *cost])
    return rows


def _mark(interval: Interval, metric: type[PerImageMetric]) -> str:
    found = verdict(interval, metric)
    return "" if found == TOO_FEW else found


def _best(means: Sequence[float], metric: type[PerImageMetric]) -> float:
    known = [mean for mean in means if not isnan(mean)]
    return (max if metric.higher_is_better else min)(known, default=nan)


def markdown(lines: Sequence[Line], metrics: MetricClasses, count: int) -> str:
    """Return the comparison as a Markdown table with its explanation."""
    return f"{aligned(table_cells(lines, metrics))}\n\n{explained(lines, count, metrics)}"


def f_number_table(
    named: Mapping[str, Mapping[str, Scores]], f_numbers: Mapping[str, float], metrics: MetricClasses
) -> list[str]:
    """Return the means at each f-number as one Markdown table, a row per run; nothing where all images have one."""
    rows: dict[str, Scores] = {}
    for label, scores in named.items():
        known = {name: number for name, number in f_numbers.items() if name in scores}
        rows |= {f"{label}, {group}": row for group, row in means_by_f_number(metrics, scores, known).items()}
    return [aligned(mean_cells(metrics, rows))] if rows else []
