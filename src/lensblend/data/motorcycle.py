"""Crops of a photo with measured disparity, refocused: the Middlebury Motorcycle that scikit-image ships."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy import ndimage

from lensblend.data import textures
from lensblend.data.camera import Camera, photograph
from lensblend.data.lens import linearise
from lensblend.data.pairs import Pair, Split
from lensblend.data.slices import fill_holes, slice_photo

# The two splits see disjoint parts of the photo: seat and engine, or headlight and front wheel.
_COLUMNS = {"train": (0, 470), "val": (470, 741)}
_SPLIT_CODES = {"train": 2, "val": 3}
_NEAR = 0.7  # the motorcycle and the floor under it; the bench and the shelves are below
_FAR = 0.5
_CLIPPED, _BOOST = 0.95, 5.0


class Motorcycle(NamedTuple):
    """The left photo and its disparity.

    Attributes:
        photo: ``(500, 741, 3)``, 8-bit sRGB.
        disparity: In [0, 1] from the farthest to the nearest point, without holes, ``(500, 741)``.
    """

    photo: UInt8[np.ndarray, "h w 3"]
    disparity: Float32[np.ndarray, "h w"]


@functools.cache
def load_motorcycle() -> Motorcycle:
    """Read the photo and its disparity from the scikit-image package.

    References:
        D. Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth", GCPR 2014.
    """
    with np.load(textures.shipped("motorcycle_disp.npz"), allow_pickle=False) as archive:
        measured = archive["arr_0"]
    disparity = fill_holes(measured)
    disparity = (disparity - disparity.min()) / (disparity.max() - disparity.min())
    disparity.setflags(write=False)
    return Motorcycle(textures.photo("motorcycle_left.png"), disparity)


def motorcycle_pair(
    split: Split, key: tuple[int, int], image_size: tuple[int, int], camera: Camera, near: bool, name: str
) -> Pair:
    """Crop the Motorcycle and refocus it.

    Pixels that the camera clipped are taken to be up to ``1 + _BOOST`` times brighter, so that glints become discs.
    The disparity of each pixel is the largest around it: the mixed pixels of an outline then belong to the near
    side, and the background spreads without a rim of its colour.

    Args:
        split: Which part of the photo is seen.
        key: The crop is a function of it and the split.
        image_size: ``(height, width)`` in pixels.
        camera: The lens to use.
        near: Focus on the motorcycle (or the nearest fifth, if the crop has none of it) rather than behind it.
        name: The pair's id.
    """
    rng = np.random.default_rng([_SPLIT_CODES[split], *key])
    photo, disparity = _crop(rng, split, image_size)
    light = linearise(photo)
    clipped = np.clip((light.min(axis=2, keepdims=True) - _CLIPPED) / (1 - _CLIPPED), 0, 1)
    light = light * (1 + np.float32(_BOOST) * clipped)
    disparity = ndimage.maximum_filter(disparity, size=3)
    lens = camera.lens(_focus(disparity, near), image_size[1])
    return photograph(name, slice_photo(light, disparity, lens), lens, disparity)


def _crop(
    rng: np.random.Generator, split: Split, image_size: Sequence[int]
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    motorcycle = load_motorcycle()
    height, width = image_size
    first, last = _COLUMNS[split]
    largest = min(last - first, int(motorcycle.photo.shape[0] * width / height))
    wide = int(rng.uniform(0.55, 1.0) * largest)
    tall = int(wide * height / width)
    left = int(rng.integers(first, last - wide + 1))
    top = int(rng.uniform(0.1, 0.75) * (motorcycle.photo.shape[0] - tall))
    box = (left, top, left + wide, top + tall)
    photo = Image.fromarray(motorcycle.photo).resize((width, height), Image.Resampling.LANCZOS, box=box)
    # Nearest: a mean of two surfaces' disparities would be a third surface between them.
    disparity = Image.fromarray(motorcycle.disparity).resize((width, height), Image.Resampling.NEAREST, box=box)
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    return np.ascontiguousarray(np.asarray(photo)[:, flip]), np.ascontiguousarray(np.asarray(disparity)[:, flip])


def _focus(disparity: Float32[np.ndarray, "h w"], near: bool) -> float:
    """Return the median disparity of the motorcycle, or of what is behind it; of an extreme fifth if there is none."""
    chosen = disparity[disparity > _NEAR] if near else disparity[disparity < _FAR]
    if chosen.size < disparity.size / 20:
        edge = np.quantile(disparity, 0.8 if near else 0.2)
        chosen = disparity[disparity >= edge] if near else disparity[disparity <= edge]
    return float(np.median(chosen))
