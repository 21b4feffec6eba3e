"""``train.log``: what a training says, warns of and fails by, kept in its folder beside what a terminal shows."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from lensblend.errors import Interrupted, LensblendError, printable
from lensblend.runs.messages import heard_by, say
from lensblend.runs.redaction import redact

NAME = "train.log"
_STEERING = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|\r(?!\n)")


@contextmanager
def kept_log(run_dir: Path) -> Iterator[None]:
    """Append to a run's log, while the block runs, what is said, warnings, and the error that ends it.

    Each line begins with the time (UTC), holds nothing that steers a terminal and no secret, and is in the file at
    once. A log that cannot be written is told of once, and the training goes on.

    Args:
        run_dir: The run's folder.
    """
    try:
        file = _open(run_dir / NAME)
    except OSError as error:
        say(f"{run_dir / NAME} is not kept ({error.strerror or error}).")
        yield
        return
    with file, heard_by(lambda text: _write(file, text)), _warnings_in(file):
        try:
            yield
        except BaseException as error:
            _write(file, _told(error))
            raise


def _open(path: Path) -> IO[str]:
    """Open the file itself, never what a link or a pipe of that name leads to."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is a pipe or device")
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def _write(file: IO[str], text: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    plain = printable(_STEERING.sub("", redact(text)))
    lines = [f"{now} {line}\n" for line in plain.splitlines() if line.strip()]
    with contextlib.suppress(OSError, ValueError):  # a full disk ends a training by itself, if anything does
        file.write("".join(lines))
        file.flush()


@contextmanager
def _warnings_in(file: IO[str]) -> Iterator[None]:
    """Write warnings, and what libraries log as such, to a file as well."""
    shown = warnings.showwarning

    def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
        _write(file, f"{category.__name__}: {message}")
        shown(message, category, *place, **more)

    handler = _Handler(file)
    warnings.showwarning = show
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        warnings.showwarning = shown


class _Handler(logging.Handler):
    def __init__(self, file: IO[str]) -> None:
        super().__init__(logging.WARNING)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        _write(self._file, f"{record.levelname}: {record.getMessage()}")


def _told(error: BaseException) -> str:
    """Return an error as whoever reads the log needs it: its message, or where it came from."""
    if isinstance(error, SystemExit | Interrupted):
        return ""
    if isinstance(error, LensblendError):
        return str(error)
    return "".join(traceback.format_exception(error))
