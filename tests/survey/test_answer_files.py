"""Answers as a CSV: written and read again the same, whatever names contain; wrong rows are named."""

import csv
import io

import pytest

from hostile_names import NAMES
from lensblend.errors import DataError, RequestError
from lensblend.storage import write_atomically
from lensblend.survey.answer_files import COLUMNS, answers_csv, read_answers_csv
from lensblend.survey.answers import Answer

HEAD = ",".join(COLUMNS)


def test_answers_are_read_as_they_were_written(tmp_path):
    answers = [
        Answer("r1", "0001", "dbsi", None, 4, None, 0.1 + 0.2),
        Answer("r1", "0001", "target", None, 1, 0, 3.0),
        Answer("r2", "0002", "dbsi", "vidar", 0, None, 1e-3),
        Answer("r2", "0002", "target", "blurred target", 1, 1, 12.5),
    ]
    write_atomically(tmp_path / "answers.csv", answers_csv(answers))
    assert read_answers_csv(tmp_path / "answers.csv") == answers


def test_names_of_any_kind_stay_names(tmp_path):
    known = [name for key, name in NAMES.items() if key != "no UTF-8"]
    answers = [Answer("r", name, name, f"{name}-2", 1, None, 2.0) for name in known]
    write_atomically(tmp_path / "answers.csv", answers_csv(answers))
    assert read_answers_csv(tmp_path / "answers.csv") == answers
    cells = [cell for row in csv.reader(io.StringIO(answers_csv(answers), newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("r,1,a,,5,,2", "line 2: `value` is a whole number from 0 to 4, but got '5'"),
        ("r,1,a,b,2,,2", "`value` is a whole number from 0 to 1, but got '2'"),
        ("r,1,a,,-1,,2", "`value` is a whole number from 0 to 4, but got '-1'"),
        ("r,1,a,,x,,2", "but got 'x'"),
        ("r,1,a,,1,7,2", "`expected` is a whole number from 0 to 4, but got '7'"),
        ("r,1,a,,1,,nan", "`seconds` is 0 or more, but got 'nan'"),
        ("r,1,a,,1,,-3", "`seconds` is 0 or more, but got '-3'"),
        (",1,a,,1,,2", "`rater` is empty"),
        ("r,1,a,a,1,,2", "`method` and `other` are both 'a'"),
        ("r,1,a,,1", "it has no cell for `expected`"),
        ("r,1,a,,1,,2,9", "it has too many cells"),
        ('r,1,"a,,1,,2', "cannot be read as a table"),
    ],
)
def test_a_row_that_is_no_answer_is_named(tmp_path, row, said):
    (tmp_path / "a.csv").write_text(f"{HEAD}\n{row}\n")
    with pytest.raises(DataError) as refused:
        read_answers_csv(tmp_path / "a.csv")
    assert said in str(refused.value)


def test_many_wrong_rows_are_counted_and_the_first_are_shown(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEAD}\n" + "r,1,a,,9,,2\n" * 50 + "r,1,a,,1,,2\n")
    with pytest.raises(DataError, match="50 of 51 rows are no answers") as refused:
        read_answers_csv(tmp_path / "a.csv")
    assert str(refused.value).count("line") == 5


def test_other_files_are_refused(tmp_path):
    with pytest.raises(RequestError, match="does not exist; give a study's folder"):
        read_answers_csv(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column `rater`"):
        read_answers_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_answers_csv(tmp_path / "b.csv")
