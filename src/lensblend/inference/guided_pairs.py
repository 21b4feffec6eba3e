"""Pairs with the maps that guide a network or supervise it, found and checked before training or scoring begins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lensblend.data.files import raise_all
from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.inference.guidance import build_guides
from lensblend.inference.prior_maps import Guide
from lensblend.runs.messages import share


class Guided(Pairs):
    """Pairs with the maps that were asked for.

    Args:
        pairs: The pairs.
        guides: Sources of maps by name.
        dropped: Maps of the pairs that are left behind, unread where they lie in files; other maps stay.
        image_size: (height, width) of the samples that are made of the pairs, at which the maps are given; None gives
            them at the photo's own.
    """

    def __init__(
        self,
        pairs: Pairs,
        guides: Mapping[str, Guide],
        dropped: Collection[str] = (),
        image_size: tuple[int, int] | None = None,
    ) -> None:
        self.ids, self._pairs, self._guides, self._dropped = pairs.ids, pairs, guides, dropped
        self._image_size = image_size

    def sized(self, image_size: tuple[int, int]) -> Guided:
        """Return the pairs as they are rendered for samples of a size."""
        return Guided(self._pairs.sized(image_size), self._guides, self._dropped, image_size)

    def stamp(self, index: int) -> Hashable | None:
        """Return the pair's own; None where sources of maps, which it says nothing of, add to it."""
        return None if self._guides else self._pairs.stamp(index)

    def f_number(self, index: int) -> float | None:
        """Return the pair's own."""
        return self._pairs.f_number(index)

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair with its maps."""
        # Before the pair: a file that changes in between has another stamp the next time.
        stamp = self._pairs.stamp(index)
        pair = self._pairs.load(index, epoch)
        kept = {name: pair.maps[name] for name in pair.maps if name not in self._dropped and name not in self._guides}
        size = self._image_size or (pair.photo.shape[0], pair.photo.shape[1])
        return replace(pair, maps=kept | {name: guide.at(pair, size, stamp) for name, guide in self._guides.items()})


class GuidedSource(Source):
    """A data set whose pairs carry the maps that were asked for.

    Args:
        source: The data set.
        guides: By the map's name.
        dropped: Maps of the data set's own that nothing needs.
    """

    def __init__(self, source: Source, guides: Mapping[str, Guide], dropped: Collection[str] = ()) -> None:
        self._source, self._guides, self._dropped, self.endless = source, guides, dropped, source.endless

    def split(self, name: Split) -> Guided:
        """Return the pairs of one split."""
        return Guided(self._source.split(name), self._guides, self._dropped)

    def test(self) -> Guided:
        """Return the pairs of the test split."""
        return Guided(self._source.test(), self._guides, self._dropped)

    def prepare(
        self,
        key: str,
        limits: Mapping[Split, int | None],
        device: torch.device,
        track: Callable[[Iterable[int], str], Iterable[int]],
    ) -> None:
        """Compute what networks have not yet computed, before reading processes would do so one by one on the CPU.

        Processes that were started at once compute a share each, and meet when they join for the training.

        Args:
            key: Names the data set; one that has been gone through before is not again.
            limits: Use only the first pairs of a split.
            device: Where networks compute; afterwards they are on the CPU.
            track: Shows how far it is.

        Raises:
            DataError: Maps are missing, cannot be read or do not fit their photos; all of them are listed.
        """
        if self._source.endless:
            return
        for split, limit in limits.items():
            check_guides(self._guides, self._source.split(split), limit)
        check_guides(self._guides, self._source.test(), limits.get("val"))
        for name, guide in self._guides.items():
            for split, limit in limits.items():
                pairs = self._source.split(split)
                count = min(len(pairs.ids), limit or len(pairs.ids))
                title = f"{name.capitalize()} of the {split} split"
                _prepare(guide, pairs, count, f"{split}-{count}-{key[:16]}", device, track, title)


def give_maps(
    source: Source,
    nodes: Mapping[str, Any],
    key: str,
    device: torch.device,
    track: Callable[[Iterable[int], str], Iterable[int]],
    splits: Collection[Split] = ("train", "val"),
) -> None:
    """Give a data set that makes pairs of photos alone the maps of these that it asks for.

    Args:
        source: The data set.
        nodes: The configuration's nodes by the maps' names.
        key: Names the data set; one that has been gone through before is not again.
        device: Where networks compute.
        track: Shows how far it is.
        splits: Those that will be drawn from.
    """
    guides = build_guides(source.asks, nodes)
    for name, guide in guides.items():
        for split in splits:
            photos = source.photos_of(split)
            raise_all(guide.problems(photos), f"the {name} maps")
            title = f"{name.capitalize()} of the {split} photos"
            _prepare(guide, photos, len(photos.ids), f"{split}-photos-{key[:16]}", device, track, title)
    source.receive(guides)


def _prepare(
    guide: Guide,
    pairs: Pairs,
    count: int,
    mark: str,
    device: torch.device,
    track: Callable[[Iterable[int], str], Iterable[int]],
    title: str,
) -> None:
    """Prepare this process's share of the first pairs."""
    rank, processes = share()
    indices = range(rank, count, processes)
    if indices:
        marks = [mark] if processes == 1 else [mark, f"{mark}-{rank}-of-{processes}"]
        guide.prepare(pairs, marks, device, partial(track, indices, title))


def check_guides(guides: Mapping[str, Guide], pairs: Pairs, count: int | None = None) -> None:
    """Check the maps of all pairs before the first is used.

    Args:
        guides: Sources of maps by name.
        pairs: Whose maps are needed.
        count: Of how many pairs; None for all.

    Raises:
        DataError: Maps are missing, cannot be read or do not fit their photos; all of them are listed.
    """
    for name, guide in guides.items():
        raise_all(guide.problems(pairs, count), f"the {name} maps")
