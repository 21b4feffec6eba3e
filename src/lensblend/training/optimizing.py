"""Whether an optimizer, its groups and its scheduler can be built and take a step, tried on two small weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lensblend.errors import LensblendError, RequestError
from lensblend.runs.instantiate import build
from lensblend.runs.roles import OPTIMIZER
from lensblend.training.failures import first_line
from lensblend.training.parameter_groups import check_group
from lensblend.training.phases import Phase
from lensblend.training.schedulers import scheduler_of


def check_optimizing(phase: Phase, where: str, higher_is_better: bool) -> None:
    """Refuse a phase's optimizer, groups or scheduler that could not be built, or could not take a step.

    Args:
        phase: The phase.
        where: Its key, for messages.
        higher_is_better: Of the score that it monitors.

    Raises:
        RequestError: They could not.
    """
    if "lr" in phase.optimizer:
        raise RequestError(f"`{where}.optimizer.lr` is set by `{where}.lr`; leave it out.")
    optimizer = try_optimizer({**phase.optimizer, "_partial_": True, "lr": phase.lr}, f"{where}.optimizer")
    for name, group in (phase.groups or {}).items():
        try:
            check_group(name, group, optimizer.defaults)
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None
    place = f"{where}.scheduler"
    builds, interval = scheduler_of(phase, higher_is_better, place)
    if builds is None or phase.scheduler is None:
        return
    with _Explained(place, phase.scheduler), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = builds(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            if interval == "step":
                raise RequestError(
                    f"`{place}.interval` is step, but ReduceLROnPlateau looks at a validation's score; use epoch."
                )
            scheduler.step(0.0)
        else:
            scheduler.step()


def try_optimizer(node: Mapping[str, Any], where: str) -> torch.optim.Optimizer:
    """Return an optimizer after a step with it, on weights as convolutions have them.

    Raises:
        RequestError: It cannot be built, or cannot take a step.
    """
    kernel = torch.ones(2, 3, 3, 3).to(memory_format=torch.channels_last)
    weights = [nn.Parameter(kernel), nn.Parameter(torch.ones(2))]
    build_optimizer = build(node, where, OPTIMIZER)
    with _Explained(where, node):
        optimizer: torch.optim.Optimizer = build_optimizer(weights)

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            total = torch.stack([weight.square().sum() for weight in weights]).sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(loss)  # type: ignore[arg-type]
    return optimizer


class _Explained:
    """Turn whatever a value leads to within PyTorch into a refusal."""

    def __init__(self, where: str, node: Mapping[str, Any]) -> None:
        self._where, self._target = where, node["_target_"]

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, LensblendError):
            raise RequestError(
                f"`{self._where}` is {self._target}, which cannot train a network so: {first_line(error)}"
            ) from error
