"""Verbs that a verb runs as processes of their own, as a user would."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lensblend.cli.surroundings import safe_path
from lensblend.errors import Interrupted, LensblendError
from lensblend.runs.signals import heeded


def run_child(verb: str, *arguments: str, stdout: int | None = None) -> int:
    """Run a verb, leave it the time to end in good order when a signal arrives, and return its exit code.

    Args:
        verb: Its name.
        arguments: Its command line.
        stdout: Descriptor that its output goes to; None for this process's own.
    """
    command = [sys.executable, *safe_path(), "-m", f"lensblend.cli.{verb}", *arguments]
    process = subprocess.Popen(command, stdout=stdout)

    def hand_on(number: int, _: object) -> None:
        if number != signal.SIGINT:  # Ctrl-C reaches the verb by itself
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in heeded()}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """End this process, while the block runs, with the exit code of a signal after what is open has been closed."""

    def stop(_: int, __: object) -> None:
        sys.exit(Interrupted.exit_code)

    before = {number: signal.signal(number, stop) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended(message: str, code: int) -> LensblendError:
    """Return an error by which this process ends as the verb did."""
    error = LensblendError(message)
    error.exit_code = code if code > 0 else 1
    return error
