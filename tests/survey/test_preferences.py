"""Bradley–Terry strengths against SciPy's optimiser, and what is known without computing."""

import numpy as np
import pytest
from scipy.optimize import minimize

from lensblend.errors import DataError
from lensblend.survey.answers import Answer
from lensblend.survey.preferences import score_pairs, strengths
from lensblend.survey.resampling import Resampling

FEW = Resampling(200)


def by_scipy(wins, prior=0.5):
    """The same model as a logistic regression: minus its logarithmic likelihood, left to a general optimiser."""
    count = len(wins)
    wins = wins + prior / (count - 1) * (1 - np.eye(count))

    def loss(logs):
        return -sum(
            wins[a, b] * -np.logaddexp(0, logs[b] - logs[a]) for a in range(count) for b in range(count) if a != b
        )

    found = minimize(loss, np.zeros(count), method="BFGS", options={"gtol": 1e-9}).x
    return found - found.mean()


@pytest.mark.parametrize("seed", range(5))
def test_strengths_are_those_of_a_logistic_regression(seed):
    wins = np.random.default_rng(seed).integers(0, 12, (5, 5)) * (1 - np.eye(5))
    np.testing.assert_allclose(strengths(wins[None])[0], by_scipy(wins), atol=1e-5)


def test_two_methods_are_as_far_apart_as_the_ratio_of_their_preferences():
    # The half preference on each side included: (30 + 0.5) / (10 + 0.5).
    first, second = strengths(np.array([[[0.0, 30.0], [10.0, 0.0]]]))[0]
    assert first - second == pytest.approx(np.log(30.5 / 10.5))
    assert first + second == pytest.approx(0)


def test_a_method_that_is_never_beaten_has_a_finite_strength():
    wins = np.array([[0, 20, 20], [0, 0, 11], [0, 9, 0]], float)
    found = strengths(wins[None])[0]
    assert np.isfinite(found).all()
    assert found[0] - found[1] > 3
    np.testing.assert_allclose(found, by_scipy(wins), atol=1e-5)


def pair(rater, image, method, other, value):
    return Answer(rater, image, method, other, value, None, 2.0)


def test_preferences_are_counted_whichever_method_stood_first():
    answers = [
        pair("r1", "1", "a", "b", 1),
        pair("r2", "1", "b", "a", 0),
        pair("r1", "2", "b", "a", 1),
        pair("r2", "2", "b", "c", 1),
    ]
    scored = score_pairs(answers, FEW)
    names = [m.method for m in scored.methods]
    wins = {(a, b): scored.wins[i, j] for i, a in enumerate(names) for j, b in enumerate(names)}
    assert {pair: count for pair, count in wins.items() if count} == {("a", "b"): 2, ("b", "a"): 1, ("b", "c"): 1}
    of_b = next(m for m in scored.methods if m.method == "b")
    assert (of_b.answers, of_b.wins, of_b.raters, of_b.images) == (4, 2, 2, 2)
    assert (scored.methods[0].rank, scored.methods[-1].method, scored.groups) == (1, "c", 1)


def test_groups_that_were_never_compared_are_counted():
    answers = [pair(f"r{r}", str(i), *two, 1) for r in range(2) for i in range(2) for two in (("a", "b"), ("c", "d"))]
    scored = score_pairs(answers, FEW)
    assert scored.groups == 2
    assert [m.rank for m in scored.methods] == [1, 1, 3, 3]


def test_intervals_hold_the_truth_of_drawn_preferences():
    truth = {"a": 1.0, "b": 0.2, "c": -1.2}
    random = np.random.default_rng(5)
    answers = []
    for rater in range(40):
        for image in range(8):
            for first, second in (("a", "b"), ("c", "b"), ("a", "c")):
                won = random.random() < 1 / (1 + np.exp(truth[second] - truth[first]))
                answers.append(pair(f"r{rater}", str(image), first, second, int(won)))
    scored = score_pairs(answers, FEW)
    assert [m.method for m in scored.methods] == ["a", "b", "c"]
    for method in scored.methods:
        assert method.strength.low < truth[method.method] < method.strength.high
        assert method.not_told_from == ()


def test_levels_and_preferences_are_not_mixed():
    with pytest.raises(DataError, match="two kinds"):
        score_pairs([pair("r1", "1", "a", "b", 1), Answer("r1", "2", "a", None, 3, None, 2.0)], FEW)
