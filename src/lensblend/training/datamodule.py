"""Serve a source's pairs to Lightning, one phase's image size and batch at a time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader

from lensblend.data.packed import pack
from lensblend.data.pairs import Pairs, Source, Split
from lensblend.data.samplers import KeyedSampler
from lensblend.data.samples import Samples
from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import say
from lensblend.training.interruption import leave_signals_to_parent

SHARED_MEMORY = "/dev/shm"


def check_loader(num_workers: int, limit_train: int | None, limit_val: int | None, val_batch_size: int = 1) -> None:
    """Refuse numbers of workers and pairs that cannot be.

    Raises:
        RequestError: They cannot.
    """
    if num_workers < 0:
        raise RequestError(f"`loader.num_workers` is 0 or more, but got {num_workers}.")
    if val_batch_size < 1:
        raise RequestError(f"`loader.val_batch_size` is 1 or more, but got {val_batch_size}.")
    for name, limit in (("limit_train", limit_train), ("limit_val", limit_val)):
        if limit is not None and limit < 1:
            raise RequestError(f"`loader.{name}` is 1 or more, or null for all pairs, but got {limit}.")


class WaitedLoader(DataLoader):
    """A loader that knows how long it was waited for.

    Attributes:
        waited: Seconds, of all batches so far.
    """

    waited = 0.0

    def __iter__(self) -> Any:
        """Give batches, and time each."""
        began = time.perf_counter()
        for batch in super().__iter__():
            self.waited += time.perf_counter() - began
            yield batch
            began = time.perf_counter()


class PairsDataModule(pl.LightningDataModule):
    """Resize, flip, crop, shuffle and batch the pairs of a source.

    Order, flips and crops depend on (seed, epoch, index) alone, never on a generator's state, so that any epoch can be
    repeated from its number.

    Args:
        source: The data set.
        image_size: Height and width in pixels.
        batch_size: Pairs per training step and process.
        flips: ``random``, ``expand``, ``horizontal`` or ``none``.
        seed: Of the order and the flips.
        num_workers: Reading processes; 0 reads in this one.
        limit_train: Use the first so many training pairs only.
        limit_val: Use the first so many validation pairs only.
        crop: Height and width of the random part of each training pair; None trains on the whole.
        coordinates: Whether training samples know where their pixels were in the photo.
        val_batch_size: Pairs of one validation batch and process. Scores are per image, so it decides no score, only
            how much memory a validation of whole photos takes beside a training on crops.
        cache: Whether pairs are read from files that hold them resized, made beforehand where they are not there yet;
            the batches are the same.
        start: The epoch that a restart goes on with, the batches of it that are done, and how many it had then; where
            it has another number of batches now, it begins anew.
    """

    def __init__(
        self,
        source: Source,
        image_size: tuple[int, int],
        batch_size: int,
        flips: str = "random",
        seed: int = 0,
        num_workers: int = 0,
        limit_train: int | None = None,
        limit_val: int | None = None,
        crop: Sequence[int] | None = None,
        coordinates: bool = False,
        val_batch_size: int = 1,
        cache: bool = False,
        start: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        check_loader(num_workers, limit_train, limit_val, val_batch_size)
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.seed = seed
        self.num_workers = num_workers
        self._size, self._crop = image_size, tuple(crop) if crop else image_size
        self.start = start

        def pairs(split: Split, limit: int | None) -> Pairs:
            chosen = source.split(split)
            return pack(chosen, image_size, limit, num_workers, say) if cache and chosen.ids else chosen

        self.train = Samples(pairs("train", limit_train), image_size, flips, seed, limit_train, crop, coordinates)
        self.val = Samples(pairs("val", limit_val), image_size, flips="none", seed=seed, limit=limit_val)
        if len(self.train) == 0:
            raise DataError("The data set has no training pairs; check `data.root`, the lists and the exclude list.")

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def batches_per_epoch(self) -> int:
        """Return how many training batches every process has in an epoch."""
        return -(-len(self._train_sampler()) // self.batch_size)

    def batches_done(self) -> int:
        """Return how many batches of the first epoch are left out, because they are done."""
        _, done, of = self.start
        now = self.batches_per_epoch()
        if done == 0 or of == now:
            return done
        return now if done == of else 0

    def _train_sampler(self, start: tuple[int, int] = (0, 0)) -> KeyedSampler:
        rank, world_size = self._rank()
        return KeyedSampler(
            len(self.train), seed=self.seed, shuffle=True, rank=rank, world_size=world_size, start=start
        )

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, flipped batches, as many for every process."""
        start = (self.start[0], self.batches_done() * self.batch_size)
        return self._loader(self.train, self._train_sampler(start), self.batch_size, self._crop, WaitedLoader)

    def val_dataloader(self) -> DataLoader:
        """Return each validation pair exactly once over all processes.

        Raises:
            RequestError: A process would have none; Lightning would leave it out, and the others would wait for it.
        """
        rank, world_size = self._rank()
        if 0 < len(self.val) < world_size:
            raise RequestError(
                f"{world_size} processes share a validation split of {len(self.val)}, and each needs a pair: set "
                f"`trainer.devices` to {len(self.val)} or fewer, or give more validation pairs."
            )
        sampler = KeyedSampler(
            len(self.val), seed=self.seed, shuffle=False, rank=rank, world_size=world_size, pad=False
        )
        return self._loader(self.val, sampler, self.val_batch_size, self._size)

    def _check_shared_memory(self, batch_size: int, size: tuple[int, ...]) -> None:
        """Refuse workers whose batches do not fit into the memory through which they hand them over.

        They would end with a bus error, in the midst of the training.
        """
        if self.num_workers == 0 or not os.path.isdir(SHARED_MEMORY):
            return
        height, width = size
        # Photo and target; each worker is two batches ahead, and one is in use.
        needed = 6 * height * width * batch_size * (2 * self.num_workers + 1)
        free = shutil.disk_usage(SHARED_MEMORY).free
        if free < needed:
            raise RequestError(
                f"{SHARED_MEMORY} has {free / 2**20:.1f} MiB free, but {self.num_workers} data workers need "
                f"{needed / 2**20:.0f} MiB or more: set loader.num_workers=0, or give the container more "
                "(docker run --shm-size=2g)."
            )

    def _trains_on_cuda(self) -> bool:
        """Say whether batches are copied to a GPU: pinning them opens a context on one, also where none is used."""
        return self.trainer is not None and isinstance(self.trainer.accelerator, CUDAAccelerator)

    def _loader(
        self,
        samples: Samples,
        sampler: KeyedSampler,
        batch_size: int,
        size: tuple[int, ...],
        kind: type[DataLoader] = DataLoader,
    ) -> DataLoader:
        self._check_shared_memory(batch_size, size)
        return kind(
            samples,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            # Its own generator: without one, the loader draws from the global one and changes what the network draws.
            generator=torch.Generator().manual_seed(self.seed),
            pin_memory=self._trains_on_cuda(),
            worker_init_fn=leave_signals_to_parent,
        )
