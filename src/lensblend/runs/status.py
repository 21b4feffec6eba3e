"""``status.json``: where a training stands, for people, for sweeps and for a restart; and who may train there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, ClassVar

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.status_file import FINISHED, read_status
from lensblend.storage import json_text, real, write_atomically

LOCK = ".lock"
# How the system lays out what it is asked about a lock, the number of its kind in it, and how all of a file is meant.
_FLOCK, _KIND = ("qqihh", 3) if sys.platform == "darwin" else ("hhqqi", 0)


class Status:
    """The state of a training, written to its folder at every change by the first of its processes.

    Args:
        run_dir: The training's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "status.json"
        self.content: dict[str, Any] = {"state": "new", "phases": {}}
        try:
            self.content = {**self.content, **read_status(self._path)}
        except FileNotFoundError:
            pass
        except DataError as error:
            say(f"{error} It is written anew: the checkpoints say where to go on.")

    def update(self, **values: Any) -> None:
        """Set values of the training and write the file atomically.

        Raises:
            StorageError: It could not be written.
        """
        self.content.update(values, updated=datetime.now(UTC).isoformat(timespec="seconds"))
        if is_first_process():
            write_atomically(self._path, json_text(self.content) + "\n")

    def update_phase(self, phase: str, **values: Any) -> None:
        """Set values of one phase; the training's current phase becomes this one, its step the phase's."""
        phases = self.content["phases"]
        entry = phases.pop(phase, {})
        phases[phase] = {"step": 0, **entry, **values}
        self.update(phase=phase, step=phases[phase]["step"])

    def note(self, phase: str, key: str, value: Any) -> None:
        """Add to a list of values of one phase."""
        self.update_phase(phase, **{key: [*self.content["phases"].get(phase, {}).get(key, []), value]})

    def steps_saved(self, phase: str) -> int:
        """Return how many steps of a phase a checkpoint has held."""
        return int(self.content["phases"].get(phase, {}).get("step", 0))

    def state_of(self, phase: str) -> str:
        """Return how a phase stands: ``new``, ``running``, ``done``, ``stopped`` by a callback or ``pruned``."""
        return str(self.content["phases"].get(phase, {}).get("state", "new"))

    def is_finished(self, phase: str) -> bool:
        """Tell whether a phase is over, and the next one begins."""
        return self.state_of(phase) in FINISHED

    def end(self) -> str:
        """Return how the training ended that has nothing left to do: ``done``, ``stopped`` or ``pruned``."""
        if self.state_of(str(self.content.get("phase"))) == "pruned":
            return "pruned"
        return "stopped" if any(self.state_of(name) == "stopped" for name in self.content["phases"]) else "done"

    def last_finished(self) -> str | None:
        """Return the phase that was finished last."""
        over = [name for name in self.content["phases"] if self.is_finished(name)]
        return over[-1] if over else None


class Lock:
    """See to it that a folder is trained in by one process at a time; the system frees it however the process ends.

    Taken a second time by the same process, it stays taken until the first is left. A folder that it made, and in which
    nothing was written, is removed again.

    Args:
        run_dir: The training's folder.
    """

    # The system frees a file's lock when any of the process's descriptors of it is closed.
    _taken: ClassVar[set[Path]] = set()

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()
        self._file: IO[str] | None = None
        self._made: list[Path] = []

    def __enter__(self) -> Lock:
        if not is_first_process() or real(self._run_dir) in self._taken:
            return self
        self._made = [path for path in (self._run_dir, *self._run_dir.parents) if not path.exists()]
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._file = _open_lock(self._run_dir / LOCK)
        try:
            # A record lock: unlike flock's, data workers do not inherit it.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            raise RequestError(
                f"{self._run_dir} is being trained in by {holder or 'another process'}; wait for it, or give another "
                "`run_dir`."
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        self._taken.add(real(self._run_dir))
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is None:
            return
        self._taken.discard(real(self._run_dir))
        if self._made and os.listdir(self._run_dir) == [LOCK]:
            (self._run_dir / LOCK).unlink()
            with contextlib.suppress(OSError):  # somebody else has begun to write there
                for folder in self._made:
                    folder.rmdir()
        self._file.close()


def held_by(run_dir: Path) -> str | None:
    """Return who trains in a folder at this moment, as its lock says; None where nobody does, or locks are not seen.

    Args:
        run_dir: The training's folder; nothing in it is changed.
    """
    if real(run_dir) in Lock._taken:
        return "this process"
    with contextlib.suppress(OSError):
        descriptor = os.open(run_dir / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Asked for, not tried: a training that begins at this moment must not find it taken.
            asked = struct.pack(_FLOCK, *(fcntl.F_WRLCK if place == _KIND else 0 for place in range(5)))
            kind = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[_KIND]
            if kind != fcntl.F_UNLCK:
                return os.read(descriptor, 1000).decode(errors="replace").strip() or "another process"
        finally:
            os.close(descriptor)
    return None


def last_host(run_dir: Path) -> str | None:
    """Return the machine that trained in a folder last, as its lock says; None where it does not."""
    try:
        found = re.search(r" on (\S+)", read_text(run_dir / LOCK, limit=1000))
    except (OSError, DataError):
        return None
    return found[1] if found else None


def _open_lock(file: Path) -> IO[str]:
    """Open the lock's own file, never what a link or a pipe of that name leads to: its content is replaced."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise DataError(f"{file} is no file ({error.strerror}); remove it and repeat the command.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{file} is a pipe or device, not a file; remove it and repeat the command.")
    return os.fdopen(descriptor, "a+")
