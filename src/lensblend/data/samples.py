"""What a DataLoader draws: pairs resized, flipped and cropped, as 8-bit tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lensblend.data.pairs import Pair, Pairs
from lensblend.data.sizes import check_crop, check_image_size, turned
from lensblend.data.transforms import Flips, crop_pair, key_seed, resize_pair
from lensblend.errors import DataError, RequestError
from lensblend.ops.coordinates import coordinate_maps

# While it is flipped and cropped, a pair carries the place of its pixels as two more maps.
_PLACES = ("vertical coordinate", "horizontal coordinate")
# Makes the key of a sample's crop another one than that of its flips.
CROP_KEY = (2,)


class Samples(Dataset[dict[str, Any]]):
    """Draw samples from pairs by ``(epoch, index)``; the same key gives the same bytes in any process.

    A sample holds ``id`` (str), ``photo`` (uint8, ``(3, h, w)``) and, where the pair has them, ``target`` (alike), each
    of its maps by name (``(1, h, w)``) and ``f_number`` (float32, ``()``). Photos stay 8-bit until the device: a batch
    is a quarter of the bytes, and the conversion is cheap there. Where they are asked for, a sample also has
    ``coordinates`` (float32, ``(2, h, w)``): where each pixel was in the whole photo before it was flipped and cropped;
    see `lensblend.ops.coordinates`.

    Args:
        pairs: Where the samples come from.
        image_size: (height, width) of all samples; None leaves each at its native size.
        flips: ``random``, ``expand``, ``horizontal`` or ``none``; see `Flips`.
        seed: Of the run.
        limit: Use only the first pairs.
        crop: Height and width of a part, drawn at random from each resized and flipped pair; None takes the whole.
        coordinates: Whether samples know their pixels' places.

    Example:
        >>> class Grey(Pairs):
        ...     ids = ["grey"]
        ...     def load(self, index, epoch=0):
        ...         return Pair("grey", *[np.full((4, 6, 3), 128, dtype=np.uint8)] * 2)
        >>> Samples(Grey(), image_size=[2, 3])[0, 0]["photo"].shape
        torch.Size([3, 2, 3])
    """

    def __init__(
        self,
        pairs: Pairs,
        image_size: Sequence[int] | None = None,
        flips: str = "none",
        seed: int = 0,
        limit: int | None = None,
        crop: Sequence[int] | None = None,
        coordinates: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise RequestError(
                f"`limit` is the number of pairs to use, 1 or more, but got {limit}; leave it out for all."
            )
        self.image_size = None if image_size is None else check_image_size(image_size)
        self.pairs = pairs if self.image_size is None else pairs.sized(self.image_size)
        self._flips = Flips(flips, seed)
        self._crop, self._seed, self._coordinates = crop, seed, coordinates
        self._pair_count = len(pairs.ids) if limit is None else min(limit, len(pairs.ids))

    def __len__(self) -> int:
        return self._pair_count * self._flips.copies

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        epoch, index = (0, key) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"`index` is in [0, {len(self)}), but got {index}.")
        copy, pair_index = divmod(index, self._pair_count)
        pair = self.pairs.load(pair_index, epoch)
        if pair.target is not None and pair.photo.shape != pair.target.shape:
            shapes = f"{pair.photo.shape} and {pair.target.shape}"
            raise DataError(f"photo and target of `{pair.id}` have shapes {shapes}; align them to one size.")
        if self.image_size is not None:
            pair = resize_pair(pair, self.image_size)
        if self._coordinates:
            places = coordinate_maps(*pair.photo.shape[:2]).numpy()
            pair = replace(pair, maps={**pair.maps, **dict(zip(_PLACES, places, strict=True))})
        pair = self._flips(pair, epoch, index, copy)
        return _to_tensors(pair if self._crop is None else self._cropped(pair, self._crop, (epoch, index)))

    def _cropped(self, pair: Pair, crop: Sequence[int], key: tuple[int, int]) -> Pair:
        height, width = pair.photo.shape[:2]
        check_crop(crop, (height, width))
        draw = np.random.default_rng(key_seed(self._seed, *key, *CROP_KEY))
        top, left = (int(draw.integers(0, whole - part + 1)) for whole, part in zip((height, width), crop, strict=True))
        return crop_pair(pair, top, left, crop)


def _to_tensors(pair: Pair) -> dict[str, Any]:
    sample: dict[str, Any] = {"id": pair.id, "photo": _channels_first(pair.photo)}
    if pair.target is not None:
        sample["target"] = _channels_first(pair.target)
    if pair.f_number is not None:
        sample["f_number"] = torch.tensor(pair.f_number, dtype=torch.float32)
    if places := [pair.maps[name] for name in _PLACES if name in pair.maps]:
        sample["coordinates"] = torch.from_numpy(np.stack(places))
    return sample | {n: _channels_first(plane[..., None]) for n, plane in pair.maps.items() if n not in _PLACES}


def _channels_first(image: np.ndarray) -> Tensor:
    planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    if image.dtype == np.uint8:
        cv2.split(np.ascontiguousarray(image), list(planes))  # six times as fast as NumPy's copy
    else:
        planes[:] = image.transpose(2, 0, 1)
    return torch.from_numpy(planes)


class Resized(Pairs):
    """See pairs as if they had been taken at another size.

    Args:
        pairs: Any pairs.
        image_size: (height, width) to which a photo and all that belongs to it are resized; an upright photo to
            (width, height), as networks see it, where these are a lying one's.
    """

    def __init__(self, pairs: Pairs, image_size: Sequence[int]) -> None:
        self.ids, self._pairs, self._image_size = pairs.ids, pairs, check_image_size(image_size)

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair at the other size."""
        pair = self._pairs.load(index, epoch)
        return resize_pair(pair, turned(self._image_size, pair.photo.shape[:2]))
