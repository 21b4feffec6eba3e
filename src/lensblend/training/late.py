"""Numbers that are read a step late, so that the processor prepares the next step while the device computes."""

from __future__ import annotations

import torch
from torch import Tensor


def reads_late(device: torch.device) -> bool:
    """Tell whether asking a device for a number makes the processor wait for all that the device still has to do."""
    return device.type == "cuda"


class Late:
    """A number on its way from the device; it is waited for only when it is read.

    Args:
        value: A tensor of one element, which is not changed any more.

    Example:
        >>> Late(torch.tensor(3)).read()
        3
    """

    def __init__(self, value: Tensor) -> None:
        # Not blocking, PyTorch copies into pinned memory, which may be read only after the event.
        self._value = value.detach().to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if value.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(value.device))

    def read(self) -> int | float:
        """Return the number."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._value.item()
