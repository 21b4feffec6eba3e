"""Signals that ask work to stop."""

from __future__ import annotations

import signal

# SIGUSR1 is SLURM's warning; SIGHUP says that the terminal was closed or the connection to it lost.
STOPS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP") if hasattr(signal, name))


def heeded() -> tuple[signal.Signals, ...]:
    """Return the signals that this process is to stop for: all but a SIGHUP that ``nohup`` has it ignore."""
    return tuple(n for n in STOPS if n.name != "SIGHUP" or signal.getsignal(n) is not signal.SIG_IGN)
