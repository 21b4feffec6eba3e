"""Files that are either whole or not there: written beside their target, flushed to disk, then renamed."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import itertools
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lensblend.errors import LensblendError, StorageError

TEMPORARY = ".tmp"
LONGEST = 255  # bytes of a name, on nearly every file system
_PERMISSION = "you may not write there: choose another folder or change its permissions"
_IN_THE_WAY = "something of that name is in the way: move it"
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ELOOP: "links there lead in a circle: remove them",
    errno.ENAMETOOLONG: f"a name has {LONGEST} bytes at most: choose a shorter one",
}
DISK_ERRORS = tuple(_REMEDIES)
# With which spreadsheets let a formula begin.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def json_text(content: Any, indent: int | None = 2) -> str:
    r"""Return content as JSON that every parser reads: numbers that are NaN or infinite, which JSON has not, as null.

    Args:
        content: Mappings, lists, texts, numbers, truth values and None.
        indent: As of `json.dumps`.

    Example:
        >>> json_text({"psnr": float("nan"), "ssim": [0.5, float("inf")]}, indent=None)
        '{"psnr": null, "ssim": [0.5, null]}'
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    r"""Return rows as CSV in which no name is a formula: a text that spreadsheets would compute begins with ``'``.

    Args:
        rows: The head first; None is an empty cell.

    Example:
        >>> csv_text([["id", "psnr"], ["=1+1", "-3.5"], ["a,b", None]])
        'id,psnr\n\'=1+1,-3.5\n"a,b",\n'
    """
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def cell_text(cell: str) -> str:
    """Return the text that `csv_text` wrote as a cell.

    Example:
        >>> cell_text("'=1+1"), cell_text("-3.5"), cell_text("'a'")
        ('=1+1', '-3.5', "'a'")
    """
    return cell[1:] if cell.startswith("'") and _cell(cell[1:]) == cell else cell


def real(path: str | Path) -> Path:
    """Return the place that a path leads to, links followed; links that lead in a circle stay as they are."""
    return Path(os.path.realpath(path))


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing could be written, before work is done whose result would have no place.

    Args:
        folder: It may not exist yet; then what will hold it is looked at. Nothing is left behind.

    Raises:
        StorageError: It is in something that is no folder, read-only, full, or not this user's.
    """
    try:
        place = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b" ")
    except OSError as error:
        raise StorageError(cannot_write(folder, error)) from error


def write_atomically(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    r"""Replace a file by new content; a crash at any moment leaves the old content or the new, never a part.

    Args:
        path: The file; its folder is made where it is missing.
        content: Text (written as UTF-8; what of a file's name is none stands as its escape, ``\udce9``) or bytes.
        mode: Who may read it, from its first byte on, as far as the process' own mask allows.

    Raises:
        StorageError: The content could not be written; the old file is as it was.
    """
    with temporary_beside(path) as temporary:
        temporary.touch(mode, exist_ok=False)
        with temporary.open("wb") as file:
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            flush(file.fileno())
        replace(temporary, path)


def remove(path: Path) -> None:
    """Remove a file, if there is one.

    Raises:
        StorageError: It cannot be removed; it may be a folder.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(cannot_write(path, error)) from error


def new_folder(path: Path) -> Path:
    """Make a folder that nobody else has: of this name or, where that is taken, with a number after it.

    Args:
        path: The folder; those above it are made where they are missing.

    Raises:
        StorageError: It could not be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise StorageError(cannot_write(path, error)) from error
    raise AssertionError  # numbers do not end


def fitting(stem: str, end: str = "") -> str:
    """Return a name for a file or folder: where it is longer than a file system takes, its middle is a hash.

    Example:
        >>> fitting("photo", "-W0.png"), len(fitting("x" * 400, "-W0.png")), fitting("x" * 400, "-W0.png")[-16:]
        ('photo-W0.png', 255, 'bd700ce06-W0.png')
    """
    encoded, ending = os.fsencode(stem), os.fsencode(end)
    if len(encoded) + len(ending) <= LONGEST:
        return stem + end
    mark = f"-{hashlib.sha256(encoded).hexdigest()[:12]}"
    kept = encoded[: LONGEST - len(mark) - len(ending)]
    # Not within a letter: its bytes are at most four.
    whole = next(cut for cut in (kept[: len(kept) - n] for n in range(4)) if _is_cut_well(encoded, len(cut)))
    return f"{os.fsdecode(whole)}{mark}{end}"


def _is_cut_well(text: bytes, at: int) -> bool:
    return text[at] & 0b1100_0000 != 0b1000_0000


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a free name in the folder of ``path``; what lies there at the end is removed.

    What goes wrong with the disk inside is raised as one message with the path, the reason and the free space.

    Raises:
        StorageError: In place of an ``OSError``.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(fitting(f".{path.name}", f".{secrets.token_hex(4)}{TEMPORARY}"))
        yield temporary
    except LensblendError:
        raise
    except OSError as error:
        raise StorageError(cannot_write(path, error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def flush(descriptor: int) -> None:
    """Wait until a file's or a folder's content is on the disk itself."""
    os.fsync(descriptor)


def replace(temporary: Path, path: Path) -> None:
    """Give a finished file its name, and write the folder's entry to disk as well."""
    os.replace(temporary, path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Write a folder's entries to disk, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush(descriptor)
    except OSError as error:
        # Some network file systems refuse to flush a folder; the rename itself has taken place.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> str:
    """Return one message for a failed write: the path, the reason, the free space and the remedy."""
    folder = path.parent
    while not os.path.exists(folder):  # where `Path.exists` raises for a name that is too long
        folder = folder.parent
    free = f"{shutil.disk_usage(folder).free:,} bytes are free there"
    remedy = _REMEDIES.get(error.errno or 0, "see whether the disk works and is mounted")
    return f"{path} could not be written ({error.strerror or error}; {free}); {remedy}, then repeat the command."
