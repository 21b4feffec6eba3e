"""Folders for what can be made again: where they lie, and what stands in for one that this user cannot use."""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lensblend.errors import RequestError, StorageError, printable

T = TypeVar("T")
VARIABLE = "LENSBLEND_CACHE"
_said: set[Path] = set()


def cache_folder(kind: str) -> Path:
    """Return where this machine keeps one kind of thing.

    That is in ``$LENSBLEND_CACHE``, by default ``~/.cache/lensblend``; for a user who has no home folder, or may not
    write there, in `spare_folder`.

    Args:
        kind: A folder's name, such as ``weights``; the folder may not exist yet.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return expanded(named) / kind
    usual = Path(os.path.expanduser("~")) / ".cache" / "lensblend"
    usable = usual.is_absolute() and not _problem(usual / kind)
    return (usual if usable else spare_folder()) / kind


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with its ``~`` replaced by the home folder.

    Raises:
        RequestError: Nobody knows where that is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise RequestError(
            f"`{os.fspath(path)}`: which folder `~` is cannot be found out for this user; write the whole path, or set "
            "HOME."
        ) from None


@functools.cache
def spare_folder() -> Path:
    """Return a folder among the temporary files that is this user's alone.

    Its name is the same for every process, unless somebody else has taken it.

    Raises:
        StorageError: Nothing temporary can be written on this machine.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"lensblend-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        is_own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o022
        return folder if is_own else Path(tempfile.mkdtemp(prefix="lensblend-"))
    except FileExistsError:  # a file of that name
        return Path(tempfile.mkdtemp(prefix="lensblend-"))
    except OSError as error:
        raise StorageError(
            f"There is no folder for temporary files ({error.strerror or error}): set TMPDIR, or {VARIABLE}, to a "
            "folder that you may write to."
        ) from None


class Cache:
    """A folder of entries that are made again where they are missing.

    Where this user cannot write there, or cannot read what another user has put there, new entries go to a folder in
    `spare_folder`; that is said once, when the cache is opened, and what can be read of the others' is.

    Args:
        base: The cache's folder.
        part: Name of a folder in it that tells, by a hash, what its entries were made of.

    Attributes:
        folder: Where entries are written.
    """

    def __init__(self, base: Path, part: str) -> None:
        self.folder = base / part
        self._folders = [self.folder]
        problem = _problem(self.folder)
        if problem:
            try:
                self.folder = spare_folder() / part
            except StorageError:
                _say_once(base, f"{problem}: what is missing there is made again each time")
                return
            self._folders.insert(0, self.folder)
            _say_once(base, f"{problem}: what is missing there is kept in {self.folder}")

    def read(self, reader: Callable[[Path], T | None]) -> T | None:
        """Return what a function finds in one of the folders, the one that is written to first."""
        return next((found for folder in self._folders if (found := reader(folder)) is not None), None)


def _problem(folder: Path) -> str:
    """Return what keeps this user from using a cache's folder; empty where nothing does."""
    existing = folder
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.path.isdir(existing):
        return f"{existing} is no folder"
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        return f"{existing} may not be written to by this user"
    try:
        entries = os.listdir(folder) if existing == folder else []
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror})"
    locked = next((name for name in entries if not os.access(folder / name, os.R_OK)), None)
    return f"{folder / locked} may not be read by this user" if locked else ""


def _say_once(base: Path, what: str) -> None:
    if base in _said or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    _said.add(base)
    sys.stderr.write(f"{printable(what)}. {VARIABLE}=DIR names another folder for all caches.\n")
