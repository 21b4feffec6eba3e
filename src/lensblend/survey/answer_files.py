"""Answers as a table: one CSV that holds all that a study's scores are made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError
from lensblend.storage import cell_text, csv_text
from lensblend.survey.answers import LEVELS, Answer

COLUMNS = ("rater", "image", "method", "other", "value", "expected", "seconds")
_LIMIT = 256 * 2**20  # bytes


def answers_csv(answers: Sequence[Answer]) -> str:
    """Return a row per answer; ``other`` and ``expected`` are empty where there is none.

    Example:
        >>> print(answers_csv([Answer("r1", "0001", "dbsi", None, 2, None, 3.5)]), end="")
        rater,image,method,other,value,expected,seconds
        r1,0001,dbsi,,2,,3.5
    """
    rows = [[a.rater, a.image, a.method, a.other, a.value, a.expected, repr(a.seconds)] for a in answers]
    return csv_text([COLUMNS, *rows])


def read_answers_csv(file: Path) -> list[Answer]:
    """Read a table of answers.

    Raises:
        RequestError: There is no such file.
        DataError: It is no such table, or a row is no answer; the first few wrong rows are listed.
    """
    try:
        text = read_text(file, _LIMIT)
    except FileNotFoundError:
        raise RequestError(f"{file} does not exist; give a study's folder, or a CSV of answers.") from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table: {error}; export the answers again.") from None
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{file} is no table of answers: it has no column `{missing[0]}`; there must be {', '.join(COLUMNS)}."
        )
    answers, problems = [], []
    for line, row in rows:
        try:
            answers.append(_answer(row))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        shown = "\n  ".join([*problems[:5], *(["..."] if len(problems) > 5 else [])])
        raise DataError(f"{file}: {len(problems)} of {len(rows)} rows are no answers; correct them:\n  {shown}")
    return answers


def _answer(row: Mapping[str, str | None]) -> Answer:
    """Return a row's answer, or raise `ValueError` that says what is wrong with it."""
    cells = {name: row[name] for name in COLUMNS}
    absent = [name for name, cell in cells.items() if cell is None]
    if absent or None in row:
        raise ValueError("it has too many cells" if None in row else f"it has no cell for `{absent[0]}`")
    texts = {name: cell_text(cell or "") for name, cell in cells.items()}
    empty = [name for name in ("rater", "image", "method", "value", "seconds") if not texts[name]]
    if empty:
        raise ValueError(f"`{empty[0]}` is empty")
    largest = 1 if texts["other"] else len(LEVELS) - 1
    value = _whole("value", texts["value"], largest)
    expected = _whole("expected", texts["expected"], largest) if texts["expected"] else None
    if texts["other"] == texts["method"]:
        raise ValueError(f"`method` and `other` are both {texts['method']!r}")
    try:
        seconds = float(texts["seconds"])
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and seconds >= 0):
        raise ValueError(f"`seconds` is 0 or more, but got {texts['seconds']!r}")
    return Answer(texts["rater"], texts["image"], texts["method"], texts["other"] or None, value, expected, seconds)


def _whole(name: str, text: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > largest:
        raise ValueError(f"`{name}` is a whole number from 0 to {largest}, but got {text!r}")
    return int(text)
