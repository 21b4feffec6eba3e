"""Means over images and seeds and how sure they are: bootstrap intervals, also of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot, nan

import numpy as np
from scipy.stats import bootstrap, t

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0
METHOD = "95 % bootstrap interval over images (BCa, 9999 resamples, seed 0)"
#: With five images that all agree, a sign test cannot tell at 5 % (2 · 0.5⁵ = 6.25 %); with six it can (3.1 %).
FEWEST_IMAGES = 6
#: Of two runs, no interval of their mean is narrower than twelve standard errors.
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Interval:
    """A mean over images and its 95 % interval; the bounds are NaN where no interval can be had.

    Attributes:
        mean: Over the images, each counting once.
        low: Lower bound.
        high: Upper bound.
        count: Over how many images.
    """

    mean: float
    low: float
    high: float
    count: int = field(default=0, compare=False, repr=False)

    @property
    def excludes_zero(self) -> bool:
        """Tell whether zero lies outside the interval: for a difference, that the images agree on its sign."""
        return self.low > 0 or self.high < 0

    @property
    def too_few(self) -> bool:
        """Tell whether there is too little to call a difference one."""
        return False


@dataclass(frozen=True)
class Difference(Interval):
    """The mean of the differences image by image of two rows, each the mean of runs that differ in their seed.

    Attributes:
        seeds: How many runs each of the two is the mean of.
        spread: Standard deviation of the difference of one run and one run, over seeds; NaN where a row has one run.
        seeds_low: Lower bound of the 95 % interval of the mean difference over seeds; NaN where there is none.
        seeds_high: Upper bound.
    """

    seeds: tuple[int, int] = field(default=(1, 1), compare=False, repr=False)
    spread: float = field(default=nan, compare=False, repr=False)
    seeds_low: float = field(default=nan, compare=False, repr=False)
    seeds_high: float = field(default=nan, compare=False, repr=False)

    @property
    def excludes_zero(self) -> bool:
        """Tell whether zero lies outside: of the interval over images, and over seeds where there are several."""
        over_images = self.low > 0 or self.high < 0
        if max(self.seeds) == 1:
            return over_images
        return over_images and (self.seeds_low > 0 if self.low > 0 else self.seeds_high < 0)

    @property
    def too_few(self) -> bool:
        """Tell whether there are fewer than six images, or, where seeds are compared, fewer than three in a row."""
        return self.count < FEWEST_IMAGES or (max(self.seeds) > 1 and min(self.seeds) < FEWEST_SEEDS)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of per-image values with its bias-corrected and accelerated bootstrap interval.

    One image, or a value that is not finite, has a mean but no interval. Equal values have an interval of no width.

    Args:
        values: One per image; of none, the mean is NaN.

    Example:
        >>> mean_interval([2.0, 2.0, 2.0])
        Interval(mean=2.0, low=2.0, high=2.0)
    """
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean()) if len(sample) else nan
    if len(sample) < 2 or not np.isfinite(sample).all():
        return Interval(mean, nan, nan, len(sample))
    # BCa divides by the spread of the means, and equal values have none.
    if np.ptp(sample) <= 1e-12 * np.abs(sample).max():
        return Interval(mean, mean, mean, len(sample))
    interval = bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), len(sample))


def spread(means: Sequence[float]) -> float:
    """Return the standard deviation over seeds, with n − 1; NaN of one.

    Args:
        means: One per run.

    Example:
        >>> round(spread([24.0, 26.0]) ** 2, 9)
        2.0
    """
    with np.errstate(invalid="ignore"):  # of infinite ones it is no number
        return float(np.std(means, ddof=1)) if len(means) > 1 else nan


def difference_interval(ours: Sequence[float], against: Sequence[float]) -> Difference:
    """Return the mean of the differences image by image, ``ours - against``, with its own interval.

    Images differ far more from each other than two runs differ on one image: the paired interval is much narrower than
    the two means' own intervals suggest.

    Args:
        ours: One value per image.
        against: The other run's values, in the same order of images.
    """
    return difference_of_rows([ours], [against])


def difference_of_rows(ours: Sequence[Sequence[float]], against: Sequence[Sequence[float]]) -> Difference:
    """Return the mean difference of two rows of runs: over images between their means over seeds, and over seeds.

    The interval over images is that of `mean_interval`. Over seeds it is Welch's, of the runs' means over images: how
    far runs of one row differ from each other may differ from row to row.

    Args:
        ours: By run, one value per image.
        against: The same of the other row, in the same order of images.

    References:
        B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
        involved", Biometrika 34, 1947.
    """
    with np.errstate(invalid="ignore"):  # infinite on both sides: no difference can be told
        images = mean_interval((np.mean(ours, axis=0) - np.mean(against, axis=0)).tolist())
    runs = [[float(np.mean(values)) if len(values) else nan for values in row] for row in (ours, against)]
    low, high = _over_seeds(*runs)
    apart = hypot(*map(spread, runs))
    seeds = (len(ours), len(against))
    return Difference(images.mean, images.low, images.high, images.count, seeds, apart, low, high)


def _over_seeds(ours: Sequence[float], against: Sequence[float]) -> tuple[float, float]:
    """Return Welch's interval of the difference of two means over seeds; NaN where one of them is of one run."""
    counts = np.array([len(ours), len(against)])
    if counts.min() < 2:
        return nan, nan
    errors = np.array([spread(ours), spread(against)]) ** 2 / counts
    mean = float(np.mean(ours)) - float(np.mean(against))
    if errors.sum() == 0:
        return mean, mean
    freedom = errors.sum() ** 2 / (errors**2 / (counts - 1)).sum()
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(errors.sum()))
    return mean - half, mean + half
