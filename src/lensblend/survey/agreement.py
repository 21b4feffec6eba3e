"""How far raters agree with each other: Krippendorff's α."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from lensblend.survey.answers import LEVELS, Answer

Distance = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def nominal(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances of values that are equal or not."""
    return 1 - np.eye(len(counts))


def ordinal(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances of ordered values: by how many answers lie between, half of the ends' own included."""
    upto = np.cumsum(counts) - counts / 2
    return np.square(upto[:, None] - upto[None, :])


def alpha(table: NDArray[np.int64], distance: Distance) -> float:
    r"""Return Krippendorff's α: 1 where all agree, 0 where answers agree as by chance, below 0 where less than that.

    .. math:: \alpha = 1 - \frac{(n - 1) \sum_{c,k} o_{ck} \delta^2_{ck}}{\sum_{c,k} n_c n_k \delta^2_{ck}}

    ``o`` counts the pairs of answers to one unit, each unit's divided by its answers less one, and ``n`` its sums.
    A unit with one answer has no pair and does not count; which rater gave an answer plays no role.

    Args:
        table: How often each unit, a row, was given each value, a column.
        distance: Of the values, from how often each occurs.

    Returns:
        NaN where there are no pairs, or all answers are equal: then nothing tells agreement from chance.

    Example:
        >>> alpha(np.array([[2, 0], [0, 2], [1, 1]]), nominal)
        0.4444444444444444

    References:
        K. Krippendorff, "Content Analysis: An Introduction to Its Methodology", 3rd edition, 2013, chapter 12.
    """
    units = table[table.sum(axis=1) > 1].astype(np.float64)
    if not len(units):
        return nan
    shares = units / (units.sum(axis=1, keepdims=True) - 1)
    pairs = shares.T @ units - np.diag(shares.sum(axis=0))
    counts = pairs.sum(axis=1)
    squared = distance(counts)
    expected = counts @ squared @ counts
    return float(1 - (counts.sum() - 1) * (pairs * squared).sum() / expected) if expected > 0 else nan


def alpha_of(answers: Sequence[Answer]) -> float:
    """Return the raters' α: ordinal for levels, where a unit is a picture; nominal for the pairs shown of an image."""
    units: dict[tuple[str, ...], list[int]] = {}
    for answer in answers:
        if answer.other is None:
            units.setdefault((answer.image, answer.method), [0] * len(LEVELS))[answer.value] += 1
        else:
            first, second = sorted((answer.method, answer.other))
            chose_first = (answer.method == first) == (answer.value == 1)
            units.setdefault((answer.image, first, second), [0, 0])[chose_first] += 1
    return alpha(np.array(list(units.values())), nominal if answers[0].other is not None else ordinal)
