"""Means of images' scores: over all of them, and at each f-number."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lensblend.inference.evaluation import Scores
    from lensblend.metrics.per_image import MetricClasses

STOPS = (0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 11, 16, 22, 32, 45, 64)  # as lenses say them
_MOST_ROWS = 12


def means(metrics: MetricClasses, scores: Mapping[str, Scores]) -> Scores:
    """Return the mean of each score over the images; images without a score, where a metric may lack it, are left out.

    Args:
        metrics: The classes of what was scored, by name.
        scores: By image, then by metric.
    """
    return {name: metric.mean_of([row[name] for row in scores.values()]) for name, metric in metrics.items()}


def lacking(metrics: MetricClasses, scores: Mapping[str, Scores]) -> dict[str, int]:
    """Return how many images have no score, by metric; metrics that every image has are not there."""
    counts = {
        name: sum(isnan(row[name]) for row in scores.values()) for name, metric in metrics.items() if metric.may_lack
    }
    return {name: count for name, count in counts.items() if count}


def lacking_lines(metrics: MetricClasses, scores: Mapping[str, Scores]) -> list[str]:
    """Say over how many images means are that not all images have.

    Example:
        >>> from lensblend.metrics.focus import PsnrIn
        >>> lacking_lines({"psnr_in": PsnrIn}, {"a": {"psnr_in": 30.0}, "b": {"psnr_in": float("nan")}})
        ['PSNR in focus: over 1 of 2 images; in the others the region is too small.']
    """
    total = len(scores)
    return [
        f"{metrics[name].heading}: over {total - count} of {total} images; in the others the region is too small."
        for name, count in lacking(metrics, scores).items()
    ]


def by_f_number(f_numbers: Mapping[str, float]) -> dict[str, list[str]]:
    """Return ids by the f-number of their pairs, in order; where there are more than twelve, by the nearest whole stop.

    Example:
        >>> by_f_number({"a": 4.0, "b": 2.0, "c": 4.0})
        {'f/2': ['b'], 'f/4': ['a', 'c']}
        >>> list(by_f_number({str(i): 2 + i / 5 for i in range(13)}))
        ['f/2', 'f/2.8', 'f/4']
    """
    rounded = {name: float(f"{number:.3g}") for name, number in f_numbers.items()}
    if len(set(rounded.values())) > _MOST_ROWS:
        rounded = {name: min(STOPS, key=lambda stop: abs(log2(stop / n))) for name, n in rounded.items()}
    groups: dict[str, list[str]] = {f"f/{number:g}": [] for number in sorted(set(rounded.values()))}
    for name, number in rounded.items():
        groups[f"f/{number:g}"].append(name)
    return groups


def means_by_f_number(
    metrics: MetricClasses, scores: Mapping[str, Scores], f_numbers: Mapping[str, float]
) -> dict[str, Scores]:
    """Return the means of each group of `by_f_number`; nothing where there is only one."""
    groups = by_f_number(f_numbers)
    return {
        group: means(metrics, {name: scores[name] for name in ids}) for group, ids in groups.items() if len(groups) > 1
    }
