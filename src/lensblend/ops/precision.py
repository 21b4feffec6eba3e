"""Where half precision must not reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep matrix products in the dtype of their operands: no autocast, no TF32, no bf16 inside oneDNN.

    The TF32 and oneDNN switches belong to the whole process; they are put back on leaving. While a graph is being
    traced they stay as the user set them.
    """
    if torch.compiler.is_compiling() or not torch.amp.is_autocast_available(device.type):
        yield
        return
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def at_least_float32(tensor: Tensor) -> Tensor:
    """Raise half precision to float32, and leave float32 and float64 as they are.

    Example:
        >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
