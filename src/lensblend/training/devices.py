"""Where this process of a training computes, before Lightning has built its trainer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.accelerators import CUDAAccelerator

from lensblend.errors import RequestError
from lensblend.training.failures import first_line

# By what launchers tell a process its place on its machine; the first that is set counts.
_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID")


def device_of_process(trainer: Mapping[str, Any]) -> torch.device:
    """Return the device that a process of a training will have: of GPUs, the one of its place on its machine.

    Args:
        trainer: The configuration's ``trainer``.

    Raises:
        RequestError: There are no such GPUs.
    """
    if trainer.get("accelerator", "auto") not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return torch.device("cpu")
    gpus = gpus_of_training(trainer) or [0]
    local = int(next((os.environ[name] for name in _LOCAL_RANKS if os.environ.get(name)), 0))
    return torch.device("cuda", gpus[local % len(gpus)])


def gpus_of_training(trainer: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the GPUs of this machine that a training uses; none where it computes elsewhere.

    Args:
        trainer: The configuration's ``trainer``.

    Raises:
        RequestError: There are no such GPUs.
    """
    if trainer.get("accelerator", "auto") not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return []
    devices = trainer.get("devices", "auto")
    try:
        return list(CUDAAccelerator.parse_devices(-1 if devices in ("auto", None) else devices) or [])
    except Exception as error:  # Lightning refuses values in a dozen ways
        raise RequestError(f"`trainer.devices` was refused by Lightning: {first_line(error)}") from error
