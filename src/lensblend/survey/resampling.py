"""How sure a study's scores are: what they would be with other raters and other images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lensblend.errors import DataError
from lensblend.survey.answers import Answer

CONFIDENCE = 0.95
METHOD = (
    "95 % bootstrap intervals over raters and images, both drawn with replacement at once (percentile, "
    "{resamples} resamples, seed {seed})"
)


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn.

    Attributes:
        resamples: How many times.
        seed: The same one gives the same intervals.
    """

    resamples: int = 9999
    seed: int = 0

    def said(self) -> str:
        """Return how in words."""
        return METHOD.format(resamples=self.resamples, seed=self.seed)


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; the bounds are NaN where none can be had."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Tell whether zero lies outside the interval: for a difference, that its sign is not left to chance."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Difference:
    """What one method scores less another, over the same resamples."""

    method: str
    against: str
    estimate: Estimate


@dataclass(frozen=True)
class Coded:
    """Answers as numbers: which rater, image and method each is about, by place in the lists of names.

    Attributes:
        raters: Names, in the order of first answers; so are the next two.
        images: Ids.
        methods: Names, of ``other`` too.
        rater: Per answer; so are the rest.
        image: Which image.
        method: Which method was shown.
        other: Beside which; -1 in a study of levels.
        value: As in `Answer`.
    """

    raters: list[str]
    images: list[str]
    methods: list[str]
    rater: NDArray[np.intp]
    image: NDArray[np.intp]
    method: NDArray[np.intp]
    other: NDArray[np.intp]
    value: NDArray[np.int64]


def coded(answers: Sequence[Answer]) -> Coded:
    """Return answers as numbers.

    Raises:
        DataError: Levels are mixed with preferences, or a rater answered the same twice.
    """
    if len({answer.other is None for answer in answers}) > 1:
        raise DataError("The answers are of two kinds, levels and preferences; score each study on its own.")
    seen = set()
    for answer in answers:
        shown = answer.rater, answer.image, *sorted(filter(None, (answer.method, answer.other)))
        if shown in seen:
            said = f"{answer.method} of {answer.image}"
            raise DataError(f"Rater {answer.rater} answered {said} twice; name each file once, and keep one answer.")
        seen.add(shown)
    raters, images = (list(dict.fromkeys(names)) for names in zip(*((a.rater, a.image) for a in answers), strict=True))
    methods = list(dict.fromkeys(name for a in answers for name in (a.method, a.other) if name is not None))
    places = {name: place for place, name in enumerate(methods)}
    rater, image = _places([a.rater for a in answers], raters), _places([a.image for a in answers], images)
    method = np.array([places[a.method] for a in answers])
    other = np.array([-1 if a.other is None else places[a.other] for a in answers])
    return Coded(raters, images, methods, rater, image, method, other, np.array([a.value for a in answers]))


def _places(names: Sequence[str], known: Sequence[str]) -> NDArray[np.intp]:
    places = {name: place for place, name in enumerate(known)}
    return np.array([places[name] for name in names])


def resampled(
    answers: Coded,
    how: Resampling,
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return what a statistic gives with raters and images drawn anew, a row per resample.

    Args:
        answers: At least one.
        how: Number and seed.
        statistic: Takes how often each rater and each image was drawn.

    References:
        A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007): the variance that this gives is
        rather too large than too small.
    """
    random = np.random.default_rng(how.seed)
    raters, images = len(answers.raters), len(answers.images)
    return np.array(
        [
            statistic(
                np.bincount(random.integers(raters, size=raters), minlength=raters).astype(np.float64),
                np.bincount(random.integers(images, size=images), minlength=images).astype(np.float64),
            )
            for _ in range(how.resamples)
        ]
    )


def estimate(value: float, drawn: NDArray[np.float64], answers: Coded) -> Estimate:
    """Return a value with its percentile interval; without one where there is one rater, or one image.

    Args:
        value: Of the answers themselves.
        drawn: Of the resamples; NaN where a resample says nothing of it.
        answers: What was resampled.
    """
    known = drawn[np.isfinite(drawn)]
    if min(len(answers.raters), len(answers.images)) < 2 or not len(known):
        return Estimate(value, nan, nan)
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))


def differences(values: NDArray[np.float64], drawn: NDArray[np.float64], answers: Coded) -> list[Difference]:
    """Return every two methods' difference, whose interval is of the differences within each resample.

    Args:
        values: Per method, of the answers themselves.
        drawn: Of the resamples, a row each.
        answers: What was resampled.
    """
    found = []
    for a, b in combinations(range(len(answers.methods)), 2):
        # What is left of a difference of equals, by the order of their sums, is no difference.
        value, own = np.round(values[a] - values[b], 12), np.round(drawn[:, a] - drawn[:, b], 12)
        found.append(Difference(answers.methods[a], answers.methods[b], estimate(float(value), own, answers)))
    return found


def ranks(values: Sequence[float], larger_is_better: bool) -> list[int]:
    """Return places, 1 for the best; equal values share one, and the next ones are left free.

    Example:
        >>> ranks([0.9, 0.1 + 0.2, 0.3, 1.5], larger_is_better=False)
        [3, 1, 1, 4]
    """
    signed = np.round(np.asarray(values) * (-1 if larger_is_better else 1), 12)
    return [int(place) for place in rankdata(signed, method="min")]


def not_told_from(found: Sequence[Difference], method: str) -> tuple[str, ...]:
    """Return the methods that one cannot be told from: the difference's interval includes zero, or there is none."""
    open_pairs = [(d.method, d.against) for d in found if not d.estimate.excludes_zero]
    return tuple(b if a == method else a for a, b in open_pairs if method in (a, b))
