"""A process that has imported what the next job needs, so that the job begins at once when its turn comes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

MODULE = "lensblend.cli.standby"
# Verbs whose imports it has.
_VERBS = ("lensblend.cli.train",)


class Standby:
    """At most one process that waits, and becomes one job: every job is a process of its own."""

    def __init__(self) -> None:
        self._waiting: subprocess.Popen[bytes] | None = None

    def prepare(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process for the job that is next, unless one waits or the job's is no command that can be prepared.

        Args:
            command: The job's.
            environment: Which it is to have when it starts; GPUs and what a launcher adds may be said later.
        """
        place = _place(command)
        if place is None or (self._waiting is not None and self._waiting.poll() is None):
            return
        with contextlib.suppress(OSError):
            self._waiting = subprocess.Popen(
                [*command[:place], MODULE], env=dict(environment), stdin=subprocess.PIPE, process_group=0
            )

    def take(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path | None
    ) -> subprocess.Popen[bytes] | None:
        """Let the waiting process become a job; None where there is none that can.

        Args:
            command: The job's.
            environment: The job's.
            log: What it writes to; None writes to this process's output.
        """
        place, process, self._waiting = _place(command), self._waiting, None
        if place is None or process is None or process.stdin is None:
            return None
        asked = {"module": command[place], "arguments": command[place + 1 :], "environment": dict(environment)}
        try:
            process.stdin.write(json.dumps({**asked, "log": log and str(log)}).encode() + b"\n")
            process.stdin.close()
        except OSError:  # it has ended
            self._end(process)
            return None
        return process

    def close(self) -> None:
        """End what waits."""
        process, self._waiting = self._waiting, None
        if process is not None:
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()


def _place(command: Sequence[str]) -> int | None:
    """Return where a command names its module, if that is one whose imports a process can have."""
    place = command.index("-m") + 1 if "-m" in command else len(command)
    return place if place < len(command) and command[place] in _VERBS else None
