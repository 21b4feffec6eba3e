"""What a scored study leaves behind: tables for people and programs, and a chart."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from hostile_names import NAMES
from lensblend.errors import DataError
from lensblend.survey.answer_files import read_answers_csv
from lensblend.survey.answers import Answer
from lensblend.survey.exclusions import Rules
from lensblend.survey.resampling import Resampling
from lensblend.survey.scoring import score_study

FEW = Resampling(100)
ALL = Rules(answers=0)


def study(methods, raters=3, images=2):
    """Answers of raters who like the methods less and less."""
    return [
        Answer(f"r{r}", f"{i}", method, None, min(4, place + (r + i) % 2), None, 2.0)
        for r in range(raters)
        for i in range(images)
        for place, method in enumerate(methods)
    ]


def pairs(methods):
    """Answers of raters who like the first method best, but once."""
    shown = [(f"r{r}", str(i), other) for r in range(3) for i in range(2) for other in methods[1:]]
    told = [Answer(rater, image, methods[0], other, 1, None, 2.0) for rater, image, other in shown]
    return [*told, Answer("r1", "9", methods[1], methods[0], 1, None, 2.0)]


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_study_of_levels_becomes_tables_and_a_chart(tmp_path):
    answers = [
        *study("abc"),
        Answer("r0", "1", "target", None, 1, 0, 2.0),
        *(Answer("fast", str(i), "a", None, i % 5, None, 0.1) for i in range(6)),
    ]
    text, files = score_study(answers, ALL, FEW, tmp_path)
    assert files == ["mos.csv", "mos.md", "mos.png", "differences.csv", "raters.csv", "answers.csv"]
    assert (tmp_path / "mos.md").read_text("utf-8") == text
    table = rows(tmp_path / "mos.csv")
    assert [row["method"] for row in table] == ["a", "b", "c"]
    assert [float(row["mos"]) for row in table] == [0.5, 1.5, 2.5]
    assert [table[0][name] for name in ("rank", "raters", "images", "answers")] == ["1", "3", "2", "6"]
    assert all(float(row["low"]) <= float(row["mos"]) <= float(row["high"]) for row in table)
    assert "3 of 4 raters and 18 of 24 answers count. Of 1 catch trials, which never count, 0 were" in text
    assert re.search(r"\| a +\| +3 \| +3 \| +0 \| +0 \| +0 \|", text)
    assert re.search(r"\| fast +\| +6 \| +median time 0.1 s \|", text)
    assert "1 raters were: too fast 1" in text
    assert {row["rater"]: row["left_out"] for row in rows(tmp_path / "raters.csv")}["fast"] == "median time 0.1 s"
    assert len(rows(tmp_path / "differences.csv")) == 3
    assert read_answers_csv(tmp_path / "answers.csv") == answers


def test_a_method_that_was_not_rated_on_all_images_is_named(tmp_path):
    answers = [a for a in study("ab") if (a.method, a.image) != ("b", "1")]
    text, _ = score_study(answers, ALL, FEW, tmp_path)
    assert "- b was rated on 1 of 2 images: its score is over those." in text
    assert "a was rated on" not in text


def test_a_study_of_pairs_becomes_strengths_and_replaces_what_levels_left(tmp_path):
    score_study(study("ab"), ALL, FEW, tmp_path)
    text, files = score_study(pairs("abc"), ALL, FEW, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    assert rows(tmp_path / "strengths.csv")[0]["method"] == "a"
    assert re.search(r"\| a +\| +– \| +(0.86 \(6/7\)|1.00 \(6/6\)) \|", text)
    told = {(row["method"], row["against"]): row for row in rows(tmp_path / "preferences.csv")}
    assert (told["a", "b"]["wins"], told["a", "b"]["answers"], told["b", "c"]["share"]) == ("6", "7", "")
    assert "0.5 preferences over the others" in text


def test_groups_that_were_never_compared_are_said(tmp_path):
    answers = [Answer(f"r{r}", "1", *two, 1, None, 2.0) for r in range(2) for two in (("a", "b"), ("c", "d"))]
    assert "fall into 2 groups" in score_study(answers, ALL, FEW, tmp_path)[0]


@pytest.mark.parametrize(("make", "names"), [(study, [*NAMES.values()]), (pairs, [*NAMES.values()][-14:])])
def test_names_of_any_kind_stay_text(tmp_path, make, names):
    text, files = score_study(make(names), ALL, Resampling(5), tmp_path)
    for name in (name for name in files if name.endswith(".csv")):
        table = csv.reader(io.StringIO((tmp_path / name).read_text("utf-8"), newline=""))
        cells = [cell for row in table for cell in row if not is_number(cell)]
        assert cells
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    # No name begins or ends a row or a cell of the first table.
    table = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(names)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {8}


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_the_chart_has_a_point_and_an_interval_for_each_method(tmp_path):
    score_study(study("abcd"), ALL, FEW, tmp_path)
    with Image.open(tmp_path / "mos.png") as image:
        picture = np.array(image.convert("RGB")).astype(int)
    blue = np.abs(picture - (0, 0x72, 0xB2)).sum(axis=2) < 30
    lines = np.flatnonzero(blue.sum(axis=1) > 20)
    assert 1 + (np.diff(lines) > 1).sum() == 4


def test_no_answers_are_no_scores(tmp_path):
    with pytest.raises(DataError, match="no answers yet"):
        score_study([], ALL, FEW, tmp_path)
    assert list(tmp_path.iterdir()) == []
