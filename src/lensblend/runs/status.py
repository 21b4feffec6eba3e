"""``status.json``: where a training stands, for people, for sweeps and for a restart; and who may train there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.status_file import FINISHED, read_status
from lensblend.storage import write_atomically


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
            write_atomically(self._path, json.dumps(self.content, indent=2) + "\n")

    def update_phase(self, phase: str, **values: Any) -> None:
        """Set values of one phase; the training's current phase becomes this one, its step the phase's."""
        phases = self.content["phases"]
        entry = phases.pop(phase, {})
        phases[phase] = {"step": 0, **entry, **values}
        self.update(phase=phase, step=phases[phase]["step"])

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

    Args:
        run_dir: The training's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._file: IO[str] | None = None

    def __enter__(self) -> Lock:
        if not is_first_process():
            return self
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._file = _open_lock(self._run_dir / ".lock")
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
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


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
