"""What a training says to the person who started it, and which of several processes says it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lensblend.errors import printable

# By what launchers tell a process its place; the first that is set counts.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")

# By what they tell it of processes that all started at once: its number and how many they are.
_PLACES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))

_keepers: list[Callable[[str], None]] = []


def share() -> tuple[int, int]:
    """Return this process's number among those that were started at once to train together, and how many they are.

    One that starts the others itself is still alone, and those that it starts come later: both are 0 of 1.
    """
    for names in _PLACES:
        if all(os.environ.get(name) for name in names):
            rank, count = (int(os.environ[name]) for name in names)
            return rank, count
    return 0, 1


def is_first_process() -> bool:
    """Tell whether this process writes files and speaks, among several that train together.

    Once they have joined, PyTorch knows; before, the environment does. A machine that was told only ``NODE_RANK`` is
    not the first, although its first process has no rank yet.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    if int(os.environ.get("NODE_RANK") or os.environ.get("GROUP_RANK") or 0) > 0:
        return False
    return int(next((os.environ[name] for name in _RANKS if os.environ.get(name)), 0)) == 0


def say(text: str) -> None:
    """Print a line at once, from the first of several processes only."""
    if is_first_process():
        print(printable(text), flush=True)
        note(text)


def note(text: str) -> None:
    """Tell whoever keeps what this process says, and print nothing: where a terminal shows the same in another way."""
    for keep in _keepers:
        keep(text)


@contextmanager
def heard_by(keep: Callable[[str], None]) -> Iterator[None]:
    """Hand on, while the block runs, what is said."""
    _keepers.append(keep)
    try:
        yield
    finally:
        _keepers.remove(keep)
