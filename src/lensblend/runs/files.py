"""Names and files of a run's folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lensblend.data.regular_files import open_regular
from lensblend.errors import DataError
from lensblend.storage import TEMPORARY, real

_LONGEST_NAME = 100  # bytes; a file system takes 255, of a whole name with all that is added to it


def is_name(text: str) -> bool:
    r"""Tell whether a text can be the name of a file or a folder, and of nothing but what lies in its parent.

    Example:
        >>> [is_name(text) for text in ("phase1", "fine L1", "../phase1", ".hydra", "a\\nb", "")]
        [True, True, False, False, False, False]
    """
    fits = 0 < len(os.fsencode(text)) <= _LONGEST_NAME if text.isprintable() else False
    return fits and "/" not in text and "\\" not in text and not text.startswith((".", "-"))


def below(folder: Path, name: str) -> Path:
    """Return what is called so in a folder, to be written in.

    Raises:
        DataError: A link of that name leads out of the folder: what is written would end up elsewhere.
    """
    path = folder / name
    if not real(path).is_relative_to(real(folder)):
        raise DataError(f"{path} is a link that leads out of {folder}; put the folder itself in its place.")
    return path


def clear_temporaries(folder: Path) -> None:
    """Remove what a process that was killed while writing has left in a folder."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Raises:
        DataError: It is no regular file, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); see whether it is the file meant."
        ) from None
