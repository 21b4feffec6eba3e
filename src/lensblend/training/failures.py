"""Turn what PyTorch and Lightning raise into one message with advice, where there is any to give."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from lensblend.errors import DataError, LensblendError, RequestError, StorageError, TrainingError
from lensblend.training.phases import Phase

_NO_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory"),
    *("could not create a primitive", "could not create a memory"),  # so oneDNN says it
)
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?([\d, ]+)\) (.*)")


def explain_failure(error: BaseException, name: str, phase: Phase) -> BaseException:
    """Return the error that a user can act on, or the same one.

    Args:
        error: What ended the phase.
        name: The phase.
        phase: Its image size and batch, for the advice.
    """
    if isinstance(error, LensblendError):
        return error
    for link in _chain(error):
        explained = _explain(link, name, phase)
        if explained is not None:
            return explained
    if isinstance(error, OSError) and error.filename is not None:
        return StorageError(f"{name}: {error.strerror or error}: {error.filename}; see whether the disk works.")
    return error


def explain_refusal(error: BaseException, name: str) -> RequestError | None:
    """Return the error for a configuration that Lightning refuses only while it fits; None for any other error.

    Args:
        error: What ended the phase.
        name: The phase.
    """
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    by_lightning = bool(frames) and frames[-1].partition(".")[0] in ("pytorch_lightning", "lightning_fabric")
    if isinstance(error, MisconfigurationException) or by_lightning:
        return RequestError(f"{name}: Lightning cannot train so: {' '.join(str(error).split())[:300]}")
    return None


def explain_restart(error: BaseException, checkpoint: Path) -> DataError:
    """Return the error for a training that could not take a step from where it had stopped.

    Args:
        error: What PyTorch or Lightning raised.
        checkpoint: What training went on from.
    """
    return DataError(
        f"{checkpoint} cannot be gone on from ({type(error).__name__}: {first_line(error)}); it may be damaged, or of "
        f"other versions. Put another copy in its place, or remove {checkpoint.parent} to train this phase from its "
        "start."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from.

    PyTorch reports a dead worker from a signal handler, in the midst of anything: code that catches every exception
    there, as `inspect` does, hands on one of its own.
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain(error: BaseException, name: str, phase: Phase) -> LensblendError | None:
    text = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(part in text for part in _NO_MEMORY):
        height, width = phase.image_size
        return TrainingError(
            f"{name} ran out of memory at batch {phase.batch_size} and {height}×{width} "
            f"({text.splitlines()[0] if text else 'no further word'}). Try, in this order: a smaller batch with "
            f"accumulation (schedule.phases.{name}.batch_size={max(phase.batch_size // 2, 1)} "
            "+trainer.accumulate_grad_batches=2), half precision on a GPU (trainer=gpu), smaller images "
            f"(schedule.phases.{name}.image_size=[{height // 2},{width // 2}]), fewer workers (loader.num_workers=0)."
        )
    dead = _DEAD_WORKER.search(text)
    if dead:
        return TrainingError(
            f"{name}: data worker {dead[1].strip(', ')} died ({dead[2].rstrip('. ')}). Most often it was "
            "out of memory: use fewer (loader.num_workers=0 reads in the training process and shows the error), or "
            "give the container more shared memory. The same command goes on from the last checkpoint."
        )
    return None
