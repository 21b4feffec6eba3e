"""A pair of photos, and what a set of pairs looks like to the rest of the project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
        disparity: Where known: larger = nearer, ``(h, w)`` float32.
        mask: Where known: True where the target is in focus, or where the foreground is, ``(h, w)``.
        saliency: Where a network or a loss asked for it: foreground probability in [0, 1], ``(h, w)`` float32.
        focus: Where a loss asked for it: how much the target is in focus, in [0, 1], ``(h, w)`` float32.
    """

    id: str
    photo: NDArray[np.uint8]
    target: NDArray[np.uint8] | None
    disparity: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    saliency: NDArray[np.float32] | None = None
    focus: NDArray[np.float32] | None = None

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


class Source(ABC):
    """A data set with a training and a validation split; conf/data builds one.

    Attributes:
        endless: Whether each epoch has training pairs of its own.
    """

    endless: bool = False

    @abstractmethod
    def split(self, name: Split) -> Pairs:
        """Return the pairs of one split; it may be empty."""

    def summary(self) -> str:
        """Say in one line what is there."""
        return f"Data: {len(self.split('train').ids)} training and {len(self.split('val').ids)} validation pairs"
