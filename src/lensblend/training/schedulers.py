"""The learning rate of a phase as its configuration says it: a path of ours, or a scheduler of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from lensblend.errors import one_of
from lensblend.runs.instantiate import build, classes_in
from lensblend.runs.roles import SCHEDULER
from lensblend.training.learning_rate import Extension, LearningRate
from lensblend.training.phases import Phase

INTERVALS = ("epoch", "step")


def scheduler_of(
    phase: Phase, higher_is_better: bool, where: str = "scheduler"
) -> tuple[Callable[[Any], Any] | None, str]:
    """Return what builds a phase's scheduler from an optimizer, if it has one, and when that takes a step.

    Args:
        phase: Whose ``monitor`` `ReduceLROnPlateau` looks at.
        higher_is_better: Whether the larger of two values of it is the better one: the ``mode`` where none is given.
        where: Its key, for messages.

    Raises:
        RequestError: It is none of ``torch.optim.lr_scheduler``, has wrong arguments or another interval.
    """
    if not phase.scheduler:
        return None, "step"
    node = {"_partial_": True, **phase.scheduler}
    interval = str(one_of(f"{where}.interval", node.pop("interval", INTERVALS[0]), INTERVALS))
    kind = next(classes_in(node, where, SCHEDULER))
    if issubclass(kind, ReduceLROnPlateau):
        node.setdefault("mode", "max" if higher_is_better else "min")
    builds: Callable[[Any], Any] = build(node, where, SCHEDULER)
    return builds, interval


def learning_rate(phase: Phase, higher_is_better: bool, extensions: tuple[Extension, ...]) -> LearningRate:
    """Return the way of a phase's learning rate.

    Args:
        phase: The phase.
        higher_is_better: Whether the larger of two values of its ``monitor`` is the better one.
        extensions: What its length was before, in order.
    """
    scheduler, interval = scheduler_of(phase, higher_is_better)
    return LearningRate(
        path=phase.lr_path,
        ratio=phase.lr_final / phase.lr,
        every=phase.lr_every,
        warmup=float(phase.warmup or 0),
        length=phase.length,
        extensions=extensions,
        scheduler=scheduler,
        interval=interval,
        monitor=phase.monitor,
    )
