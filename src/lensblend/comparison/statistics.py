"""Means over images and how sure they are: bootstrap intervals, also of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0
METHOD = "95 % bootstrap interval over images (BCa, 9999 resamples, seed 0)"


@dataclass(frozen=True)
class Interval:
    """A mean over images and its 95 % interval; the bounds are NaN where no interval can be had.

    Attributes:
        mean: Over the images, each counting once.
        low: Lower bound.
        high: Upper bound.
    """

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Tell whether zero lies outside the interval: for a difference, that the images agree on its sign."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of per-image values with its bias-corrected and accelerated bootstrap interval.

    One image, or a value that is not finite, has a mean but no interval. Equal values have an interval of no width.

    Args:
        values: One per image, at least one.

    Example:
        >>> mean_interval([2.0, 2.0, 2.0])
        Interval(mean=2.0, low=2.0, high=2.0)
    """
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if len(sample) < 2 or not np.isfinite(sample).all():
        return Interval(mean, nan, nan)
    # BCa divides by the spread of the means, and equal values have none.
    if np.ptp(sample) <= 1e-12 * np.abs(sample).max():
        return Interval(mean, mean, mean)
    interval = bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high))


def difference_interval(ours: Sequence[float], against: Sequence[float]) -> Interval:
    """Return the mean of the differences image by image, ``ours - against``, with its own interval.

    Images differ far more from each other than two runs differ on one image: the paired interval is much narrower than
    the two means' own intervals suggest.

    Args:
        ours: One value per image.
        against: The other run's values, in the same order of images.
    """
    with np.errstate(invalid="ignore"):  # infinite on both sides: no difference can be told
        return mean_interval(np.subtract(ours, against, dtype=np.float64).tolist())
