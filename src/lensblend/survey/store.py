"""Where answers are kept: a database that a server writes, files that raters of an exported study send, or both."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lensblend.errors import DataError, StorageError
from lensblend.runs.documents import read_json
from lensblend.survey.answers import Answer
from lensblend.survey.study import ID, Study, read_key, read_study

DATABASE, FILES = "answers.sqlite", "answers"
MOST_RATERS = 100_000
_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (rater TEXT NOT NULL, trial TEXT NOT NULL, value INTEGER NOT NULL, "
    "seconds REAL NOT NULL, PRIMARY KEY (rater, trial))"
)
# One answer for each rater and trial: a repeated one replaces the earlier.
_PUT = (
    "INSERT INTO answers VALUES (?, ?, ?, ?) "
    "ON CONFLICT (rater, trial) DO UPDATE SET value = excluded.value, seconds = excluded.seconds"
)


class Store:
    """The database of a study, for one process with any number of threads.

    An answer is on the disk itself when `put` returns: neither a killed process nor a power cut loses it.

    Args:
        folder: The study's.

    Raises:
        StorageError: The database cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        self._lock = threading.Lock()
        with self._held():
            self._database = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_TABLE)
            self._raters = {rater for (rater,) in self._database.execute("SELECT DISTINCT rater FROM answers")}

    def put(self, rater: str, trial: str, value: int, seconds: float) -> None:
        """Keep an answer; one that the rater gave to this trial before is replaced.

        Raises:
            StorageError: It could not be kept.
        """
        with self._held():
            if rater not in self._raters and len(self._raters) >= MOST_RATERS:
                raise StorageError(f"{self.path} has {MOST_RATERS:,} raters, and takes no more.")
            self._database.execute(_PUT, (rater, trial, value, seconds))
            self._raters.add(rater)

    def of_rater(self, rater: str) -> dict[str, tuple[int, float]]:
        """Return a rater's answers: value and seconds by trial."""
        with self._held():
            rows = self._database.execute("SELECT trial, value, seconds FROM answers WHERE rater = ?", (rater,))
            return {trial: (value, seconds) for trial, value, seconds in rows}

    def counts(self) -> tuple[int, int]:
        """Return how many answers there are, and of how many raters."""
        with self._held():
            return int(self._database.execute("SELECT COUNT(*) FROM answers").fetchone()[0]), len(self._raters)

    def close(self) -> None:
        """Finish what is being written, and close."""
        with self._held():
            self._database.close()

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StorageError(f"{self.path} could not be written ({error}); see that there is room.") from error


def read_answers(folder: Path) -> list[Answer]:
    """Read all answers to a study, and apply its key.

    They lie in its database, which may be in use, and in ``answers/*.json``, the files that raters of an exported study
    sent. What a rater answered twice with equal values, in two files say, counts once.

    Args:
        folder: The study's.

    Returns:
        By rater, then by trial.

    Raises:
        RequestError: The folder holds no study.
        DataError: An answer is none to this study, two contradict each other, or a file is damaged.
    """
    study = read_study(folder)
    key = read_key(folder, study)
    kept: dict[tuple[str, str], tuple[int, float]] = {}
    for rater, trial, value, seconds, place in _rows(folder, study):
        if not isinstance(rater, str) or not ID.fullmatch(rater):
            raise DataError(f"`{place}`: {rater!r} is no rater's id; remove it.")
        if not isinstance(trial, str) or trial not in study.by_id:
            raise DataError(f"`{place}`: {trial!r} is no trial of this study; remove what belongs to another.")
        if problem := study.wrong(value, seconds):
            raise DataError(f"`{place}`: rater {rater}, trial {trial}: {problem}; remove it.")
        if kept.setdefault((rater, trial), (int(value), float(seconds)))[0] != value:
            raise DataError(f"`{place}`: rater {rater} answered trial {trial} otherwise before; keep one of the two.")
    return [
        Answer(rater, image, method, other, value, expected, seconds)
        for (rater, trial), (value, seconds) in sorted(kept.items())
        for image, method, other, expected in [key.unblinded(study.by_id[trial])]
    ]


def _rows(folder: Path, study: Study) -> Iterator[tuple[Any, Any, Any, Any, Path]]:
    database = folder / DATABASE
    if database.exists():
        try:
            # Also while a server writes, and after one was killed.
            with closing(sqlite3.connect(f"file:{quote(os.fsencode(database))}?mode=ro", uri=True, timeout=30)) as file:
                rows = file.execute("SELECT rater, trial, value, seconds FROM answers").fetchall()
        except sqlite3.Error as error:
            raise DataError(f"`{database}` cannot be read ({error}); restore it.") from None
        yield from ((*row, database) for row in rows)
    for path in sorted((folder / FILES).glob("*.json")):
        content = read_json(path)
        try:
            if content["study"] != study.study:
                raise DataError(f"`{path}` holds answers to another study; remove it.")
            rows = [(content["rater"], a["trial"], a["value"], a["seconds"], path) for a in content["answers"]]
        except (KeyError, TypeError) as error:
            raise DataError(f"`{path}` is no file of answers ({error}); remove it, or ask for it again.") from None
        yield from rows
