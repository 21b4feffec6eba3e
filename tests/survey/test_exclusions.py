"""Who is left out: each rule alone, at its edge, and never without a word."""

import pytest

from lensblend.errors import DataError
from lensblend.survey.answers import Answer
from lensblend.survey.exclusions import Rules, counted, judge, tally


def levels(rater, values, seconds=3.0):
    return [Answer(rater, str(i), "a", None, value, None, seconds) for i, value in enumerate(values)]


def catches(rater, values, expected=0, seconds=3.0, other=None):
    return [Answer(rater, str(i), "target", other, value, expected, seconds) for i, value in enumerate(values)]


FINE = [0, 1, 2, 1, 3]


@pytest.mark.parametrize(
    ("answers", "reasons"),
    [
        (levels("r", FINE), ()),
        (levels("r", FINE[:4]), ("4 answers",)),
        (levels("r", [2, 2, 2, 2, 2]), ("level 2 throughout",)),
        (levels("r", FINE, 0.99), ("median time 0.99 s",)),
        (levels("r", FINE, 1.0), ()),
        (levels("r", FINE) + catches("r", [0, 1, 0, 2]), ()),  # one of four is a quarter, and no more
        (levels("r", FINE) + catches("r", [0, 1, 2]), ("failed 1 of 3 catch trials",)),
        (levels("r", FINE[:1]) + catches("r", [4]), ("failed 1 of 1 catch trials", "1 answer")),
    ],
)
def test_each_rule_leaves_out_whom_it_is_about(answers, reasons):
    (rater,) = judge(answers, Rules())
    assert rater.reasons == reasons


def test_rules_can_be_changed():
    answers = levels("r", [2, 2], 0.1) + catches("r", [1, 4])
    loose = Rules(failed=1.0, tolerance=4, answers=0, seconds=0.0, constant=False)
    assert judge(answers, loose)[0].reasons == ()
    assert judge(answers, Rules(failed=0.25, tolerance=0, answers=0, seconds=0.0, constant=False))[0].failed == 2


def test_a_preference_in_a_catch_trial_is_right_or_wrong():
    answers = catches("r", [1, 0], expected=1, other="blurred target")
    assert judge(answers, Rules(answers=0))[0].failed == 1


def test_one_side_throughout_is_no_level():
    answers = [Answer("r", str(i), "a", "b", 1, None, 3.0) for i in range(6)]
    assert judge(answers, Rules())[0].reasons == ()


def test_catch_trials_and_raters_left_out_never_count():
    answers = levels("good", FINE) + catches("good", [0, 0]) + levels("quick", FINE, 0.2)
    raters = judge(answers, Rules())
    assert counted(answers, raters) == levels("good", FINE)
    assert [(r.id, r.answers, r.catches) for r in raters] == [("good", 5, 2), ("quick", 5, 0)]
    assert tally(raters) == {"too fast": 1}


def test_where_nobody_counts_that_is_said():
    answers = levels("quick", FINE, 0.2) + levels("lazy", [1])
    with pytest.raises(DataError, match=r"None of 6 answers counts: 2 raters, all left out \(too fast \(1\), too few"):
        counted(answers, judge(answers, Rules()))
