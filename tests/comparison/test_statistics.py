from math import isnan

import numpy as np
import pytest
from scipy import stats

from lensblend.comparison.statistics import difference_interval, mean_interval


def test_many_normal_values_have_the_interval_that_theory_gives():
    values = np.random.default_rng(1).normal(25, 2, 4000)
    interval = mean_interval(values.tolist())
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_an_interval_agrees_with_a_percentile_bootstrap_by_hand():
    # Skewed and few, as scores of images are; BCa then moves the interval only a little.
    values = np.random.default_rng(2).gamma(3, 1, 40)
    draws = np.random.default_rng(3).integers(0, len(values), (20_000, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    interval = mean_interval(values.tolist())
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_nineteen_of_twenty_intervals_hold_the_truth():
    random = np.random.default_rng(4)
    intervals = [mean_interval(random.normal(0, 1, 60).tolist()) for _ in range(120)]
    held = sum(interval.low <= 0 <= interval.high for interval in intervals)
    # 114 are expected; fewer than 106 happen once in a thousand times.
    assert 106 <= held <= 120


def test_differences_are_taken_image_by_image():
    random = np.random.default_rng(5)
    images = random.normal(25, 4, 50)
    gain = random.normal(0.3, 0.1, 50)
    interval = difference_interval((images + gain).tolist(), images.tolist())
    assert interval.mean == pytest.approx(gain.mean())
    low, high = stats.t.interval(0.95, 49, loc=gain.mean(), scale=stats.sem(gain))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert interval.excludes_zero
    # The two means alone could not tell: their own intervals are far wider than the difference.
    own = mean_interval(images.tolist())
    assert own.high - own.low > 10 * (interval.high - interval.low)


def test_the_difference_turns_its_sign_with_the_runs():
    ours, theirs = [20.0, 21.0, 25.0, 22.0], [20.5, 20.0, 24.0, 21.0]
    there, back = difference_interval(ours, theirs), difference_interval(theirs, ours)
    assert there.mean == pytest.approx(0.625)
    assert (back.mean, back.low) == pytest.approx((-there.mean, -there.high), abs=0.05)


def test_an_interval_is_the_same_each_time():
    values = np.random.default_rng(6).normal(0, 1, 12).tolist()
    assert mean_interval(values) == mean_interval(values)


@pytest.mark.parametrize("values", [[24.0], [24.0, float("inf")], [24.0, float("nan")]])
def test_no_interval_is_made_up(values):
    interval = mean_interval(values)
    assert isnan(interval.low)
    assert isnan(interval.high)
    assert not interval.excludes_zero


def test_equal_runs_differ_by_nothing_for_certain():
    interval = difference_interval([20.0, 30.0, 25.0], [20.0, 30.0, 25.0])
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)
    assert not interval.excludes_zero


def test_infinite_scores_on_both_sides_have_no_difference():
    assert isnan(difference_interval([float("inf"), 30.0], [float("inf"), 29.0]).mean)
