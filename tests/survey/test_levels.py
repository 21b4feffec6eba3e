"""Mean opinion scores against figures worked out by hand, the challenge's own ranking, and SciPy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from lensblend.comparison.studies.aim2019 import TEAMS
from lensblend.errors import DataError
from lensblend.survey.answers import Answer
from lensblend.survey.levels import score_levels
from lensblend.survey.resampling import Resampling

FEW = Resampling(200)


def answers(table):
    """Answers from ``{method: {image: {rater: value}}}``."""
    return [
        Answer(rater, image, method, None, value, None, 3.0)
        for method, images in table.items()
        for image, raters in images.items()
        for rater, value in raters.items()
    ]


# By hand: a has image means 1 and 4, so 2.5 (of all answers: 7/4 = 1.75); b has 2 and 2, so 2 (of all: 2).
# By all answers at once, a would be first; image by image, b is.
UNEQUAL = {
    "a": {"1": {"r1": 0, "r2": 1, "r3": 2}, "2": {"r1": 4}},
    "b": {"1": {"r1": 2, "r2": 2, "r3": 2}, "2": {"r2": 2}},
}


def test_a_mean_over_raters_comes_first_then_one_over_images():
    scored = score_levels(answers(UNEQUAL), FEW)
    found = {o.method: o for o in scored.methods}
    assert {name: o.mos.value for name, o in found.items()} == {"a": 2.5, "b": 2.0}
    assert [o.method for o in scored.methods] == ["b", "a"]
    assert (found["a"].rank, found["a"].raters, found["a"].images, found["a"].answers) == (2, 3, 2, 4)
    assert found["a"].histogram == (1, 1, 1, 0, 1)
    (difference,) = scored.differences
    assert (difference.method, difference.against, difference.estimate.value) == ("a", "b", 0.5)


def test_equal_scores_share_a_place_and_the_next_is_left_free():
    # 0.1 + 0.2 is not 0.3: thirds of three raters summed in other orders are one score all the same.
    orders = {"a": [0, 0, 1], "b": [1, 0, 0], "c": [2, 2, 2], "d": [0, 0, 0]}
    table = {m: {"1": {f"r{i}": v for i, v in enumerate(values)}} for m, values in orders.items()}
    scored = score_levels(answers(table), FEW)
    assert [(o.method, o.rank) for o in scored.methods] == [("d", 1), ("a", 2), ("b", 2), ("c", 4)]


def drawn_around(mos, raters, images, seed):
    """Ratings about each method's score: every rater is as strict, every image as hard, for all methods."""
    random = np.random.default_rng(seed)
    strictness, hardness = random.normal(0, 0.3, raters), random.normal(0, 0.2, (images, 1))
    strictness -= strictness.mean()
    table = {}
    for method, mean in mos.items():
        # Which of the two levels next to it is given is left to chance, evenly spread over the raters of an image.
        chance = random.permuted(np.tile(np.arange(raters) + random.random(), (images, 1)), axis=1) / raters
        levels = np.clip(np.floor(mean + strictness + hardness - hardness.mean() + chance), 0, 4).astype(int)
        table[method] = {str(i): {f"r{r}": int(levels[i, r]) for r in range(raters)} for i in range(images)}
    return answers(table)


def test_ratings_about_the_challenges_scores_give_the_challenges_ranking():
    mos = {team.name: team.mos for team in TEAMS}
    scored = score_levels(drawn_around(mos, 200, 10, seed=0), FEW)
    assert [o.method for o in scored.methods] == [t.name for t in sorted(TEAMS, key=lambda t: t.mos_rank)]
    assert [o.rank for o in scored.methods] == [t.mos_rank for t in sorted(TEAMS, key=lambda t: t.mos_rank)]
    # What is a level apart is told apart, what is a hundredth apart is not.
    first, last = scored.methods[0], scored.methods[-1]
    assert "CVL-IITM" in first.not_told_from
    assert last.method not in first.not_told_from


def test_an_interval_is_that_of_scipy_where_raters_agree_entirely():
    # Where every rater says the same, only the images are left to chance, and SciPy can resample those.
    levels = np.random.default_rng(0).integers(0, 5, 40)
    table = {"a": {str(i): {f"r{r}": int(v) for r in range(3)} for i, v in enumerate(levels)}}
    ours = score_levels(answers(table), Resampling(4000)).methods[0].mos
    theirs = stats.bootstrap((levels,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    low, high = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_an_interval_is_that_of_scipy_where_images_do_not_differ():
    levels = np.random.default_rng(1).integers(0, 5, 40)
    table = {"a": {str(i): {f"r{r}": int(v) for r, v in enumerate(levels)} for i in range(3)}}
    ours = score_levels(answers(table), Resampling(4000)).methods[0].mos
    theirs = stats.bootstrap((levels,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2))
    low, high = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_paired_differences_are_surer_than_the_scores_themselves():
    table = {"a": {}, "b": {}}
    random = np.random.default_rng(3)
    for image in range(12):
        level = int(random.integers(0, 4))
        table["a"][str(image)] = {f"r{r}": level for r in range(6)}
        table["b"][str(image)] = {f"r{r}": level + 1 for r in range(6)}
    scored = score_levels(answers(table), FEW)
    found = scored.differences[0].estimate
    assert (found.value, found.low, found.high) == (-1, -1, -1)
    assert scored.methods[0].not_told_from == ()
    assert scored.methods[0].mos.high > scored.methods[1].mos.low


@pytest.mark.parametrize("table", [{"a": {"1": {"r1": 0, "r2": 3}}}, {"a": {"1": {"r1": 0}, "2": {"r1": 4}}}])
def test_one_rater_or_one_image_has_a_score_and_no_interval(table):
    (only,) = score_levels(answers(table), FEW).methods
    assert np.isfinite(only.mos.value)
    assert np.isnan([only.mos.low, only.mos.high]).all()


def test_the_same_seed_gives_the_same_intervals():
    first, second, other = (score_levels(answers(UNEQUAL), Resampling(100, seed)) for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_an_answer_that_is_there_twice_is_refused():
    once = answers(UNEQUAL)
    with pytest.raises(DataError, match="Rater r1 answered a of 1 twice"):
        score_levels([*once, once[0]], FEW)
