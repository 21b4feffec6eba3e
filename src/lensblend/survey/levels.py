"""Mean opinion scores: a mean over raters for each image, then over images for each method (AIM 2019, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lensblend.survey.answers import LEVELS, Answer
from lensblend.survey.resampling import (
    Coded,
    Difference,
    Estimate,
    Resampling,
    coded,
    differences,
    estimate,
    not_told_from,
    ranks,
    resampled,
)


@dataclass(frozen=True)
class Opinion:
    """What raters think of a method.

    Attributes:
        method: Its name.
        mos: Mean opinion score, 0 to 4, smaller is better.
        rank: By the score; equal scores share a place, and the next ones are left free.
        raters: How many rated it.
        images: How many of its images were rated.
        answers: How many answers the score is made of.
        histogram: How often each level was given.
        not_told_from: Methods whose difference to this one has an interval that includes zero.
    """

    method: str
    mos: Estimate
    rank: int
    raters: int
    images: int
    answers: int
    histogram: tuple[int, ...]
    not_told_from: tuple[str, ...]


@dataclass(frozen=True)
class Opinions:
    """A study of levels, scored.

    Attributes:
        methods: The best first; equal ones by name.
        differences: Of every two.
        images: How many images the study has.
    """

    methods: list[Opinion]
    differences: list[Difference]
    images: int


def score_levels(answers: Sequence[Answer], how: Resampling) -> Opinions:
    """Score the methods of a study of levels.

    The mean over raters is taken image by image, and these means count alike, however many raters each image had:
    the mean of all answers at once is another number where the counts differ.

    Args:
        answers: Those that count; see `lensblend.survey.exclusions.counted`.
        how: How intervals are drawn.

    Raises:
        DataError: Answers are no levels, or given twice.

    Example:
        >>> told = {"0001": [0, 0, 3], "0002": [4]}
        >>> answers = [Answer(f"r{r}", i, "a", None, v, None, 2.0) for i, vs in told.items() for r, v in enumerate(vs)]
        >>> score_levels(answers, Resampling(99)).methods[0].mos.value
        2.5
    """
    table = coded(answers)
    everyone, everything = np.ones(len(table.raters)), np.ones(len(table.images))
    values = _scores(table, everyone, everything)
    drawn = resampled(table, how, lambda raters, images: _scores(table, raters, images))
    found = differences(values, drawn, table)
    places = ranks(values.tolist(), larger_is_better=False)
    opinions = []
    for index, method in enumerate(table.methods):
        own = table.method == index
        histogram = np.bincount(table.value[own], minlength=len(LEVELS))
        opinions.append(
            Opinion(
                method,
                estimate(float(values[index]), drawn[:, index], table),
                places[index],
                len(set(table.rater[own].tolist())),
                len(set(table.image[own].tolist())),
                int(own.sum()),
                tuple(histogram.tolist()),
                not_told_from(found, method),
            )
        )
    opinions.sort(key=lambda one: (one.rank, one.method))
    order = [one.method for one in opinions]
    opinions = [replace(one, not_told_from=tuple(sorted(one.not_told_from, key=order.index))) for one in opinions]
    return Opinions(opinions, found, len(table.images))


def _scores(table: Coded, raters: NDArray[np.float64], images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each method's score with raters and images counted so many times; NaN where nothing is left of it."""
    shape = len(table.images), len(table.methods)
    cell = table.image * shape[1] + table.method
    weight = raters[table.rater]
    count = np.bincount(cell, weight, shape[0] * shape[1]).reshape(shape)
    total = np.bincount(cell, weight * table.value, shape[0] * shape[1]).reshape(shape)
    means = np.divide(total, count, out=np.zeros(shape), where=count > 0)
    weights = images[:, None] * (count > 0)
    with np.errstate(invalid="ignore"):
        return (weights * means).sum(axis=0) / weights.sum(axis=0)
