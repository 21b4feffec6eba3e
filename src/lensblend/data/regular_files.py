"""Read files of bounded size; a pipe, a device or a file that is far too long is refused before it is read."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from lensblend.errors import DataError

TEXT_LIMIT = 16 * 2**20  # bytes of a list, a table or a status


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises:
        FileNotFoundError: There is nothing of that name.
        DataError: It is something else, or cannot be read; with path and remedy in one line.

    Example:
        >>> open_regular("/dev/null")
        Traceback (most recent call last):
        lensblend.errors.DataError: `/dev/null` is a pipe or device, not a file; name a file.
    """
    try:
        # A pipe that nobody writes to would otherwise be waited for already here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"`{path}` cannot be read ({reason}); check its name and its permissions.") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "folder" if stat.S_ISDIR(mode) else "pipe or device"
        raise DataError(f"`{path}` is a {kind}, not a file; name a file.")
    return os.fdopen(descriptor, "rb")


def read_text(path: str | Path, limit: int = TEXT_LIMIT) -> str:
    """Read a text in UTF-8, with or without a mark of it at its start.

    Args:
        path: A regular file.
        limit: Bytes that it has at most.

    Raises:
        FileNotFoundError: There is nothing of that name.
        DataError: It is no regular file, no text, or longer; with path and remedy in one line.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"`{path}` is longer than {limit:,} bytes, which is too long for what it should be.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"`{path}` is no text in UTF-8 ({error.reason} at byte {error.start}); replace it.") from None
