"""Where half precision must not reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep matrix products and convolutions in the dtype of their operands: no autocast, no TF32, no bf16 in oneDNN.

    The TF32 and oneDNN switches belong to the whole process; they are put back on leaving. While a graph is being
    traced they stay as the user set them; autocast is off there, too. Gradients are computed later, and follow the
    user's switches.
    """
    switches: tuple[Any, ...] = ()
    if not torch.compiler.is_compiling():
        cuda, onednn = torch.backends.cuda, torch.backends.mkldnn
        switches = (cuda.matmul, torch.backends.cudnn.conv, onednn.matmul, onednn.conv)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        has_autocast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
        with torch.autocast(device.type, enabled=False) if has_autocast else nullcontext():
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
