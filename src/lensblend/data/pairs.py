"""A pair of photos, and what a set of pairs looks like to the rest of the project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lensblend.errors import DataError

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Pair:
    """One photo and its shallow depth-of-field partner, at native size.

    Attributes:
        id: Stable and unique within its data set; names files, panels and table rows.
        photo: All-in-focus photo, ``(h, w, 3)``, 8-bit sRGB.
        target: Captured or rendered bokeh, same shape; None in sets of photos and masks.
        maps: What else is known of each pixel, by name, ``(h, w)``, float32 or bool. A data set may know ``disparity``
            (larger = nearer) and ``mask`` (bool: where the target is in focus, or where the foreground is); a network
            or a loss may have asked for ``saliency`` (foreground probability) and ``focus`` (how much the target is in
            focus), both in [0, 1]. Any other name is carried along alike.
        f_number: At which the target was taken, where its data set knows it of each pair.
    """

    id: str
    photo: NDArray[np.uint8]
    target: NDArray[np.uint8] | None
    maps: Mapping[str, Any] = field(default_factory=dict)
    f_number: float | None = None

    def changed(self, image: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], plane: Callable[[Any], Any]) -> Pair:
        """Return the pair with one function applied to photo and target, and another to each map."""
        return replace(
            self,
            photo=image(self.photo),
            target=None if self.target is None else image(self.target),
            maps={name: plane(values) for name, values in self.maps.items()},
        )

    def captured(self) -> NDArray[np.uint8]:
        """Return the target.

        Raises:
            DataError: The pair has none.
        """
        if self.target is None:
            raise DataError(
                f"`{self.id}` has no target: its data set holds photos and masks, which train saliency; "
                "take a data set of pairs."
            )
        return self.target


class Pairs(ABC):
    """An indexed set of pairs. ``epoch`` matters only to endless sets, which render new pairs in each epoch.

    Attributes:
        ids: Ids in index order; ``len(ids)`` is the number of pairs.
    """

    ids: Sequence[str]

    @abstractmethod
    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair at native size."""

    def f_number(self, index: int) -> float | None:
        """Return the f-number of a pair's target, where its data set knows it of each; its pixels are not read."""
        return None

    def sized(self, image_size: tuple[int, int]) -> Pairs:
        """Return the pairs as they are rendered for samples of a size; those of files, or of a fixed size, stay."""
        return self

    def size(self, index: int) -> tuple[int, int] | None:
        """Return a photo's (height, width), where that is known without reading its pixels."""
        return None

    def stamp(self, index: int) -> Hashable | None:
        """Return what changes as soon as a pair's photo, target or map does; None where they do not lie in files."""
        return None

    def map_problems(self, name: str, count: int | None = None, needed: bool = True) -> list[str]:
        """Say what is wrong with the maps of this name of the first pairs, as far as it is known without their pixels.

        Args:
            name: ``disparity``, ``mask`` or another.
            count: How many pairs; None for all.
            needed: That a pair has none is a problem too.
        """
        return []


class NoPairs(Pairs):
    """A split that a data set has not."""

    ids = ()

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Raise `IndexError`."""
        raise IndexError(index)


class Source(ABC):
    """A data set with a training and a validation split, perhaps a test split; conf/data builds one.

    Attributes:
        endless: Whether each epoch has training pairs of its own.
        asks: Names of the maps of its own photos that it lacks and needs to make pairs: ``saliency``. `receive` gives
            them. Of a class, what its data sets may ask for.
        rendered_size: ``(height, width)`` at which the pairs are rendered; None where they are files.
    """

    endless: bool = False
    asks: tuple[str, ...] = ()
    rendered_size: tuple[int, int] | None = None

    @classmethod
    def f_number(cls, node: Mapping[str, Any]) -> float | None:
        """Return the full-frame f-number at which the targets of a data set are taken; None where nobody knows.

        Args:
            node: The data set's node of a configuration, whose ``f_number`` says it, unless a class knows better.
        """
        stated = node.get("f_number")
        return float(stated) if isinstance(stated, int | float) and stated > 0 else None

    @abstractmethod
    def split(self, name: Split) -> Pairs:
        """Return the pairs of one split; it may be empty."""

    def test(self) -> Pairs:
        """Return the pairs that nothing is chosen by, scored once a training is over; none where it has no such."""
        return NoPairs()

    def photos_of(self, name: Split) -> Pairs:
        """Return the photos of one split whose maps it asks for; where it asks for none, its pairs."""
        return self.split(name)

    def receive(self, maps: Mapping[str, Callable[[Pair], Any]]) -> None:  # noqa: B027
        """Take what gives the maps that it asks for: by name, a function of a pair of which only the photo is there."""

    def doubts(self) -> list[str]:
        """Say what is seldom meant, a sentence each, such as photos and targets swapped; a few pairs are looked at."""
        return []

    def summary(self) -> str:
        """Say in one line what is there."""
        return f"Data: {len(self.split('train').ids)} training and {len(self.split('val').ids)} validation pairs"

    def enlargement(self, image_sizes: Sequence[Sequence[int]]) -> str | None:
        """Say in one line that a working size is far above the size of rendered pairs, and what helps; None if not."""
        largest = max(image_sizes, key=lambda size: size[0] * size[1])
        if self.rendered_size is None or largest[0] * largest[1] < 2 * self.rendered_size[0] * self.rendered_size[1]:
            return None
        height, width = largest
        return (
            f"Note: pairs are rendered at {list(self.rendered_size)} and enlarged to {[height, width]}, which adds no "
            f"detail; data.image_size=[{height},{width}] renders them at that size."
        )
