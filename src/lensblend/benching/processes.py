"""A process of its own for each thing that is measured: its memory, its caches and its crash are its own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from lensblend.errors import DataError, LensblendError

AnswerT = TypeVar("AnswerT")
# Where what engines export and compile is kept.
_CACHES = ("LENSBLEND_CACHE", "TORCHINDUCTOR_CACHE_DIR")


def in_own_process(function: Callable[..., AnswerT], *arguments: object) -> AnswerT:
    """Call a function in a fresh process whose caches are empty, and return what it returns.

    Args:
        function: Of a module, so that the process finds it by its name. What it prints goes to standard error.
        arguments: Of the function.

    Raises:
        DataError: The function raised an error, whose first line is the message, or its process was killed.

    Example:
        >>> in_own_process(abs, -3)
        3
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="lensblend-") as caches:
        process = context.Process(target=_answer, args=(sender, caches, function, *arguments))
        process.start()
        sender.close()
        try:
            answer, reason = receiver.recv()
        except EOFError:
            process.join()
            raise DataError(_killed(process.exitcode or 0)) from None
        finally:
            process.join(1)
            process.terminate()
            process.join()
    if reason is not None:
        raise DataError(reason)
    return answer


def _answer(sender: Connection, caches: str, function: Callable[..., Any], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one ends this one
    os.dup2(2, 1)
    for name in _CACHES:
        os.environ[name] = str(Path(caches) / name.lower())
    try:
        sender.send((function(*arguments), None))
    except LensblendError as error:
        sender.send((None, str(error)))
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        sender.send((None, f"{type(error).__name__}: {line}" if line else type(error).__name__))


def _killed(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as systems do when memory runs out; try smaller photos or batches"
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"its process ended {how} before it had an answer"


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held at once, its libraries included."""
    status = Path("/proc/self/status")
    if status.is_file():
        # `ru_maxrss` may also be that of the process which started this one.
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
