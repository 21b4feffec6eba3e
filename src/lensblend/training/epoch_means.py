"""Means over an epoch's batches: of what a training's steps found, and of a validation's losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

STATE = "epoch_means"


class EpochMeans:
    """Means of what the batches of an epoch gave so far; values that are NaN or infinite are left out.

    A training that goes on within an epoch has the same means as one that was not stopped. Nothing waits for a GPU
    before a number is read.

    Args:
        names: What is known beforehand of the values' names; they may come as they are.

    Example:
        >>> means = EpochMeans()
        >>> means.add({"loss": torch.tensor(1.0)}, 2)
        >>> means.add({"loss": torch.tensor(4.0)}, 1)
        >>> float(means.means()["loss"])
        2.0
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._begins_with = tuple(names)
        self.begin()

    def begin(self) -> None:
        """Start a new epoch."""
        self._names = self._begins_with
        # Sums and numbers of pairs, a column for each name; made where the first values are, so that nothing is copied.
        self._kept: Tensor | None = None

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Take up the values of a batch of so many pairs."""
        found = torch.stack([value.detach().float() for value in values.values()])
        known = found.isfinite()
        new = torch.stack([torch.where(known, found * count, 0.0), (known * count).to(found)])
        kept = self._kept if tuple(values) == self._names else self._renamed(tuple(values))
        self._names = tuple(values)
        self._kept = new if kept is None else kept.to(new) + new

    def means(self) -> dict[str, Tensor]:
        """Return the means so far; NaN where no value was finite."""
        sums, counts = self._or_zeros()
        return dict(zip(self._names, (sums / counts).unbind(), strict=True))

    def over_processes(self, count: int, device: torch.device) -> dict[str, Tensor]:
        """Return the means over the batches of all processes, each of which has to ask for them.

        Args:
            count: Of processes.
            device: Where this process and the others meet.
        """
        whole = self._or_zeros()
        if count > 1:
            whole = whole.to(device, copy=True)
            torch.distributed.all_reduce(whole)
        return dict(zip(self._names, (whole[0] / whole[1]).unbind(), strict=True))

    def state(self) -> dict[str, list[float]]:
        """Return what a checkpoint keeps: by name, the sum and the number of pairs."""
        return dict(zip(self._names, self._or_zeros().T.tolist(), strict=True))

    def restore(self, state: Any) -> None:
        """Take up what a checkpoint kept; what is not of that kind is passed over."""
        self.begin()
        found = (
            {str(name): kept for name, kept in state.items() if _is_kept(kept)} if isinstance(state, Mapping) else {}
        )
        if found:
            self._names, self._kept = tuple(found), torch.tensor(list(found.values())).T

    def _or_zeros(self) -> Tensor:
        return torch.zeros(2, len(self._names)) if self._kept is None else self._kept

    def _renamed(self, names: tuple[str, ...]) -> Tensor | None:
        """Return what is kept under these names."""
        kept = self._kept
        if kept is None:
            return None
        places = [self._names.index(name) if name in self._names else None for name in names]
        return torch.stack([kept.new_zeros(2) if at is None else kept[:, at] for at in places], dim=1)


def _is_kept(kept: Any) -> bool:
    numbers = isinstance(kept, list) and all(isinstance(n, float) and math.isfinite(n) for n in kept)
    return numbers and len(kept) == 2 and kept[1] >= 0
