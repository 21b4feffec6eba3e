"""Checkpoints on disk: written atomically, hashed, kept twice, and found again after a crash."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import torch

from lensblend.backbones.tensor_files import archive_problem
from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError
from lensblend.runs.contents import DamagedError, check_content, unreadable
from lensblend.runs.files import file_sha256
from lensblend.runs.safetensors_files import SUFFIX, holds_network, read_network
from lensblend.storage import flush, flush_folder, replace, temporary_beside, write_atomically

_HASHES = 4096  # bytes
_HASHED = 2**32  # bytes
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class _Remembering(io.RawIOBase):
    """A file that keeps the disk's error, which `torch.save` replaces by one of its own."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside its target, flush it to disk, then rename: a reader sees the old file or the new one.

    The file's SHA-256 lies beside it (``last.ckpt.sha256``, readable by ``sha256sum -c``). What ``last.ckpt`` was
    before becomes ``previous.ckpt``, so that two are kept. A process killed at any moment leaves both valid.

    Raises:
        StorageError: It could not be written; the checkpoints before are as they were.
    """
    with temporary_beside(path) as temporary:
        _write(checkpoint, temporary)
        _install(temporary, path, file_sha256(temporary))


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        remembering = _Remembering(file)
        try:
            torch.save(checkpoint, cast(IO[bytes], remembering))
        except RuntimeError:
            if remembering.error is not None:
                raise remembering.error from None
            raise
        file.flush()
        flush(file.fileno())


def hash_file(path: Path) -> Path:
    """Return the name of the file that holds a checkpoint's SHA-256."""
    return path.with_name(f"{path.name}.sha256")


def _install(temporary: Path, path: Path, digest: str) -> None:
    """Give a finished file its name; for a moment the hash file names both contents, so neither looks damaged."""
    if path.name == LAST and path.is_file():
        copy_checkpoint(path, path.with_name(PREVIOUS))
    _write_hashes(path, [digest, *known_hashes(path)])
    replace(temporary, path)
    _write_hashes(path, [digest])


def _write_hashes(path: Path, digests: Iterable[str]) -> None:
    lines = (f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests))
    write_atomically(hash_file(path), "".join(lines))


def known_hashes(path: Path) -> list[str]:
    """Return the SHA-256 that a checkpoint may have; empty where nothing lies beside it.

    Raises:
        DamagedError: What lies beside it holds no such lines.
    """
    file = hash_file(path)
    try:
        found = [line.split()[0] for line in read_text(file, _HASHES).splitlines() if line.split()]
    except FileNotFoundError:
        return []
    except DataError as error:
        raise DamagedError(f"{error} Remove it if {path.name} is whole.") from None
    if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in found):
        raise DamagedError(f"{file} is damaged: it holds no SHA-256; remove it if {path.name} is whole.")
    return found


def copy_checkpoint(source: Path, target: Path) -> None:
    """Give a checkpoint a second name; it is replaced, never written in place, so the two stay independent."""
    with temporary_beside(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            # Some file systems have no hard links.
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                flush(file.fileno())
        hashes = known_hashes(source)
        _install(temporary, target, hashes[0] if len(hashes) == 1 else file_sha256(source))


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint of this project without running anything in it.

    Args:
        path: The file; where its hash lies beside it, the two are compared first. One that `lensblend export` wrote
            as safetensors holds the hash of its weights itself.
        mmap: Leave the tensors on disk until they are used.

    Raises:
        RequestError: There is no such file.
        DataError: The file is damaged, of another origin, or of a newer format.
    """
    if not path.is_file():
        raise RequestError(f"`checkpoint` {path} does not exist; give a .ckpt file or a run's folder.")
    if path.suffix == SUFFIX:
        return read_network(path)
    wrong = archive_problem(path)
    hashes = known_hashes(path)
    # What is no archive may be hundreds of gigabytes of nothing, which need not be hashed.
    is_hashed = wrong is None or path.stat().st_size < _HASHED
    if hashes and is_hashed and file_sha256(path) not in hashes:
        raise DamagedError(f"{path} is damaged: its SHA-256 is not the one in {hash_file(path).name} beside it.")
    if wrong is not None:
        raise unreadable(path, wrong)
    # PyTorch itself opens what it maps, and takes no other names.
    is_utf8 = str(path).isascii() or os.fsdecode(str(path).encode(errors="replace")) == str(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_utf8)
    except Exception as error:  # what a damaged pickle leads to; torch's own advice would be to run it
        raise unreadable(path, str(error) or type(error).__name__) from None
    return check_content(content, path)


def is_checkpoint(path: Path) -> bool:
    """Tell whether a file is a checkpoint by its name, or one that was exported; and not the authors' own weights."""
    return path.suffix == ".ckpt" or holds_network(path)


def checkpoint_sha256(path: Path) -> str:
    """Return a checkpoint's SHA-256.

    Raises:
        DataError: It is no file that could be one.
    """
    wrong = archive_problem(path)
    if wrong is not None:
        raise unreadable(path, wrong)
    return file_sha256(path)


def newest_valid(folder: Path) -> tuple[Path | None, list[tuple[Path, DamagedError]]]:
    """Return the checkpoint of a phase that a restart goes on from, and the damaged ones.

    Of ``last.ckpt``, ``previous.ckpt`` and ``best.ckpt``, all of which hold the training's whole state, the valid one
    with the most steps.

    Raises:
        DataError: One is not of this project or of a newer format.
    """
    path, _, damaged = read_newest_valid(folder)
    return path, damaged


def read_newest_valid(folder: Path) -> tuple[Path | None, dict[str, Any], list[tuple[Path, DamagedError]]]:
    """Return what `newest_valid` does, and between the two the checkpoint's content, so that it need not be read again.

    Raises:
        DataError: One is not of this project or of a newer format.
    """
    newest: tuple[Path | None, dict[str, Any]] = (None, {})
    most = -1
    damaged = []
    for name in (LAST, PREVIOUS, BEST):
        path = folder / name
        if path.is_file():
            try:
                # The last one nearly always is the newest: of the others, only the number of steps is wanted.
                content = read_checkpoint(path, mmap=name != LAST)
                if "global_step" not in content:
                    raise DamagedError(f"{path} is damaged: it has no `global_step` to go on from.")
                if int(content["global_step"]) > most:
                    newest, most = (path, content), int(content["global_step"])
            except DamagedError as error:
                damaged.append((path, error))
    return *newest, damaged


def set_aside(path: Path) -> Path:
    """Move a damaged checkpoint out of the way, so that it is neither read again nor kept as the one before."""
    target = path.with_name(f"{path.name}.damaged")
    os.replace(path, target)
    hash_file(path).unlink(missing_ok=True)
    flush_folder(path.parent)
    return target
