"""A camera that takes each scene twice: all in focus, and with a shallow depth of field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from lensblend.data.images import MAX_PIXELS
from lensblend.data.lens import Layer, Lens, develop, pinhole, render
from lensblend.data.pairs import Pair
from lensblend.errors import RequestError
from lensblend.ops.optics import SHARP_RADIUS

MOST_PAIRS = 1_000_000  # of one split; their ids are listed
# Of EBB!'s targets, whose discs are those of `Camera`'s default aperture: f/1.8 on a Canon 7D, whose sensor is 1.6
# times smaller than full frame, which takes such a photo at f/2.88.
F_NUMBER = 1.8 * 1.6


class SecondShot(NamedTuple):
    """How a second photo differs from the first, besides its depth of field.

    Attributes:
        gain: Light of the second over that of the first.
        shift: Rows and columns that it lies away, as shares of the width.
    """

    gain: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def develop(self, radiance: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return the photo, 8-bit sRGB; shifted by parts of a pixel, with the frame's edge mirrored."""
        photo = develop(radiance * np.float32(self.gain))
        down, right = (share * photo.shape[1] for share in self.shift)
        if not (down or right):
            return photo
        margin = math.ceil(max(abs(down), abs(right))) + 2
        padded = Image.fromarray(np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
        move = (1, 0, margin - right, 0, 1, margin - down)
        size = photo.shape[1], photo.shape[0]
        return np.asarray(padded.transform(size, Image.Transform.AFFINE, move, Image.Resampling.BICUBIC))


STEADY = SecondShot()


@dataclass(frozen=True)
class Camera:
    """How a scene is photographed; lengths are fractions of the photo's width, so a blur looks the same at any size.

    Attributes:
        aperture: Diameter of the disc one unit of disparity away from the plane in focus. At 0.024 the far background
            of a photo of 1536 pixels spreads over discs of about 30, as in EBB!.
        max_radius: Larger discs are cut to this radius.
        near_focus: Share of the photos that focus on the nearest thing; the others focus on something behind it.
        exposure: Standard deviation, in stops, of how much lighter or darker the second photo is.
        shift: Standard deviation of its misalignment on each axis.
    """

    aperture: float = 0.024
    max_radius: float = 0.012
    near_focus: float = 0.9
    exposure: float = 0.15
    shift: float = 0.0005

    def __post_init__(self) -> None:
        if not (0 <= self.aperture < inf and 0 <= self.max_radius < inf):
            raise RequestError(
                "`aperture` and `max_radius` are fractions of the photo's width and not negative, "
                f"but got {self.aperture} and {self.max_radius}; use 0 for a pinhole."
            )
        if not 0 <= self.near_focus <= 1:
            raise RequestError(f"`near_focus` is a share in [0, 1], but got {self.near_focus}; use 0.9.")
        if not (0 <= self.exposure <= 1 and 0 <= self.shift <= 0.01):
            raise RequestError(
                "`exposure` is in [0, 1] stops and `shift` in [0, 0.01] of the width, "
                f"but got {self.exposure} and {self.shift}; use 0 for none."
            )

    @staticmethod
    def aperture_at(f_number: float) -> float:
        """Return the diameter of the disc at a full-frame aperture, as `aperture` counts it.

        Example:
            >>> round(Camera.aperture_at(2 * F_NUMBER), 6)
            0.012
        """
        return Camera.aperture * F_NUMBER / f_number

    @staticmethod
    def f_number(node: Mapping[str, Any]) -> float | None:
        """Return the aperture at which a data set is rendered, by its node of a configuration; None for a pinhole."""
        aperture = node.get("aperture", Camera.aperture)
        return Camera.aperture * F_NUMBER / aperture if isinstance(aperture, int | float) and aperture > 0 else None

    def lens(self, focus: float, width: int) -> Lens:
        """Return the lens for a photo of this width in pixels, focused at a disparity."""
        return Lens(focus, self.aperture * width, self.max_radius * width)

    @property
    def number(self) -> float | None:
        """The f-number that its photos are of; None of a pinhole."""
        return f_number_of(self.lens(0.0, 1), 1)

    def at(self, f_number: float | int) -> Camera:
        """Return the camera with its aperture at an f-number, and the cut of the largest discs in proportion.

        Example:
            >>> Camera().number, Camera().at(5.6).number
            (2.88, 5.6)
        """
        aperture = self.aperture_at(f_number)
        cut = self.max_radius * aperture / self.aperture if self.aperture else self.max_radius
        return replace(self, aperture=aperture, max_radius=cut)

    def second_shot(self, rng: np.random.Generator) -> SecondShot:
        """Draw how the second photo differs from the first by being another exposure; within two deviations."""
        stops, down, right = np.clip(rng.standard_normal(3), -2, 2)
        return SecondShot(float(2 ** (self.exposure * stops)), (self.shift * float(down), self.shift * float(right)))


def f_number_of(lens: Lens, width: int) -> float | None:
    """Return the f-number of a lens before a photo of this width in pixels; None of a pinhole."""
    found = Camera.f_number({"aperture": lens.aperture / width})
    return None if found is None else round(found, 6)


def checked_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Return ``(height, width)``, or refuse what is not one."""
    size = tuple(image_size)
    if len(size) != 2 or not all(isinstance(side, int) and side >= 32 for side in size):
        raise RequestError(f"`image_size` is (height, width), both at least 32, but got {list(size)}; use [192, 256].")
    if size[0] * size[1] > MAX_PIXELS:
        raise RequestError(f"`image_size` has at most {MAX_PIXELS:,} pixels, but got {list(size)}; use [192, 256].")
    return size[0], size[1]


def visible_disparity(layers: Sequence[Layer]) -> Float32[np.ndarray, "h w"]:
    """Return the disparity of the nearest layer that covers at least half of each pixel; 0 where none does."""
    disparity = np.zeros_like(layers[0].alpha)
    for layer in layers:
        disparity = np.where(layer.alpha >= 0.5, layer.disparity, disparity)
    return disparity


def in_focus(disparity: Float32[np.ndarray, "h w"], lens: Lens) -> Bool[np.ndarray, "h w"]:
    """Return True where the disc of the visible surface lies inside one pixel."""
    return lens.radius(disparity) < SHARP_RADIUS


def photograph(
    name: str,
    layers: Sequence[Layer],
    lens: Lens,
    disparity: Float32[np.ndarray, "h w"] | None = None,
    second: SecondShot = STEADY,
) -> Pair:
    """Take a scene twice, with a pinhole and through a lens, as 8-bit sRGB with disparity and in-focus mask.

    Args:
        name: The pair's id.
        layers: Of one size, farthest first.
        lens: Where it is focused and how far open it is.
        disparity: Where it is known better than by the layers.
        second: How the second photo differs besides.
    """
    disparity = visible_disparity(layers) if disparity is None else disparity
    return Pair(
        id=name,
        photo=develop(pinhole(layers)),
        target=second.develop(render(layers, lens)),
        maps={"disparity": disparity, "mask": in_focus(disparity, lens)},
        f_number=f_number_of(lens, disparity.shape[1]),
    )
