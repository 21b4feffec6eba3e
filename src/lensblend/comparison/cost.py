"""What a network costs where it runs: seconds of its own forward pass, and multiply-accumulates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.inference.rendering import device_of


@dataclass
class Cost:
    """What was measured of a network while it rendered, see `metered`.

    Attributes:
        passes: Seconds of each forward pass, in their order.
        macs: Multiply-accumulates of the first one; None before it.
    """

    passes: list[float] = field(default_factory=list)
    macs: int | None = None

    @property
    def seconds(self) -> float:
        """Median seconds of a forward pass; the first, which warms up, counts only where there is no other.

        Raises:
            RequestError: There was none.

        Example:
            >>> Cost([9.0, 1.0, 2.0, 6.0]).seconds
            2.0
        """
        if not self.passes:
            raise RequestError("Nothing was rendered, so that nothing is known of its cost; render a photo first.")
        return median(self.passes[1:] or self.passes)


@contextmanager
def metered(network: nn.Module) -> Iterator[Cost]:
    """Measure a network's forward passes while the block runs.

    The clock runs from where the network's own pass begins until its device has finished it: reading files, resizing
    the photo and taking it to the device are outside. After the first pass, and outside the clock, the same pass is
    done once more to count its multiply-accumulates, as `count_macs` does.

    Args:
        network: In evaluation mode, on its device.

    Example:
        >>> network = nn.Conv2d(3, 8, 1)
        >>> with metered(network) as cost:
        ...     _ = network(torch.rand(1, 3, 4, 5))
        >>> cost.macs, len(cost.passes), cost.seconds > 0
        (480, 1, True)
    """
    cost, device = Cost(), device_of(network)
    begin = 0.0

    def start(_: nn.Module, __: Any) -> None:
        nonlocal begin
        finish(device)
        begin = time.perf_counter()

    def stop(module: nn.Module, args: Any, kwargs: dict[str, Any], _: Any) -> None:
        finish(device)
        cost.passes.append(time.perf_counter() - begin)
        if cost.macs is None:
            cost.macs = count_macs(module, *args, **kwargs)

    handles = [network.register_forward_pre_hook(start), network.register_forward_hook(stop, with_kwargs=True)]
    try:
        yield cost
    finally:
        for handle in handles:
            handle.remove()


def count_macs(network: nn.Module, *args: Any, **kwargs: Any) -> int:
    """Return the multiply-accumulates of one forward pass: half the operations that PyTorch's `FlopCounterMode` counts.

    These are of convolutions, matrix products and attention, those of the blurs by banded matrices among them, zeros of
    a band included. Nothing is counted for Fourier transforms, resizing, pooling, normalisation, activations and other
    operations value by value.

    Args:
        network: In evaluation mode.
        args: What its ``forward`` takes.
        kwargs: The same, by name.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), torch.rand(1, 3, 4, 5))
        4320
    """
    # Not in inference mode, where PyTorch 2.13 counts no network with parametrised weights: it finds no such weight.
    with torch.inference_mode(mode=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.forward(*args, **kwargs)
    return counter.get_total_flops() // 2


def hardware(device: torch.device) -> str:
    """Return what a device is, as tables name it: a GPU's own name, or how many threads the CPU computes with.

    Example:
        >>> hardware(torch.device("cpu")).startswith("CPU, ")
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else device.type


def finish(device: torch.device) -> None:
    """Wait until a device has done what it was given: a GPU returns before it has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
