"""A data set, and an augmentation that changes the pairs of any data set."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.data.transforms import key_seed


class Lights(Source):
    """Draw photos of lights at night; in the targets, the amber ones, which are far away, are out of focus.

    Yours may read files instead: ``split`` returns `Pairs`, which have ``ids`` and ``load``.

    Args:
        train: Number of training pairs.
        val: Number of validation pairs.
        image_size: ``(height, width)``.
        blur: Side of the blur, in pixels, odd.
    """

    def __init__(self, train: int = 64, val: int = 8, image_size: Sequence[int] = (96, 128), blur: int = 9) -> None:
        self._lengths = {"train": train, "val": val}
        self._image_size, self._blur = tuple(image_size), blur

    def split(self, name: Split) -> Pairs:
        """Return the pairs of one split."""
        return LightPairs(name, self._lengths[name], self._image_size, self._blur)


class LightPairs(Pairs):
    """Pairs of one split, each a function of the split and its index."""

    def __init__(self, split: Split, length: int, image_size: tuple[int, ...], blur: int) -> None:
        self.ids = [f"{split}-{index:03d}" for index in range(length)]
        self._key, self._image_size, self._blur = split == "val", image_size, blur

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Draw one pair."""
        draw = np.random.default_rng([self._key, index])
        far, near = (_lights(draw, self._image_size, colour) for colour in ((255, 170, 40), (200, 220, 255)))
        blurred = far.filter(ImageFilter.BoxBlur(self._blur // 2))
        photo, target = (np.array(ImageChops.lighter(behind, near)) for behind in (far, blurred))
        return Pair(self.ids[index], photo, target)


def _lights(draw: np.random.Generator, image_size: tuple[int, ...], colour: tuple[int, int, int]) -> Image.Image:
    height, width = image_size
    picture = Image.new("RGB", (width, height), (16, 16, 24))
    for row, column in draw.integers(0, image_size, (30, 2)):
        ImageDraw.Draw(picture).rectangle((column, row, column + 5, row + 5), colour)
    return picture


class Exposures(Source):
    """Expose the training pairs of another data set differently in each epoch.

    Args:
        source: The data set.
        stops: How far at most, up or down.
    """

    def __init__(self, source: Source, stops: float = 0.5) -> None:
        self._source, self._stops = source, stops

    def split(self, name: Split) -> Pairs:
        """Return the pairs of one split."""
        pairs = self._source.split(name)
        return ExposedPairs(pairs, self._stops) if name == "train" else pairs


class ExposedPairs(Pairs):
    """The pairs of a split, exposed by epoch and index alone, so that a run that goes on sees them again."""

    def __init__(self, pairs: Pairs, stops: float) -> None:
        self.ids, self._pairs, self._stops = pairs.ids, pairs, stops

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair, photo and target exposed alike."""
        pair = self._pairs.load(index, epoch)
        gain = 2 ** np.random.default_rng(key_seed(epoch, index)).uniform(-self._stops, self._stops)
        return replace(pair, photo=_exposed(pair.photo, gain), target=_exposed(pair.captured(), gain))


def _exposed(photo: np.ndarray, gain: float) -> np.ndarray:
    return np.clip(np.rint(photo * gain), 0, 255).astype(np.uint8)
