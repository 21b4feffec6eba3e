"""Learning curves of compared runs: each validation score over the epochs, as drawings that need no script."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10
from pathlib import Path

from markupsafe import Markup

from lensblend.comparison.gallery import Cell, Drawing, Section
from lensblend.comparison.rows import Row
from lensblend.comparison.runs import Entry
from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, LensblendError
from lensblend.metrics.per_image import MetricClasses, PerImageMetric
from lensblend.runs.building import metric_classes

# Okabe and Ito's colours, lightened for a dark page: people with any colour vision tell them apart.
COLOURS = ("#56b4e9", "#e69f00", "#2fc49a", "#f0e442", "#d98cb3", "#f2784b", "#b9b9b9", "#9b8cff")
DASHES = ("none", "7 4", "2 4", "10 3 2 3")
_SCORE = "val/"
_LARGEST = 2**30  # bytes
WIDTH, HEIGHT = 520.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 12.0, 34.0


@dataclass(frozen=True)
class Curve:
    """A score of one run over its training.

    Attributes:
        points: Epochs since the first phase began, and the score then.
        phases: Name of each phase, and the epochs before it.
    """

    points: tuple[tuple[int, float], ...]
    phases: tuple[tuple[str, int], ...]


def read_curves(run_dir: Path) -> dict[str, Curve]:
    """Return a run's validation scores by their names, without ``val/``; none where it kept no metrics.csv.

    Raises:
        DataError: The file is damaged.
    """
    file = run_dir / "metrics.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(file, limit=_LARGEST), newline=""), strict=True))
    except FileNotFoundError:
        return {}
    except csv.Error as error:
        raise DataError(f"{file} is damaged ({error}).") from None
    try:
        return _curves(rows)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{file} is damaged: it holds rows that no training writes.") from None


def _curves(rows: Sequence[Mapping[str, str]]) -> dict[str, Curve]:
    lengths: dict[str, int] = {}
    for row in rows:
        epochs = int(row["epoch"]) + 1 if row["epoch"] else 0
        lengths[row["phase"]] = max(lengths.get(row["phase"], 0), epochs)
    before, total = {}, 0
    for phase, epochs in lengths.items():
        before[phase] = total
        total += epochs
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key.startswith(_SCORE) and value and row["epoch"]:
                place = before[row["phase"]] + int(row["epoch"]) + 1
                points.setdefault(key.removeprefix(_SCORE), []).append((place, float(value)))
    return {name: Curve(tuple(found), tuple(before.items())) for name, found in points.items()}


def curves_sections(
    entries: Sequence[Entry], labels: Sequence[str], rows: Sequence[Row], metrics: MetricClasses
) -> list[Section]:
    """Return the runs' learning curves as a part of the page: a drawing per score, and its numbers as a table.

    Phases of one run share their curves. Runs of one row have one colour, and each its own dashes.

    Args:
        entries: What is compared.
        labels: Their names.
        rows: Which of them are one row.
        metrics: The classes of what they are compared by: their headings and directions.
    """
    found: dict[str, dict[str, Curve]] = {}
    looks: dict[str, tuple[str, str]] = {}
    notes = []
    for label, (run_dir, look) in _runs(entries, labels, rows).items():
        looks[label] = look
        try:
            found[label] = read_curves(run_dir)
        except DataError as error:
            found[label] = {}
            notes.append(str(error))
    metrics = {**metrics, **{name: kind for name, kind in _classes(entries).items() if name not in metrics}}
    without = [label for label, curves in found.items() if not curves]
    if len(without) == len(found):
        return []
    if without:
        notes.append(f"Without a metrics.csv that holds scores: {', '.join(without)}.")
    names = list(dict.fromkeys(name for curves in found.values() for name in curves))
    ordered = [*(name for name in metrics if name in names), *(name for name in names if name not in metrics)]
    drawings, table = [], [[Cell(text) for text in ("", "score", "best", "at epoch", "last", "epochs")]]
    for name in ordered:
        own = {label: curves[name] for label, curves in found.items() if name in curves}
        metric = metrics.get(name)
        drawings.append(_drawing(metric.title() if metric else name, own, looks))
        for label, curve in own.items():
            table.append([Cell(label), Cell(metric.heading if metric else name), *_numbers(curve, metric)])
    said = "Scores of validation while the runs were trained, at the size of their phase; they compare within a phase."
    return [Section("Learning curves", [], [], [said, *notes], drawings, [table])]


def _runs(
    entries: Sequence[Entry], labels: Sequence[str], rows: Sequence[Row]
) -> dict[str, tuple[Path, tuple[str, str]]]:
    """Return each run's folder, and the colour and dashes of its lines, by its name: a run with phases is one."""
    phases = {entry.run_dir: sum(other.run_dir == entry.run_dir for other in entries) for entry in entries}
    found: dict[Path, tuple[str, tuple[str, str]]] = {}
    for number, row in enumerate(rows):
        for place, member in enumerate(row.members):
            entry, label = entries[member], labels[member]
            if phases[entry.run_dir] > 1:
                label = label.rpartition(" · ")[0] or entry.run_dir.name
            order, turn = len(found) if len(row.members) == 1 else number, place + number // len(COLOURS)
            found.setdefault(entry.run_dir, (label, (COLOURS[order % len(COLOURS)], DASHES[turn % len(DASHES)])))
    return {label: (run_dir, look) for run_dir, (label, look) in found.items()}


def _classes(entries: Sequence[Entry]) -> dict[str, type[PerImageMetric]]:
    """Return the classes of what the runs were scored by while they were trained, of those that are known here."""
    found: dict[str, type[PerImageMetric]] = {}
    for entry in entries:
        with contextlib.suppress(LensblendError):
            found |= metric_classes(entry.config.get("metrics") or {})
    return found


def _numbers(curve: Curve, metric: type[PerImageMetric] | None) -> list[Cell]:
    last_place, last = curve.points[-1]
    finite = [(value, place) for place, value in curve.points if isfinite(value)]
    cells = ["–", "–"]
    if finite and metric:
        best, place = (max if metric.higher_is_better else min)(finite, key=lambda one: one[0])
        cells = [f"{best:.4g}", str(place)]
    return [Cell(text) for text in (*cells, f"{last:.4g}", str(last_place))]


def _drawing(title: str, curves: Mapping[str, Curve], looks: Mapping[str, tuple[str, str]]) -> Drawing:
    """Draw a score over the epochs, a line per run."""
    finite = {label: [p for p in curve.points if isfinite(p[1])] for label, curve in curves.items()}
    values = [value for points in finite.values() for _, value in points] or [0.0]
    last = max(place for curve in curves.values() for place, _ in curve.points)
    ticks = _ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)

    def across(place: float | int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((place - 1) / (last - 1) if last > 1 else 1.0)

    def down(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = [_rule(_LEFT, down(tick), WIDTH - _RIGHT, down(tick), "grid") for tick in ticks]
    parts += [_text(_LEFT - 6, down(tick) + 4, f"{tick:g}", "end") for tick in ticks]
    places = sorted({max(1, round(last * share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)})
    parts += [_text(across(place), HEIGHT - _BOTTOM + 17, str(place), "middle") for place in places]
    parts.append(_text((WIDTH + _LEFT - _RIGHT) / 2, HEIGHT - 2, "epoch", "middle"))
    phases = {curve.phases for curve in curves.values()}
    if len(phases) == 1:
        starts = [before + 0.5 for _, before in next(iter(phases)) if 0 < before < last]
        parts += [_rule(across(place), _TOP, across(place), HEIGHT - _BOTTOM, "phase") for place in starts]
    for label, points in finite.items():
        parts.append(_line(label, [(across(p), down(v)) for p, v in points], *looks[label]))
    svg = Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, _spoken(title, finite), Markup("").join(parts)
    )
    return Drawing(title, svg, [(label, _swatch(*looks[label])) for label in curves])


def _spoken(title: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Return what a screen reader says of a drawing."""
    ends = [f"{label} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for label, points in curves.items() if points]
    return f"{title.rstrip(' ↑↓')} over epochs: {'; '.join(ends)}."


def _line(label: str, points: Sequence[tuple[float, float]], colour: str, dash: str) -> Markup:
    """Draw a run's line; a single point is a dot."""
    if not points:
        return Markup("")
    look = Markup('fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"').format(colour, dash)
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    dot = Markup('<circle cx="{}" cy="{}" r="3" fill="{}"/>').format(f"{x:.1f}", f"{y:.1f}", colour)
    return Markup('<g><title>{}</title><polyline points="{}" {}/>{}</g>').format(label, places, look, dot)


def _swatch(colour: str, dash: str) -> Markup:
    return Markup(
        '<svg viewBox="0 0 28 8" width="28" height="8" aria-hidden="true"><line x1="0" y1="4" x2="28" y2="4" '
        'stroke="{}" stroke-width="2" stroke-dasharray="{}"/></svg>'
    ).format(colour, dash)


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    ends = (f"{value:.1f}" for value in (x1, y1, x2, y2))
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *ends)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(f"{x:.1f}", f"{y:.1f}", anchor, text)


def _ticks(low: float, high: float) -> list[float]:
    """Return about four round values that span a range.

    Example:
        >>> _ticks(22.3, 24.1)
        [22.0, 22.5, 23.0, 23.5, 24.0, 24.5]
    """
    span = high - low or abs(high) or 1.0
    size = 10.0 ** floor(log10(span / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= 4)
    first, last = floor(low / step), -floor(-high / step)
    return [float(f"{step * number:.10g}") for number in range(first, max(last, first + 1) + 1)]
