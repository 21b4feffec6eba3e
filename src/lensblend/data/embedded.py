"""The pairs that need no download (``data=embedded``): a fixed set, rendered at first use and cached."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lensblend.caches import Cache, cache_folder, expanded
from lensblend.data.camera import MOST_PAIRS, Camera, checked_size
from lensblend.data.motorcycle import VALIDATION_CROPS, motorcycle_pair
from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.data.scenes import render_scene
from lensblend.errors import RequestError, StorageError
from lensblend.storage import replace, temporary_beside

_FORMAT = 2
"""Raise it with every change to what is rendered or how it is stored: older cache entries are then left alone."""

_MOTORCYCLE_EVERY = 3
_FAR_EVERY = 5
_LIBRARIES = ("numpy", "scipy", "pillow", "scikit-image")
_MAPS = {"disparity": np.dtype(np.float32), "mask": np.dtype(np.bool_)}
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Embedded(Source):
    """A fixed mix of refocused crops of a measured photo and of layered scenes, from what scikit-image ships.

    Every third training pair is a crop of the Middlebury Motorcycle, focused on the motorcycle in four of five; the
    others are layered scenes (``scenes.compose``). The first and the fourth validation pair are crops of another part
    of that photo. No two validation pairs show the same part of a photo, and none one that training sees; the
    surfaces of ground and walls and the ways to draw things are shared, each scene's draw is not.

    Pairs are rendered when they are first loaded, and cached. The pixels are the same with and without the cache; an
    entry that cannot be read is rendered again.

    Args:
        image_size: ``(height, width)`` of the pairs, at least 32.
        train: Training pairs.
        val: Validation pairs.
        seed: Draws another set.
        cache: Folder of rendered pairs; by default ``$LENSBLEND_CACHE/embedded`` or
            ``~/.cache/lensblend/embedded``. An empty text turns the cache off.
        aperture: As in ``Camera``.
        max_radius: As in ``Camera``.
        near_focus: As in ``Camera``, for the layered scenes.
        exposure: As in ``Camera``.
        shift: As in ``Camera``.

    Example:
        >>> pairs = Embedded(image_size=[32, 48], train=2, val=1, cache="").split("train")
        >>> list(pairs.ids), pairs.load(1).target.shape
        (['motorcycle-00-near', 'layers-0000'], (32, 48, 3))
    """

    def __init__(
        self,
        image_size: Sequence[int] = (192, 256),
        train: int = 48,
        val: int = 16,
        seed: int = 0,
        cache: str | None = None,
        aperture: float = Camera.aperture,
        max_radius: float = Camera.max_radius,
        near_focus: float = Camera.near_focus,
        exposure: float = Camera.exposure,
        shift: float = Camera.shift,
    ) -> None:
        if seed < 0 or train < 0 or val < 0:
            raise RequestError(f"`seed`, `train` and `val` are not negative, but got {seed}, {train} and {val}; use 0.")
        if max(train, val) > MOST_PAIRS:
            raise RequestError(f"`train` and `val` are at most {MOST_PAIRS:,}, but got {train} and {val}.")
        self._image_size = self.rendered_size = checked_size(image_size)
        self._lengths = {"train": train, "val": val}
        self._seed = seed
        self._camera = Camera(aperture, max_radius, near_focus, exposure, shift)
        self._cache = self._folder(cache)

    @classmethod
    def f_number(cls, node: Mapping[str, Any]) -> float | None:
        """Return the aperture of the camera."""
        return Camera.f_number(node)

    def split(self, name: Split) -> EmbeddedPairs:
        """Return the pairs of one split."""
        folder = None if self._cache is None else Cache(self._cache.parent, f"{self._cache.name}/{name}")
        return EmbeddedPairs(name, self._lengths[name], self._seed, self._image_size, self._camera, folder)

    def _folder(self, cache: str | None) -> Path | None:
        """Name the cache's folder after all that decides a pair's pixels; lengths do not."""
        if cache == "":
            return None
        recipe = {
            "format": _FORMAT,
            "image_size": self._image_size,
            "seed": self._seed,
            "camera": dataclasses.asdict(self._camera),
            "libraries": {library: version(library) for library in _LIBRARIES},
        }
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        folder = cache_folder("embedded") if cache is None else expanded(cache)
        return folder / digest[:16]


class EmbeddedPairs(Pairs):
    """Pairs of one split, read from the cache or rendered.

    Ids are ``motorcycle-NN-near`` or ``-far``, ``layers-NNNN``; after ``val-`` in validation.
    """

    def __init__(
        self, split: Split, length: int, seed: int, image_size: tuple[int, int], camera: Camera, folder: Cache | None
    ) -> None:
        self._split: Split = split
        self._seed, self._image_size, self._camera, self._folder = seed, image_size, camera, folder
        self.ids = [_name(split, index) for index in range(length)]

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair; the set is the same in every epoch."""
        name = self.ids[index]
        if self._folder is None:
            return self._render(index % len(self.ids), name)
        pair = self._folder.read(lambda folder: _read(folder / f"{name}.npz", name, self._image_size))
        if pair is None:
            pair = self._render(index % len(self.ids), name)
            _write(self._folder.folder / f"{name}.npz", pair)
        return dataclasses.replace(pair, f_number=self.f_number(index))

    def f_number(self, index: int) -> float | None:
        """Return the camera's."""
        return self._camera.number

    def _render(self, index: int, name: str) -> Pair:
        if "motorcycle" in name:
            near, number = name.endswith("near"), index // _MOTORCYCLE_EVERY
            key = (self._seed, index)
            return motorcycle_pair(self._split, key, self._image_size, self._camera, near, name, number)
        return render_scene(name, self._split, (self._seed, 0, index), self._image_size, self._camera)


def _name(split: Split, index: int) -> str:
    prefix = "" if split == "train" else "val-"
    number, place = divmod(index, _MOTORCYCLE_EVERY)
    crops = number if split == "train" else min(number, VALIDATION_CROPS - 1)
    if place or crops < number:
        return f"{prefix}layers-{index - crops - 1:04d}"
    return f"{prefix}motorcycle-{number:02d}-{'far' if number % _FAR_EVERY == _FAR_EVERY - 1 else 'near'}"


def _read(path: Path, name: str, image_size: tuple[int, int]) -> Pair | None:
    """Read a cache entry; None if it is missing, damaged or of another shape (it will be rendered again)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            images = entry["photo"], entry["target"]
            maps = {key: entry[key] for key in _MAPS}
    except _DAMAGED:
        return None
    whole = all(image.shape == (*image_size, 3) and image.dtype == np.uint8 for image in images)
    whole &= all(maps[key].shape == image_size and maps[key].dtype == kind for key, kind in _MAPS.items())
    return Pair(name, *images, maps) if whole else None


def _write(path: Path, pair: Pair) -> None:
    """Store a pair under its final name only when it is complete; a full or read-only disk costs only the cache."""
    with contextlib.suppress(StorageError), temporary_beside(path) as temporary:
        with temporary.open("wb") as file:
            arrays: dict[str, Any] = {"photo": pair.photo, "target": pair.target, **pair.maps}
            np.savez(file, **arrays)
        replace(temporary, path)
