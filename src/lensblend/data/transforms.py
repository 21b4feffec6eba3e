"""Resizing and flips, alike for a photo and everything that belongs to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from lensblend.data.pairs import Pair
from lensblend.data.sizes import check_image_size
from lensblend.errors import one_of

# Probabilities of a horizontal and of a vertical flip, one pair of them per copy of the set.
FLIP_PROBABILITIES: dict[str, list[tuple[float, float]]] = {
    "none": [(0.0, 0.0)],
    "random": [(0.5, 0.5)],
    "expand": [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)],
    "horizontal": [(0.5, 0.0)],
}


def key_seed(*key: int) -> int:
    """Mix a run's seed, an epoch and an index into one seed, the same in every process and on every machine.

    The first 8 bytes, little-endian, of the BLAKE2b digest of ``"seed/epoch/index"``, without the lowest bit:
    neighbouring keys give unrelated seeds, and `torch.manual_seed`, NumPy and albumentations all take the result.

    Example:
        >>> key_seed(0, 1, 2) == key_seed(0, 1, 2), key_seed(0, 1, 2) == key_seed(0, 2, 1)
        (True, False)
    """
    digest = hashlib.blake2b("/".join(map(str, key)).encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def resize_lanczos(image: UInt8[np.ndarray, "h w c"], image_size: Sequence[int]) -> UInt8[np.ndarray, "height width c"]:
    """Resize an 8-bit photo with Pillow's antialiased Lanczos filter; the aspect ratio is not kept.

    Example:
        >>> resize_lanczos(np.full((4, 6, 3), 7, dtype=np.uint8), (2, 3)).shape
        (2, 3, 3)

    References:
        The input filter of the DBSI author's public test scripts; the paper (section 5.1) does not name one.
    """
    return _resized(image, image_size, Image.Resampling.LANCZOS)


def resize_map(plane: Float32[np.ndarray, "h w"], image_size: Sequence[int]) -> Float32[np.ndarray, "height width"]:
    """Resize a map of one value per pixel bilinearly, antialiased when it shrinks, so that none leaves their range."""
    return _resized(plane, image_size, Image.Resampling.BILINEAR)


def resize_mask(mask: Bool[np.ndarray, "h w"], image_size: Sequence[int]) -> Bool[np.ndarray, "height width"]:
    """Resize a mask to the nearest pixel: it stays binary."""
    return _resized(mask.astype(np.uint8), image_size, Image.Resampling.NEAREST).astype(np.bool_)


def resize_pair(pair: Pair, image_size: Sequence[int]) -> Pair:
    """Resize a photo and all that belongs to it to (height, width)."""
    return pair.changed(
        lambda image: resize_lanczos(image, image_size),
        lambda plane: (resize_mask if plane.dtype == np.bool_ else resize_map)(plane, image_size),
    )


def crop_pair(pair: Pair, top: int, left: int, crop: Sequence[int]) -> Pair:
    """Cut one rectangle out of a photo and all that belongs to it.

    Args:
        pair: At any size.
        top: First row.
        left: First column.
        crop: Height and width.
    """
    box = np.s_[top : top + crop[0], left : left + crop[1]]
    return pair.changed(lambda image: image[box], lambda plane: plane[box])


def _resized(array: np.ndarray, image_size: Sequence[int], resample: Image.Resampling) -> np.ndarray:
    height, width = check_image_size(image_size)
    if array.shape[:2] == (height, width):
        return array
    return np.array(Image.fromarray(array).resize((width, height), resample))


class Flips:
    """Flip a photo horizontally and vertically, and all that belongs to it alike.

    Args:
        mode: ``random`` flips each axis with probability one half. ``expand`` is the deterministic reading of the
            paper: the set, then all of it flipped horizontally, then all of it flipped vertically, three times the
            length. ``horizontal`` flips that axis alone, with probability one half. ``none`` changes nothing.
        seed: Of the run; a flip depends on it, the epoch and the index alone, so workers and resumes agree.

    References:
        S. Dutta (2021), section 4.3.3, flips each training image both ways and does not say how; the author's public
        successor scripts expand the set threefold.
    """

    def __init__(self, mode: str = "none", seed: int = 0) -> None:
        probabilities = FLIP_PROBABILITIES[one_of("flips", mode, FLIP_PROBABILITIES)]
        self.copies = len(probabilities)
        self._seed = seed
        # Built once, in the process that starts the workers: importing albumentations takes seconds.
        self._compositions = [_composition(*p) for p in probabilities]

    def __call__(self, pair: Pair, epoch: int, index: int, copy: int = 0) -> Pair:
        """Return the pair as this epoch sees it; ``copy`` chooses among the ``copies`` of an expanded set."""
        composition = self._compositions[copy]
        if composition is None:
            return pair
        # albumentations 2.0.8 gives all workers one stream, which every epoch repeats, unless it is seeded before each
        # call; and `Compose.set_random_seed` gives all transforms one seed, so both axes would always flip together.
        for axis, flip in enumerate(composition.transforms):
            flip.set_random_seed(key_seed(self._seed, epoch, index) + axis)
        composition.add_targets({"target": "image", **dict.fromkeys(pair.maps, "mask")})
        target = {} if pair.target is None else {"target": pair.target}
        flipped = composition(image=pair.photo, **target, **{n: _flippable(plane) for n, plane in pair.maps.items()})
        maps = {name: flipped[name].astype(plane.dtype, copy=False) for name, plane in pair.maps.items()}
        return replace(pair, photo=flipped["image"], target=flipped.get("target"), maps=maps)


def _composition(horizontal: float, vertical: float) -> Any:
    if horizontal == vertical == 0:
        return None
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version on import
    import albumentations

    return albumentations.Compose(
        [albumentations.HorizontalFlip(p=horizontal), albumentations.VerticalFlip(p=vertical)]
    )


def _flippable(part: np.ndarray) -> np.ndarray:
    return part.astype(np.uint8) if part.dtype == np.bool_ else part  # OpenCV flips no booleans
