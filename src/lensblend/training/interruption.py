"""Signals that ask a training to stop: remembered until the step is finished and saved."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lensblend.errors import Interrupted
from lensblend.runs.signals import STOPS, heeded

_LOOK_FOR_PARENT = 2.0  # seconds


class Interruption:
    """Catch SIGTERM, SIGUSR1 (SLURM's warning), SIGINT (Ctrl-C) and SIGHUP (a closed terminal) while a training runs.

    Within `deferred` a signal is remembered, so that the training can finish its step, save, and raise `Interrupted`
    itself; elsewhere `Interrupted` is raised where the signal arrives. A second SIGINT always raises at once. Signals
    reach the main thread only: elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._ctrl_c = 0
        self._is_deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in heeded()}
            self.install()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def install(self) -> None:
        """Take the signals, also back from Lightning, whose own handler saves nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Remember signals instead of raising; what came meanwhile stays for `check`."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def check(self) -> None:
        """Raise `Interrupted` if a signal has been remembered."""
        if self.received is not None:
            raise Interrupted(signal.Signals(self.received).name, saved=True)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self._ctrl_c += number == signal.SIGINT
        if self._ctrl_c > 1:
            raise Interrupted(name)
        if self.received is None:
            self.received = number
            if not self._is_deferred:
                raise Interrupted(name)
            again = "; once more stops at once" if number == signal.SIGINT else ""
            with contextlib.suppress(OSError):  # the terminal may be what is gone
                # Not print(): the signal may have come in the middle of one.
                os.write(2, f"\n{name}: saving after this step{again}\n".encode())


def leave_signals_to_parent(worker: int) -> None:
    """Let a data worker outlive every signal but its parent's SIGTERM; the training ends it in good order.

    Ctrl-C and a cluster's signals reach all processes of a job at once; a worker that died of them would take the
    step with it that is to be saved. However workers are started, one whose training was killed ends as well.

    Args:
        worker: The worker's number, as `torch.utils.data.DataLoader` gives it.
    """
    for number in STOPS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        # Only a waiting thread learns who sent a signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Not os.getppid(): that may be the server that forked this process, which lives as long as its last worker does.
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        received = signal.sigtimedwait({signal.SIGTERM}, _LOOK_FOR_PARENT)
        if received is not None and received.si_pid == parent.pid:
            break
    os._exit(0)
