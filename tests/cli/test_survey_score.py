"""``lensblend survey score``, as people call it."""

import csv

import pytest

from lensblend.survey.answer_files import answers_csv
from lensblend.survey.answers import Answer


@pytest.fixture
def answers(tmp_path):
    """Two tables of one study: three raters, two methods, two images."""
    told = [
        Answer(f"r{r}", str(i), m, None, (i + r + place) % 5, None, 2.0)
        for r in range(3)
        for i in range(3)
        for place, m in enumerate(("dbsi", "vidar"))
    ]
    files = [tmp_path / "first.csv", tmp_path / "second.csv"]
    files[0].write_text(answers_csv(told[:10]))
    files[1].write_text(answers_csv(told[10:]))
    return files


def test_tables_are_scored_together(in_process, answers, tmp_path):
    done = in_process("survey", "score", *answers, "--output", tmp_path / "out", "--resamples", 100)
    assert (done.code, done.err) == (0, "")
    assert "3 of 3 raters and 18 of 18 answers count." in done.out
    assert "mos.csv, mos.md, mos.png, differences.csv, raters.csv, answers.csv are in" in done.out
    with (tmp_path / "out" / "mos.csv").open() as file:
        assert [row["raters"] for row in csv.DictReader(file)] == ["3", "3"]


def test_the_rules_are_the_users(in_process, answers, tmp_path):
    asked = ("--output", tmp_path / "out", "--resamples", 100, "--least-answers", 7)
    done = in_process("survey", "score", *answers, *asked)
    assert done.code == 1
    assert "None of 18 answers counts: 3 raters, all left out (too few answers (3))" in done.err
    rules = ("--least-answers", 6, "--least-seconds", 2.5)
    assert "too fast" in in_process("survey", "score", *answers, "--output", tmp_path / "out", *rules).err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--resamples", "5"), "from 100 to 1000000, but got '5'"),
        (("--seed", "-1"), "from 0 to 999999999, but got '-1'"),
        (("--seed", "x"), "from 0 to 999999999, but got 'x'"),
        (("--catch-share", "1.5"), "a number from 0 to 1, but got '1.5'"),
        (("--least-seconds", "nan"), "a number of seconds, 0 or more, but got 'nan'"),
    ],
)
def test_wrong_flags_are_refused(in_process, flags, said):
    done = in_process("survey", "score", "a.csv", *flags)
    assert done.code == 2
    assert said in done.err


def test_a_table_that_is_there_twice_is_refused(in_process, answers, tmp_path):
    done = in_process("survey", "score", answers[0], answers[0], "--output", tmp_path / "out")
    assert done.code == 1
    assert "twice; name each file once" in done.err
    done = in_process("survey", "score", tmp_path / "none.csv", "--output", tmp_path / "out")
    assert done.code == 2
    assert "none.csv does not exist" in done.err
