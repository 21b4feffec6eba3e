"""How several processes share a training, as a node of ``trainer.strategy``."""

from __future__ import annotations

import math
from datetime import timedelta

from pytorch_lightning.strategies import DDPStrategy

from lensblend.errors import RequestError


class DDP(DDPStrategy):
    """Give each process its own part of every batch, and average gradients while they are computed.

    Lightning's strategy, with the arguments of PyTorch's `DistributedDataParallel` that people set, by their names and
    types; ``trainer.strategy=ddp`` is Lightning's own with PyTorch's defaults.

    Args:
        find_unused_parameters: Whether a step may leave weights without gradients.
        gradient_as_bucket_view: Keep gradients in the memory in which they are averaged: as many bytes less as the
            weights have, and the same numbers.
        static_graph: Whether every step computes the same parts.
        timeout: Seconds that a process waits for the others.

    Raises:
        RequestError: The timeout is no time.
    """

    def __init__(
        self,
        find_unused_parameters: bool = False,
        gradient_as_bucket_view: bool = True,
        static_graph: bool = False,
        timeout: float | int = 1800,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise RequestError(f"`trainer.strategy.timeout` is a number of seconds above 0, but got {timeout}.")
        super().__init__(
            timeout=timedelta(seconds=timeout),
            find_unused_parameters=find_unused_parameters,
            gradient_as_bucket_view=gradient_as_bucket_view,
            static_graph=static_graph,
        )
