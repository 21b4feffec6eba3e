"""What the processes that train together agree to do between two steps."""

from __future__ import annotations

import signal
from typing import Any

import pytorch_lightning as pl
import torch

from lensblend.training.interruption import Interruption
from lensblend.training.late import Late, reads_late


class Agreement:
    """Let every process learn the largest number that any of them has asked for, all at the same step.

    On GPUs the answer comes one call late: a process that waited for it would let its GPU run dry at every step. So a
    signal, or the time to save, is heeded at most one step later there than on CPUs.
    """

    def __init__(self) -> None:
        self._awaited: Late | None = None

    def of(self, trainer: pl.Trainer, request: int) -> int:
        """Return what was asked for: at this call, or on several GPUs at the one before.

        Every process has to call this equally often.

        Args:
            trainer: Knows the other processes.
            request: What this process asks for; 0 is nothing.
        """
        if trainer.world_size == 1:
            return request
        device = trainer.strategy.root_device
        # Not `torch.tensor`: that copies the number to the device, and waits.
        shared = torch.full((), request, dtype=torch.int64, device=device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        before, self._awaited = self._awaited, Late(shared)
        if reads_late(device):
            return 0 if before is None else int(before.read())
        return int(self._awaited.read())

    def forget(self) -> None:
        """Drop what is still on its way: it was asked for before the answer that has just been acted on."""
        self._awaited = None


def take_over_signals(trainer: pl.Trainer, interruption: Interruption) -> None:
    """Take the signals back from Lightning, which has just set its own handlers, with what has arrived meanwhile.

    On several GPUs Lightning would also send its own flag around, and wait for it, at each step; from here on nobody
    sets that flag.
    """
    interruption.install()
    if trainer.world_size == 1 or not reads_late(trainer.strategy.root_device):
        return
    if trainer.received_sigterm:
        interruption.received = interruption.received or signal.SIGTERM
        trainer._signal_connector.received_sigterm = False
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None
