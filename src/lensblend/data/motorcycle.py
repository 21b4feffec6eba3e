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

# The two splits see disjoint parts of the photo: seat and engine, or headlight and front wheel. Training crops overlap;
# of validation there is one crop in the upper and one in the lower half, so that no two pairs show the same.
_AREAS: dict[Split, tuple[tuple[int, int, int, int], ...]] = {
    "train": ((0, 40, 470, 500),),
    "val": ((470, 0, 741, 250), (470, 250, 741, 500)),
}
VALIDATION_CROPS = len(_AREAS["val"])
_SPLIT_CODES = {"train": 2, "val": 3}
_SMALLEST_CROP = 0.7
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
    split: Split, key: tuple[int, int], image_size: tuple[int, int], camera: Camera, near: bool, name: str, number: int
) -> Pair:
    """Crop the Motorcycle and refocus it.

    Pixels that the camera clipped are taken to be up to ``1 + _BOOST`` times brighter, so that glints become discs.

    Args:
        split: Which part of the photo is seen.
        key: The crop is a function of it and the split.
        image_size: ``(height, width)`` in pixels.
        camera: The lens to use.
        near: Focus on the motorcycle (or the nearest fifth, if the crop has none of it) rather than behind it.
        name: The pair's id.
        number: Of the crop in its split; validation crops 0 and 1 are disjoint.
    """
    rng = np.random.default_rng([_SPLIT_CODES[split], *key])
    areas = _AREAS[split]
    photo, disparity, edge = _crop(rng, areas[number % len(areas)], image_size)
    light = linearise(photo)
    clipped = np.clip((light.min(axis=2, keepdims=True) - _CLIPPED) / (1 - _CLIPPED), 0, 1)
    light = light * (1 + np.float32(_BOOST) * clipped)
    lens = camera.lens(_focus(disparity, near), image_size[1])
    return photograph(name, slice_photo(light, disparity, lens, edge), lens, disparity, camera.second_shot(rng))


def _crop(
    rng: np.random.Generator, area: tuple[int, int, int, int], image_size: Sequence[int]
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"], int]:
    """Return photo and disparity of a crop, and how far its outlines are blurred to each side, in pixels."""
    motorcycle = load_motorcycle()
    height, width = image_size
    first, highest, last, lowest = area
    largest = min(last - first, (lowest - highest) * width / height)
    wide = max(1, int(rng.uniform(_SMALLEST_CROP, 1.0) * largest))
    tall = max(1, int(wide * height / width))
    left = int(rng.integers(first, last - wide + 1))
    top = int(rng.integers(highest, lowest - tall + 1))
    box = (left, top, left + wide, top + tall)
    photo = Image.fromarray(motorcycle.photo).resize((width, height), Image.Resampling.LANCZOS, box=box)
    # Nearest: a mean of two surfaces' disparities would be a third surface between them.
    disparity = Image.fromarray(motorcycle.disparity).resize((width, height), Image.Resampling.NEAREST, box=box)
    # The median rounds off the stairs of an enlarged outline, and keeps to one of its two sides.
    edge = max(1, round(width / wide))
    rounded = ndimage.median_filter(np.asarray(disparity), 2 * edge + 1 if edge > 1 else 1)
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    return np.ascontiguousarray(np.asarray(photo)[:, flip]), np.ascontiguousarray(rounded[:, flip]), edge


def _focus(disparity: Float32[np.ndarray, "h w"], near: bool) -> float:
    """Return the median disparity of the motorcycle, or of what is behind it; of an extreme fifth if there is none."""
    chosen = disparity[disparity > _NEAR] if near else disparity[disparity < _FAR]
    if chosen.size < disparity.size / 20:
        edge = np.quantile(disparity, 0.8 if near else 0.2)
        chosen = disparity[disparity >= edge] if near else disparity[disparity <= edge]
    return float(np.median(chosen))
