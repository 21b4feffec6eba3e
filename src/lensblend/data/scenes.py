"""Layered scenes as an endless stream of pairs (``data=scenes``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lensblend.data.camera import MOST_PAIRS, Camera, checked_size, photograph
from lensblend.data.composition import compose
from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.errors import RequestError

_SPLIT_CODES = {"train": 0, "val": 1}
_APERTURE = 1  # makes the key of a pair's aperture another one than that of its scene


class Scenes(Source):
    """Stream pairs rendered from layered scenes: new training scenes in each epoch, a fixed validation set.

    Args:
        seed: Every pair is a function of the seed, the split, the epoch and the index.
        image_size: ``(height, width)`` of the pairs, at least 32.
        length: Training pairs per epoch.
        val_length: Validation pairs; the same in every epoch.
        aperture: As in ``Camera``.
        max_radius: As in ``Camera``.
        near_focus: As in ``Camera``.
        exposure: As in ``Camera``.
        shift: As in ``Camera``.
        f_numbers: Least and largest f-number of an aperture that is drawn for each pair, evenly by its logarithm; the
            largest discs are then cut in proportion. None takes all pairs at ``aperture``. Whatever else a pair shows
            is the same at any aperture.

    Example:
        >>> pairs = Scenes(image_size=[32, 48], length=2).split("train")
        >>> pairs.load(0, epoch=3).photo.shape, pairs.ids[1]
        ((32, 48, 3), 'scene-0001')
    """

    endless = True

    def __init__(
        self,
        seed: int = 0,
        image_size: Sequence[int] = (192, 256),
        length: int = 1000,
        val_length: int = 32,
        aperture: float = Camera.aperture,
        max_radius: float = Camera.max_radius,
        near_focus: float = Camera.near_focus,
        exposure: float = Camera.exposure,
        shift: float = Camera.shift,
        f_numbers: Sequence[float | int] | None = None,
    ) -> None:
        if seed < 0 or length < 0 or val_length < 0:
            raise RequestError(
                f"`seed`, `length` and `val_length` are not negative, but got {seed}, {length} and {val_length}; use 0."
            )
        self._seed = seed
        if max(length, val_length) > MOST_PAIRS:
            raise RequestError(
                f"`length` and `val_length` are at most {MOST_PAIRS:,}, but got {length} and {val_length}."
            )
        self._image_size = self.rendered_size = checked_size(image_size)
        self._lengths = {"train": length, "val": val_length}
        self._camera = Camera(aperture, max_radius, near_focus, exposure, shift)
        self._f_numbers = None if f_numbers is None else checked_f_numbers(f_numbers)

    @classmethod
    def f_number(cls, node: Mapping[str, Any]) -> float | None:
        """Return the aperture of the camera; where it is drawn, the mean by its logarithm."""
        drawn = node.get("f_numbers")
        if drawn is None:
            return Camera.f_number(node)
        known = isinstance(drawn, list | tuple) and all(isinstance(n, float | int) and n > 0 for n in drawn)
        return math.prod(drawn) ** (1 / len(drawn)) if known and drawn else None

    def split(self, name: Split) -> ScenePairs:
        """Return the pairs of one split."""
        return ScenePairs(name, self._lengths[name], self._seed, self._image_size, self._camera, self._f_numbers)


class ScenePairs(Pairs):
    """Pairs of one split, rendered anew whenever they are loaded.

    An id names the place in an epoch, and its training scene differs between epochs.
    """

    def __init__(
        self,
        split: Split,
        length: int,
        seed: int,
        image_size: tuple[int, int],
        camera: Camera,
        f_numbers: tuple[float, float] | None = None,
    ) -> None:
        self._split: Split = split
        self._f_numbers = f_numbers
        self._seed, self._image_size, self._camera = seed, image_size, camera
        self.ids = [f"{'scene' if split == 'train' else 'scene-val'}-{index:04d}" for index in range(length)]

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Render one pair; validation pairs do not depend on the epoch."""
        name = self.ids[index]
        index %= len(self.ids)
        key = (self._seed, epoch if self._split == "train" else 0, index)
        return render_scene(name, self._split, key, self._image_size, self._camera_of(key))

    def f_number(self, index: int) -> float | None:
        """Return the f-number of a pair's target; None where it is drawn anew in each epoch."""
        if self._split == "train" and self._f_numbers is not None:
            return None
        return self._camera_of((self._seed, 0, index % len(self.ids))).number

    def _camera_of(self, key: tuple[int, int, int]) -> Camera:
        """Return the camera, with its aperture as drawn for a pair by a generator of its own."""
        if self._f_numbers is None:
            return self._camera
        draw = np.random.default_rng([_SPLIT_CODES[self._split], *key, _APERTURE])
        return self._camera.at(float(np.exp(draw.uniform(*np.log(self._f_numbers)))))


def checked_f_numbers(f_numbers: Sequence[float | int]) -> tuple[float, float]:
    """Return the least and the largest f-number of a range, or refuse what is none."""
    if len(f_numbers) != 2 or not 0.5 <= f_numbers[0] <= f_numbers[1] <= 64:
        raise RequestError(
            "`f_numbers` is the least and the largest f-number that is drawn, in [0.5, 64], but got "
            f"{list(f_numbers)}; use [2, 16]."
        )
    return float(f_numbers[0]), float(f_numbers[1])


def render_scene(
    name: str, split: Split, key: tuple[int, int, int], image_size: tuple[int, int], camera: Camera
) -> Pair:
    """Render the pair that is a function of the split and of a key ``(seed, epoch, index)``."""
    rng = np.random.default_rng([_SPLIT_CODES[split], *key])
    scene = compose(rng, split, image_size, camera.near_focus, index=key[-1])
    lens = camera.lens(scene.focus, image_size[1])
    return photograph(name, scene.layers, lens, second=camera.second_shot(rng))
