"""What networks do with depth and focus, over all images: numbers for section 5.4 and 5.5 of Dutta 2021."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from jaxtyping import Float

from lensblend.comparison.runs import Entry
from lensblend.comparison.scored import Scored
from lensblend.comparison.statistics import METHOD, Interval, mean_interval
from lensblend.comparison.studies.measures import FIFTHS
from lensblend.inference.evaluation import aligned
from lensblend.storage import csv_text

DEPTHS = ("nearest fifth", "second", "third", "fourth", "farthest fifth")
FOCUS = {
    "w0_focus": "W0 in focus",
    "w0_background": "W0 outside",
    "sharpness_focus": "sharpness in focus",
    "sharpness_background": "sharpness of background",
}
SHARPNESS = ("sharpness_focus", "sharpness_background")


@dataclass(frozen=True)
class Analysed:
    """What was measured of one entry.

    Attributes:
        label: Names it.
        entry: The run and phase.
        maps: The captions of its weight maps, sharpest copy first; none for a network without weights.
        values: By measure, one value per image in the images' order; NaN where an image has none.
    """

    label: str
    entry: Entry
    maps: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, " images"]]

    def interval(self, measure: str) -> Interval | None:
        """Return a measure's mean over the images that have it; None where none has."""
        return interval_of(self.values[measure]) if measure in self.values else None

    def by_depth(self) -> Float[np.ndarray, "n 5"]:
        """Return the mean of each weight map over each fifth of the depths, over the images with a disparity."""
        rows = [[self.values[f"w{i}_fifth{j + 1}"] for j in range(FIFTHS)] for i in range(len(self.maps))]
        return np.array([[_mean(values) for values in row] for row in rows]).reshape(len(self.maps), FIFTHS)


def analyse(labels: Sequence[str], entries: Sequence[Entry], scored: Sequence[Scored]) -> list[Analysed]:
    """Gather what scoring has measured, see `lensblend.comparison.studies.measures`."""
    analysed = []
    for label, entry, result in zip(labels, entries, scored, strict=True):
        rows = list(result.measures.values())
        values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        analysed.append(Analysed(label, entry, tuple(result.about["maps"]), values))
    return analysed


def interval_of(values: Float[np.ndarray, " images"]) -> Interval | None:
    """Return the mean and interval over the values that are numbers; None where there are none.

    Example:
        >>> interval_of(np.array([0.5, np.nan, 0.5]))
        Interval(mean=0.5, low=0.5, high=0.5)
    """
    known = values[np.isfinite(values)]
    return mean_interval(known.tolist()) if known.size else None


def target_of(analysed: Sequence[Analysed]) -> dict[str, Interval | None]:
    """Return the target's own sharpness in focus and of the background."""
    return {name: analysed[0].interval(f"target_{name}") for name in SHARPNESS}


def coverage(analysed: Sequence[Analysed]) -> list[str]:
    """Say over how many of the images each kind of measure is a mean, and why others were left out."""
    first = next((one for one in analysed if one.maps), analysed[0])
    total = len(first.values["sharpness_focus"])
    kinds = {
        "w0_fifth1": ("Weights by depth", "their pairs have no disparity, or the same everywhere"),
        "w0_focus": ("W0 in and out of focus", "their pairs have no mask, or one of a single value"),
        "sharpness_focus": ("Sharpness in focus", "no such mask, or nothing well inside it to be sharp"),
        "sharpness_background": ("Sharpness of background", "no such mask, or nothing well outside it to be sharp"),
    }
    lines = []
    for name, (kind, why) in kinds.items():
        if name in first.values:
            count = int(np.isfinite(first.values[name]).sum())
            left_out = f"; {total - count} left out: {why}" if count < total else ""
            lines.append(f"{kind}: {count} of {total} images{left_out}.")
    return lines


def focus_cells(analysed: Sequence[Analysed]) -> list[list[str]]:
    """Return focus and sharpness as cells, the head first: photo, target, then a row per entry."""
    target = target_of(analysed)
    rows = [["", *FOCUS.values()], ["photo", "–", "–", "1", "1"]]
    rows.append(["target", "–", "–", *(written(target[name]) for name in SHARPNESS)])
    return rows + [[one.label, *(written(one.interval(name)) for name in FOCUS)] for one in analysed]


def depth_cells(analysed: Sequence[Analysed]) -> list[list[str]]:
    """Return the mean weights by depth as cells, the head first: a row per entry and weight map."""
    rows = [["", *DEPTHS]]
    for one in analysed:
        for caption, means in zip(one.maps, one.by_depth(), strict=True):
            rows.append([f"{one.label} · {caption}", *("–" if isnan(m) else f"{m:.3f}" for m in means)])
    return rows


def written(interval: Interval | None, signed: bool = False) -> str:
    """Return an interval for a table, with three decimals; a dash for none.

    Example:
        >>> written(Interval(0.5, 0.4, 0.625)), written(None)
        ('0.500 [0.400, 0.625]', '–')
    """
    if interval is None:
        return "–"
    places = "+.3f" if signed else ".3f"
    bounds = "" if isnan(interval.low) else f" [{interval.low:{places}}, {interval.high:{places}}]"
    return f"{interval.mean:{places}}{bounds}"


def analysis_markdown(analysed: Sequence[Analysed], claims: Sequence[Sequence[str]]) -> str:
    """Return the whole analysis as Markdown.

    Args:
        analysed: At least one entry.
        claims: Cells of the paper's claims, the head first.
    """
    sharp = (
        "Sharpness: mean gradient of the luma as a share of the photo's own in the same place, 1 = as sharp as the "
        f"photo; in brackets the {METHOD}. A claim holds, or does not, where the interval of its difference excludes "
        "zero. The intervals speak of other images, not of other seeds."
    )
    parts = ["### Analysis: what the weights do (Dutta 2021, sections 5.4 and 5.5)", aligned(claims)]
    parts += [aligned(focus_cells(analysed)), sharp]
    if any(one.maps for one in analysed):
        parts += ["Mean weights by depth, in fifths of each image's disparity:", aligned(depth_cells(analysed))]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in coverage(analysed))])


def analysis_csv(analysed: Sequence[Analysed]) -> str:
    """Return a row per entry and measure, and two of the target; empty where there is no value or no interval."""
    rows = [["run", "folder", "phase", "measure", "count", "mean", "low", "high"]]
    rows += [["target", "", "", name, *_numbers(analysed[0].values[f"target_{name}"])] for name in SHARPNESS]
    for one in analysed:
        own = [name for name in one.values if not name.startswith("target_")]
        for name in own:
            place = [one.label, str(one.entry.run_dir), one.entry.phase]
            rows.append([*place, name, *_numbers(one.values[name])])
    return csv_text(rows)


def _numbers(values: Float[np.ndarray, " images"]) -> list[str]:
    interval = interval_of(values)
    numbers = [] if interval is None else [interval.mean, interval.low, interval.high]
    count = int(np.isfinite(values).sum())
    return [str(count), *("" if isnan(number) else repr(number) for number in numbers or [np.nan] * 3)]


def _mean(values: Float[np.ndarray, " images"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
