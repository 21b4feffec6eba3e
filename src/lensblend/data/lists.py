"""Lists of pairs, which say what belongs to a split: CSV files of ids, or of the paths that ids are called after."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from lensblend.data.listing import SUFFIXES, natural_key
from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError

_HEADERS = {"id", "ids", "original", "bokeh", "photo", "target", "src", "tgt"}


def read_ids(path: str | Path) -> list[str]:
    """Read a split list: one column of ids or paths, or two columns of paths that name one pair.

    A path stands for its stem, ``0012`` for ``12``, and ``test/original/N.jpg`` for ``test-N``. Empty lines and lines
    that begin with # are passed over.

    Example:
        >>> from lensblend.data.catalogue import EBB_VAL294
        >>> len(read_ids(EBB_VAL294)), read_ids(EBB_VAL294)[0]
        (294, '4400')
    """
    try:
        lines = list(csv.reader(read_text(path).splitlines()))
    except (FileNotFoundError, DataError, csv.Error) as error:
        raise RequestError(f"`{path}` is no readable list ({error}); give a CSV file of ids or paths.") from error
    rows = [[cell.strip() for cell in row] for row in lines if "".join(row).strip()]
    rows = [row for row in rows if not row[0].startswith("#")]
    if rows and {cell.lower() for cell in rows[0]} <= _HEADERS:
        rows = rows[1:]
    ids: list[str] = []
    for row in rows:
        named = {id_of(cell) for cell in row}
        if len(named) != 1:
            raise DataError(f"`{path}` has the row {','.join(row)}; give one id, or photo and target of one pair.")
        ids.extend(named)
    if len(ids) != len(set(ids)):
        twice = sorted({i for i in ids if ids.count(i) > 1}, key=natural_key)[:20]
        raise DataError(f"`{path}` names {', '.join(twice)} more than once; keep one row of each.")
    return ids


def id_of(name: str) -> str:
    """Return the id that a file's name or path stands for, as `read_ids` does."""
    parts = name.replace("\\", "/").split("/")
    stem, dot, suffix = parts[-1].rpartition(".")
    plain = stem if dot and f".{suffix.lower()}" in SUFFIXES else parts[-1]
    plain = re.sub(r"[._](src|tgt)$", "", plain)
    plain = str(int(plain)) if re.fullmatch("[0-9]+", plain) else plain
    return f"test-{plain}" if parts[-3:-2] == ["test"] else plain


def excluded_ids(exclude: str | Sequence[str | int] | None) -> set[str]:
    """Return the ids of a list, or of a file with one per line; none where there is neither."""
    return set(read_ids(exclude)) if isinstance(exclude, str) else {id_of(str(i)) for i in exclude or ()}
