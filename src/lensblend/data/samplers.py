"""Which pair comes when: a function of seed, epoch and rank, so that any run can be resumed at any step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from lensblend.data.transforms import key_seed
from lensblend.errors import RequestError

_PERMUTATION = -1  # an index that no sample has: the order shares no seed with a flip


class KeyedSampler(Sampler[tuple[int, int]]):
    """Yield keys ``(epoch, index)``; a data set that gets its epoch in the key needs no state of its own.

    The order depends on ``seed`` and the epoch set by `set_epoch`, never on how often an iterator was asked for.
    Rank r takes positions r, r + world_size, … of the order.

    Args:
        length: Number of samples of the whole set.
        seed: Of the run.
        shuffle: Permute anew in each epoch; otherwise in index order.
        rank: This process among ``world_size``.
        world_size: Number of processes that share the set.
        pad: True for training: every rank gets the same number of keys, ``ceil(length / world_size)``, and the order
            is continued from its start to fill up. False for validation: nothing is seen twice, so the ranks'
            numbers differ by up to one and a mean over the set stays a mean over the set.
        start: The epoch to begin with, and how many of its keys this rank has had before; later epochs are whole, and
            the length, which other parts count batches by, always is.

    Example:
        >>> list(KeyedSampler(5, shuffle=False, rank=1, world_size=2, pad=False))
        [(0, 1), (0, 3)]
        >>> list(KeyedSampler(5, shuffle=False, rank=1, world_size=2))
        [(0, 1), (0, 3), (0, 0)]
        >>> list(KeyedSampler(5, shuffle=False, start=(2, 3)))
        [(2, 3), (2, 4)]
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        pad: bool = True,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        if length < 0:
            raise RequestError(f"`length` is the number of samples, 0 or more, but got {length}.")
        if not 0 <= rank < world_size:
            raise RequestError(f"`rank` is in [0, world_size), but got rank {rank} of {world_size}.")
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.pad = pad
        self.start = start
        self.epoch = start[0]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iterator follows; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        longest = -(-self.length // self.world_size)
        return longest if self.pad else len(range(self.rank, self.length, self.world_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = self.epoch, self._order(self.epoch)
        first_epoch, had = self.start
        for step in range(had if epoch == first_epoch else 0, len(self)):
            yield epoch, order[(self.rank + step * self.world_size) % self.length]

    def _order(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.length))
        generator = torch.Generator().manual_seed(key_seed(self.seed, epoch, _PERMUTATION))
        return torch.randperm(self.length, generator=generator).tolist()
