"""Krippendorff's α against figures that he published, and against its definition by expected disagreement."""

from math import isnan

import numpy as np
import pytest

from lensblend.survey.agreement import alpha, alpha_of, nominal, ordinal
from lensblend.survey.answers import Answer

# K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units, values
# 1 to 5, some missing; and the same data's α that he prints there: 0.743 nominal, 0.815 ordinal, 0.849 interval.
NONE = 0
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)


def interval(counts):
    """The distance of values that are numbers, which no study here has."""
    return np.square(np.subtract.outer(range(len(counts)), range(len(counts)))).astype(float)


@pytest.mark.parametrize(("distance", "printed"), [(nominal, 0.743), (ordinal, 0.815), (interval, 0.849)])
def test_alpha_is_what_krippendorff_prints(distance, printed):
    table = np.stack([(value == OBSERVERS).sum(axis=0) for value in range(1, 6)], axis=1)
    assert round(alpha(table, distance), 3) == printed


def test_entire_agreement_is_one_and_chance_is_about_zero():
    assert alpha(np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3]]), ordinal) == pytest.approx(1)
    random = np.random.default_rng(0).multinomial(4, [0.3, 0.3, 0.4], 4000)
    assert alpha(random, ordinal) == pytest.approx(0, abs=0.02)
    # Who disagree within every unit, and agree on the whole, are below chance.
    assert alpha(np.array([[1, 1], [1, 1], [1, 1]]), nominal) < 0


def test_what_cannot_be_said_is_not_a_number():
    assert isnan(alpha(np.array([[2, 0], [3, 0]]), nominal))
    assert isnan(alpha(np.array([[1, 0], [0, 1]]), nominal))


def test_answers_become_units_of_pictures_and_values():
    told = [(rater, unit, value - 1) for rater, row in enumerate(OBSERVERS) for unit, value in enumerate(row) if value]
    answers = [Answer(f"r{r}", f"image {u // 2}", "ab"[u % 2], None, int(v), None, 2.0) for r, u, v in told]
    assert round(alpha_of(answers), 3) == 0.815


def test_a_preference_is_the_same_whichever_method_stood_first():
    same = [Answer("r1", "1", "a", "b", 1, None, 2.0), Answer("r2", "1", "b", "a", 0, None, 2.0)]
    other = [Answer("r1", "2", "a", "b", 0, None, 2.0), Answer("r2", "2", "a", "b", 0, None, 2.0)]
    assert alpha_of([*same, *other]) == pytest.approx(1)
