"""Files that are either whole or not there: written beside their target, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lensblend.errors import LensblendError, StorageError

TEMPORARY = ".tmp"
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
}
DISK_ERRORS = tuple(_REMEDIES)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file by new content; a crash at any moment leaves the old content or the new, never a part.

    Args:
        path: The file; its folder is made where it is missing.
        content: Text (written as UTF-8) or bytes.

    Raises:
        StorageError: The content could not be written; the old file is as it was.
    """
    with temporary_beside(path) as temporary:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
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
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
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
    while not folder.exists():
        folder = folder.parent
    free = f"{shutil.disk_usage(folder).free:,} bytes are free there"
    remedy = _REMEDIES.get(error.errno or 0, "see whether the disk works and is mounted")
    return f"{path} could not be written ({error.strerror or error}; {free}); {remedy}, then repeat the command."
