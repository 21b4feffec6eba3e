"""Rows of a comparison: runs that differ in their seed alone are one, and count with their mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lensblend.comparison.labels import differences, label_entries, short_value
from lensblend.comparison.lines import BETWEEN, Line
from lensblend.comparison.runs import Entry
from lensblend.comparison.scored import Scored
from lensblend.comparison.statistics import Difference, Interval, difference_of_rows, mean_interval, spread
from lensblend.inference.evaluation import Scores
from lensblend.metrics.per_image import MetricClasses
from lensblend.runs.configuration import flat, is_free

# Keys in which runs of one row may differ: copies of the same experiment, under another name.
SEEDS = ("seed", "name")


@dataclass(frozen=True)
class Row:
    """Entries that are one row.

    Attributes:
        label: Names it.
        members: Their places among all entries.
    """

    label: str
    members: tuple[int, ...]


def rows_of(entries: Sequence[Entry], labels: Sequence[str], each_seed: bool = False) -> list[Row]:
    """Group entries of the same phase whose configurations differ in their seed only, in the order of the first.

    Args:
        entries: All that is compared.
        labels: Their own labels, which they keep where no two differ in their seed only.
        each_seed: Leave each entry a row of its own.
    """
    groups: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        groups.setdefault(str(index) if each_seed else f"{entry.phase} {learned(entry)}", []).append(index)
    members = [tuple(group) for group in groups.values()]
    if len(members) == len(entries):
        return [Row(label, (index,)) for index, label in enumerate(labels)]
    if len(members) == 1:
        return [Row(_shared_folder([entry.run_dir for entry in entries]), members[0])]
    first = [entries[group[0]] for group in members]
    seedless = [replace(entry, config=without_seeds(entry.config)) for entry in first]
    return [Row(label, group) for label, group in zip(label_entries(seedless), members, strict=True)]


def without_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what runs of one row may differ in."""
    return {key: value for key, value in config.items() if key not in SEEDS}


def _shared_folder(folders: Sequence[Path]) -> str:
    """Return the name of the nearest folder that holds all, or the first one's own."""
    parents = [folder.resolve().parents for folder in folders]
    return next((path.name for path in parents[0] if all(path in own for own in parents)), "") or folders[0].name


def configuration_cells(entries: Sequence[Entry], rows: Sequence[Row]) -> list[list[str]]:
    """Return in what rows differ as cells, the head first: a line per key of the configuration; none of one row.

    Keys that say where or how fast are left out, and so are copies of others; seeds, where a row has several.
    """
    configs = [entries[row.members[0]].config for row in rows]
    seeded = any(len(row.members) > 1 for row in rows)
    varying = differences([without_seeds(config) for config in configs] if seeded else configs)
    lines = [[key, *(short_value(value) for value in values)] for key, values in varying.items()]
    return [["", *(row.label for row in rows)], *lines] if lines else []


def learned(entry: Entry, but: Sequence[str] = ()) -> str:
    """Return a run's configuration as one text: what decides the result, without the seed and the keys ``but``."""
    config = {k: v for k, v in flat(entry.config).items() if not is_free(k) and k not in (*SEEDS, *but)}
    return json.dumps(config, sort_keys=True, default=str)


@dataclass(frozen=True)
class Compared:
    """What is computed of a row, see `Line`."""

    means: dict[str, Interval]
    differences: dict[str, Difference] | None
    seeds: int
    spreads: dict[str, float]


def compare_scores(
    rows: Mapping[str, Sequence[Mapping[str, Scores]]], reference: int, metrics: MetricClasses
) -> dict[str, Compared]:
    """Return each row's means and its paired differences to the reference, with intervals.

    Images that have no score by a metric that they may lack are left out of its means and differences.

    Args:
        rows: By label, the scores of its runs by image and metric; all runs have the same images and metrics.
        reference: Index of the row that the others are compared with.
        metrics: The classes of the metrics, by name.
    """
    images = list(next(iter(rows.values()))[0])
    against = list(rows.values())[reference]
    compared: dict[str, Compared] = {
        label: Compared({}, None if index == reference else {}, len(runs), {})
        for index, (label, runs) in enumerate(rows.items())
    }
    for name, metric in metrics.items():
        known = [image for image in images if not (metric.may_lack and _lacks(rows, image, name))]
        theirs = [[scores[image][name] for image in known] for scores in against]
        for label, runs in rows.items():
            found, ours = compared[label], [[scores[image][name] for image in known] for scores in runs]
            found.means[name] = mean_interval(np.mean(ours, axis=0).tolist())
            found.spreads[name] = spread([metric.mean_of(values) for values in ours])
            if found.differences is not None:
                found.differences[name] = difference_of_rows(ours, theirs)
    return compared


def _lacks(rows: Mapping[str, Sequence[Mapping[str, Scores]]], image: str, metric: str) -> bool:
    return any(isnan(scores[image][metric]) for runs in rows.values() for scores in runs)


def mean_scores(runs: Sequence[Mapping[str, Scores]]) -> dict[str, Scores]:
    """Return the mean over runs of each image's scores."""
    return {
        image: {m: float(np.mean([scores[image][m] for scores in runs])) for m in row} for image, row in runs[0].items()
    }


def lines_of(
    rows: Sequence[Row], entries: Sequence[Entry], scored: Sequence[Scored], reference: Entry, metrics: MetricClasses
) -> list[Line]:
    """Return the lines of rows, compared with the one that the reference is in."""
    place = next(i for i, row in enumerate(rows) if any(entries[member] is reference for member in row.members))
    compared = compare_scores({r.label: [scored[i].scores for i in r.members] for r in rows}, place, metrics)
    alike = len({one.about["hardware"] for one in scored}) == 1
    lines = []
    for row in rows:
        first, found = row.members[0], compared[row.label]
        folders = BETWEEN.join(str(entries[member].run_dir) for member in row.members)
        about = entries[first].phase, scored[first].about["parameters"]
        seconds = fmean(scored[member].about["seconds"] for member in row.members) if alike else nan
        over_seeds = found.seeds, found.spreads
        lines.append(Line(row.label, folders, *about, found.means, found.differences, None, *over_seeds, seconds))
    return lines
