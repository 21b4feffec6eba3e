"""What a verb does about where it was started: its output, its folders, and what lies beside it."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from pathlib import Path
from typing import Any

import lensblend
from lensblend.caches import spare_folder
from lensblend.errors import LensblendError, RequestError, StorageError, printable

# What stands for signs that a terminal's encoding lacks.
_PLAIN = {"×": "x", "→": "->", "·": "|", "−": "-", "–": "-", "…": "...", "σ": "sigma", "±": "+-"}
_HANDLER = "lensblend.plain"
# Where libraries keep settings and caches, for a user who has a home folder but may not write there.
_FOLDERS = {"XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data", "MPLCONFIGDIR": "mpl"}


def settle() -> None:
    """Make a process ready to work where it was started; the first thing that a verb does.

    Output never ends the work: what the terminal's encoding lacks is written with other signs, and what nobody reads
    any more is dropped. Libraries find a folder that can be written to. The current folder has to be there.
    """
    fill_descriptors()
    codecs.register_error(_HANDLER, _in_plain_signs)
    sys.stdout = _steady(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _steady(sys.stderr, sys.__stderr__, 2)
    try:
        _check_current_folder()
        _find_folders()
    except LensblendError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        sys.exit(error.exit_code)


def safe_path() -> list[str]:
    """Return Python's option by which modules in the current folder do not stand in for others.

    Nothing where this project itself is found by the current folder alone.
    """
    with contextlib.suppress(OSError):
        if Path(lensblend.__file__).resolve().parents[1] == Path.cwd() and not sys.flags.safe_path:
            return []
    return ["-P"]


def safe_environment() -> dict[str, str]:
    """Return the variables by which all Python processes below this one leave the current folder alone too."""
    named = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    path = {"PYTHONPATH": os.pathsep.join(named)} if "PYTHONPATH" in os.environ else {}
    return {**os.environ, **path, **({"PYTHONSAFEPATH": "1"} if safe_path() else {})}


def fill_descriptors() -> None:
    """Open what was closed of standard input, output and errors on nothing, so that no file of ours takes its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free is what is opened.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    written = "".join(_PLAIN.get(s) or s.encode("ascii", "backslashreplace").decode() for s in signs)
    return written, error.end


class _Dropping(io.RawIOBase):
    """Write to a descriptor; once that fails, since the reader or the terminal is gone, drop what comes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: object) -> int:
        view = memoryview(content)  # type: ignore[arg-type]
        try:
            return os.write(self._descriptor, view)
        except BlockingIOError:
            select.select([], [self._descriptor], [])
            return self.write(view)
        except OSError:
            return view.nbytes


def _steady(stream: Any, first: Any, descriptor: int) -> Any:
    """Return the stream that stands for one of Python's own; one that somebody has put in its place stays."""
    if stream is not first:
        return stream or open(os.devnull, "w", encoding="utf-8")  # for as long as the process lives
    encoding = stream.encoding if stream else "utf-8"
    if stream:
        with contextlib.suppress(OSError):
            stream.flush()
    raw = _Dropping(descriptor)
    by_line = descriptor == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _HANDLER, line_buffering=by_line)


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise RequestError(
            f"The current folder is gone or closed to you ({error.strerror}): change to another one (cd), and repeat "
            "the command."
        ) from None


def _find_folders() -> None:
    """Let libraries find a home folder, or folders that stand for those in it."""
    home = os.path.expanduser("~")
    known = os.path.isabs(home) and os.path.isdir(home)
    if known and os.access(home, os.W_OK | os.X_OK):
        return
    try:
        spare = spare_folder()
    except StorageError:  # whatever needs one says so
        return
    if not known:
        # A library that does not find one would make a folder called `~` here.
        os.environ["HOME"] = str(spare)
        return
    for name, folder in _FOLDERS.items():
        os.environ.setdefault(name, str(spare / folder))
