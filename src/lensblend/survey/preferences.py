"""Strengths from pairs: the Bradley–Terry model, and how often each method was preferred to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from lensblend.survey.answers import Answer
from lensblend.survey.resampling import (
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

PRIOR = 0.5
REGULARISED = (
    f"each method is also given {PRIOR:g} preferences over the others, shared evenly among them, and as many below, so "
    "that one that was always or never preferred has a finite strength"
)
_TOLERANCE = 1e-8
_MOST_STEPS = 20_000


@dataclass(frozen=True)
class Preferred:
    """How strong a method is.

    Attributes:
        method: Its name.
        strength: Natural logarithm of the Bradley–Terry strength; all methods' have the mean 0, larger is better.
        rank: By the strength, as in `lensblend.survey.levels.Opinion`; so are the next three.
        raters: How many saw it.
        images: Of how many images.
        answers: In how many answers.
        wins: In how many of them it was preferred.
        not_told_from: As in `lensblend.survey.levels.Opinion`.
    """

    method: str
    strength: Estimate
    rank: int
    raters: int
    images: int
    answers: int
    wins: int
    not_told_from: tuple[str, ...]


@dataclass(frozen=True)
class Preferences:
    """A study of pairs, scored.

    Attributes:
        methods: The strongest first; equal ones by name.
        differences: Of every two.
        wins: ``[a, b]``: how often a was preferred to b, in the order of ``methods``.
        groups: Into how many groups the methods fall that were never compared with each other, directly or by others.
    """

    methods: list[Preferred]
    differences: list[Difference]
    wins: NDArray[np.int64]
    groups: int


def score_pairs(answers: Sequence[Answer], how: Resampling) -> Preferences:
    """Score the methods of a study of pairs.

    Args:
        answers: Those that count; see `lensblend.survey.exclusions.counted`.
        how: How intervals are drawn.

    Raises:
        DataError: Answers are no preferences, or given twice.
    """
    table = coded(answers)
    count = len(table.methods)
    winner = np.where(table.value == 1, table.method, table.other)
    loser = np.where(table.value == 1, table.other, table.method)
    cell = winner * count + loser
    wins = np.bincount(cell, minlength=count * count).reshape(count, count)
    values = strengths(wins[None].astype(np.float64))[0]

    def wins_of(raters: NDArray[np.float64], images: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(cell, raters[table.rater] * images[table.image], count * count).astype(np.float64)

    drawn = strengths(resampled(table, how, wins_of).reshape(-1, count, count))
    found = differences(values, drawn, table)
    places = ranks(np.round(values, 6).tolist(), larger_is_better=True)
    methods = []
    for index, method in enumerate(table.methods):
        own = (table.method == index) | (table.other == index)
        methods.append(
            Preferred(
                method,
                estimate(float(values[index]), drawn[:, index], table),
                places[index],
                len(set(table.rater[own].tolist())),
                len(set(table.image[own].tolist())),
                int(own.sum()),
                int(wins[index].sum()),
                not_told_from(found, method),
            )
        )
    methods.sort(key=lambda one: (one.rank, one.method))
    order = [one.method for one in methods]
    methods = [replace(one, not_told_from=tuple(sorted(one.not_told_from, key=order.index))) for one in methods]
    places = [table.methods.index(method) for method in order]
    groups = int(connected_components(wins, directed=False)[0])
    return Preferences(methods, found, wins[np.ix_(places, places)], groups)


def strengths(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the logarithms of Bradley–Terry strengths with the largest likelihood, of mean 0.

    .. math:: P(a \text{ preferred to } b) = \frac{\pi_a}{\pi_a + \pi_b}, \qquad
        \pi_a \leftarrow \frac{w_a}{\sum_b n_{ab} / (\pi_a + \pi_b)}

    Besides those of ``wins``, each method has half a preference over the others, shared evenly among them, and half a
    one below them: without, a method that was always preferred would be infinitely strong.

    Args:
        wins: ``(b, m, m)``: how often the row was preferred to the column, of ``b`` studies.

    Returns:
        ``(b, m)``.

    References:
        R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952);
        D. R. Hunter, "MM algorithms for generalized Bradley–Terry models", Annals of Statistics 32 (2004).
    """
    count = wins.shape[1]
    wins = wins + PRIOR / max(1, count - 1) * (1 - np.eye(count))
    shown, won = wins + wins.transpose(0, 2, 1), wins.sum(axis=2)
    pi = np.ones(won.shape)
    moving = np.arange(len(wins))
    for _ in range(_MOST_STEPS):
        own = pi[moving]
        new = won[moving] / (shown[moving] / (own[:, :, None] + own[:, None, :])).sum(axis=2)
        new /= np.exp(np.log(new).mean(axis=1, keepdims=True))  # strengths are known up to a factor
        pi[moving] = new
        moving = moving[np.abs(np.log(new / own)).max(axis=1) > _TOLERANCE]
        if not len(moving):
            break
    return np.log(pi)
