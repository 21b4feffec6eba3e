"""Runs, and parts of runs, that are removed because somebody asks for it; and what may be asked for."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lensblend.errors import DataError, RequestError, StorageError
from lensblend.runs.folders import run_folders, size_of
from lensblend.runs.status import Lock, held_by, last_host
from lensblend.runs.status_file import FINISHED, read_status
from lensblend.storage import TEMPORARY, cannot_write, real

# What a run can do without, and what is lost with it.
SPARE = {
    "last": "last.ckpt and previous.ckpt of finished phases: what makes one longer goes on from its best.ckpt then",
    "compare": "scores and pictures that `lensblend compare` has kept: the next comparison makes them again",
    "damaged": "damaged files that were set aside",
    "temporary": "what a process that was killed while it wrote has left",
}
_OF_A_RESUME = ("last.ckpt", "previous.ckpt")


@dataclass(frozen=True)
class Spare:
    """A file or folder that a run can do without.

    Attributes:
        path: Where it lies.
        kind: A key of ``SPARE``.
        size: Bytes.
    """

    path: Path
    kind: str
    size: int


def check_run(folder: Path) -> None:
    """Refuse what must not be removed as a run.

    Raises:
        RequestError: It is no run's own folder, or holds others, or the current one, or is being trained in.
    """
    try:
        mode = os.lstat(folder).st_mode
    except OSError as error:
        raise RequestError(f"{folder}: {error.strerror}; name a run's folder, as `lensblend runs` lists it.") from None
    if stat.S_ISLNK(mode):
        raise RequestError(f"{folder} is a link to {os.readlink(folder)}; name that folder, or remove the link (rm).")
    if not stat.S_ISDIR(mode) or not any(os.path.lexists(folder / name) for name in ("status.json", ".hydra")):
        raise RequestError(f"{folder} is no run's folder: there is no status.json in it; `lensblend runs` lists runs.")
    within = [run for below in _folders(folder) for run in run_folders(below)]
    if within:
        raise RequestError(f"{folder} holds other runs, such as {within[0]}; name those that are to be removed.")
    if Path.cwd().is_relative_to(real(folder)):
        raise RequestError(f"{folder} is the current folder, or holds it; change to another one (cd).")
    if os.path.ismount(folder):
        raise RequestError(f"{folder} is where a file system is mounted; unmount it first.")
    if busy := in_use(folder):
        raise RequestError(f"{folder} is being trained in by {busy}; stop that first.")


def in_use(run_dir: Path) -> str | None:
    """Return who trains in a run's folder; where its last machine's locks are not seen here, what it says counts."""
    if holder := held_by(run_dir):
        return holder
    host = last_host(run_dir)
    try:
        says_so = read_status(run_dir / "status.json").get("state") == "running"
    except (FileNotFoundError, DataError):
        says_so = False
    if says_so and host not in (None, socket.gethostname()):
        return f"a process on {host}, as its status.json says (if it is gone: remove {run_dir / '.lock'})"
    return None


def remove_run(run_dir: Path) -> None:
    """Remove a run's folder with all that is in it; of links in it, the links alone.

    Raises:
        RequestError: It must not be removed, see `check_run`.
        StorageError: A part could not be removed.
    """
    with Lock(run_dir):  # so that no training begins in what is half gone
        if os.path.islink(run_dir):
            raise RequestError(f"{run_dir} has become a link; look at it again.")
        try:
            shutil.rmtree(run_dir)
        except OSError as error:
            raise StorageError(cannot_write(Path(str(error.filename or run_dir)), error)) from error


def spare(run_dir: Path) -> list[Spare]:
    """Return what a run can do without; nothing of one that is being trained, and nothing that links lead to."""
    if in_use(run_dir):
        return []
    found = [Spare(path, kind, size_of(path)) for kind, path in _spare(run_dir)]
    return sorted(found, key=lambda part: (list(SPARE).index(part.kind), part.path))


def _spare(run_dir: Path) -> Iterator[tuple[str, Path]]:
    try:
        phases = read_status(run_dir / "status.json").get("phases") or {}
    except (FileNotFoundError, DataError):
        phases = {}
    for folder in [run_dir, *_folders(run_dir)]:
        with os.scandir(folder) as entries:
            files = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
        is_over = folder != run_dir and (phases.get(folder.name) or {}).get("state") in FINISHED
        for name in files:
            if name.startswith(".") and name.endswith(TEMPORARY):
                yield "temporary", folder / name
            elif name.endswith(".damaged"):
                yield "damaged", folder / name
            elif is_over and "best.ckpt" in files and name.removesuffix(".sha256") in _OF_A_RESUME:
                yield "last", folder / name
    kept = run_dir / "compare"
    if kept.is_dir() and not kept.is_symlink() and "compare" not in phases:
        yield "compare", kept


def _folders(run_dir: Path) -> list[Path]:
    with os.scandir(run_dir) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def remove_spare(run_dir: Path, parts: list[Spare]) -> None:
    """Remove parts of a run that it can do without, as far as they still are.

    Raises:
        RequestError: It is being trained in.
        StorageError: One could not be removed.
    """
    with Lock(run_dir):
        still = {path for _, path in _spare(run_dir)}
        for part in parts:
            if part.path not in still:
                continue
            try:
                shutil.rmtree(part.path) if part.kind == "compare" else part.path.unlink()
            except OSError as error:
                raise StorageError(cannot_write(part.path, error)) from error
