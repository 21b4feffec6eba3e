"""How many pairs a process takes at once, and how many processes take a step together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.accelerators import MPSAccelerator

from lensblend.errors import RequestError
from lensblend.runs.processes import machines, processes


def batch_of_process(batch_size: int, trainer: Mapping[str, Any], where: str = "batch_size") -> int:
    """Return how many pairs a process takes at once.

    Args:
        batch_size: A phase's: of a process, or with ``trainer.global_batch`` of a whole step of the optimizer.
        trainer: The configuration's ``trainer``.
        where: Its key, for messages.

    Raises:
        RequestError: Of a whole step, and it cannot be shared evenly.

    Example:
        >>> batch_of_process(8, {"accelerator": "cpu", "devices": 2, "global_batch": True})
        4
    """
    if not trainer.get("global_batch"):
        return batch_size
    together, times = processes_together(trainer), int(trainer.get("accumulate_grad_batches") or 1)
    if batch_size % (together * times):
        several = f"{together} process{'es' if together > 1 else ''}"
        by = f"{several} × {times} accumulated" if times > 1 else several
        raise RequestError(
            f"`{where}` is {batch_size}, of a whole step because of `trainer.global_batch=true`, and cannot be shared "
            f"by {by}; use a multiple of {together * times}, or trainer.global_batch=false."
        )
    return batch_size // (together * times)


def kind_of_device(trainer: Mapping[str, Any]) -> str:
    """Return what Lightning takes: ``GPU``, ``CPU``, or the name of another accelerator in capitals."""
    accelerator = str(trainer.get("accelerator") or "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "GPU"
    if accelerator in ("auto", "gpu", "mps") and MPSAccelerator.is_available():
        return "MPS"
    return "CPU" if accelerator == "auto" else accelerator.upper()


def processes_together(trainer: Mapping[str, Any]) -> int:
    """Return how many processes train together, on all machines."""
    each = processes(trainer)
    if each is None:
        each = torch.cuda.device_count() if kind_of_device(trainer) == "GPU" else 1
    return each * machines(trainer)
