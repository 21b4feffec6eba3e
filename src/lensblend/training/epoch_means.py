"""Means over an epoch, for trainings whose epochs are too short to show every so many steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

STATE = "epoch_means"


class EpochMeans:
    """Means of what the batches of an epoch gave so far; values that are NaN or infinite are left out.

    A training that goes on within an epoch has the same means as one that was not stopped.

    Example:
        >>> means = EpochMeans()
        >>> _ = means.add({"loss": torch.tensor(1.0)}, 2)
        >>> float(means.add({"loss": torch.tensor(4.0)}, 1)["loss"])
        2.0
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Start a new epoch."""
        self._sums, self._counts = {}, {}

    def add(self, values: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Take up the values of a batch of so many pairs; return the means so far, of the same names."""
        means = {}
        for name, value in values.items():
            value = value.detach().float()
            known = value.isfinite()
            zero = torch.zeros_like(value)
            self._sums[name] = self._sums.get(name, zero).to(value) + torch.where(known, value * count, zero)
            self._counts[name] = self._counts.get(name, zero).to(value) + known * count
            counted = self._counts[name]
            means[name] = torch.where(counted > 0, self._sums[name] / counted.clamp(min=1), value)
        return means

    def state(self) -> dict[str, list[float]]:
        """Return what a checkpoint keeps: by name, the sum and the number of pairs."""
        return {name: [float(self._sums[name]), float(self._counts[name])] for name in self._sums}

    def restore(self, state: Any) -> None:
        """Take up what a checkpoint kept; what is not of that kind is passed over."""
        self.begin()
        for name, kept in state.items() if isinstance(state, Mapping) else ():
            numbers = isinstance(kept, list) and all(isinstance(n, float) and math.isfinite(n) for n in kept)
            if numbers and len(kept) == 2 and kept[1] >= 0:
                self._sums[str(name)], self._counts[str(name)] = (torch.tensor(number) for number in kept)
