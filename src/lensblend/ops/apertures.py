"""The shapes that points out of focus take: round and bladed apertures, clipped by the rim of the lens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from lensblend.errors import RequestError
from lensblend.ops.optics import SHARP_RADIUS, defocus_disc

_FEWEST_BLADES, _MOST_BLADES = 3, 32


@dataclass(frozen=True)
class Aperture:
    """The hole that light passes, and how far the rim of the lens cuts it off towards the frame's corners.

    Attributes:
        blades: Corners of the aperture, 3 or more; 0 is round.
        rotation: By how much it is turned, in degrees, clockwise; without, one corner points up.
        cats_eye: How far, in radii, a second round rim is shifted against the aperture for points in a corner of the
            frame, in [0, 1]; the shift grows linearly from the centre. 0 is none, at 1 a corner's disc keeps two
            fifths of its area.

    Raises:
        RequestError: A value is out of range.
    """

    blades: int = 0
    rotation: float = 0.0
    cats_eye: float = 0.0

    def __post_init__(self) -> None:
        if self.blades and not _FEWEST_BLADES <= self.blades <= _MOST_BLADES:
            raise RequestError(
                f"`blades` is {_FEWEST_BLADES} to {_MOST_BLADES}, or 0 for a round aperture, but got {self.blades}; "
                "use 6."
            )
        if not math.isfinite(self.rotation):
            raise RequestError(f"`rotation` is in degrees, but got {self.rotation}; use 0.")
        if not 0 <= self.cats_eye <= 1:
            raise RequestError(f"`cats_eye` is in [0, 1], but got {self.cats_eye}; use 0 for none, or 0.5.")

    def disc(
        self, radius: float, place: tuple[float, float] = (0.0, 0.0), before: bool = False
    ) -> Float64[np.ndarray, "k k"]:
        """Return what a point spreads over: each pixel holds its share of the area.

        A bladed aperture has the area of the round one of that radius, so that it blurs and lights as much. Up to
        ``SHARP_RADIUS`` it is a single pixel.

        Args:
            radius: In pixels.
            place: Where the point lies: down and right from the frame's centre, a corner one unit away.
            before: The point is nearer than what is in focus: its disc is turned by half a circle.

        Returns:
            A kernel of odd side that sums to one.

        Example:
            >>> Aperture(blades=6).disc(5.0).shape, Aperture().disc(5.0).shape
            ((11, 11), (11, 11))
        """
        shift = [self.cats_eye * along for along in place]
        if radius <= SHARP_RADIUS or not (self.blades or any(shift)):
            return defocus_disc(radius)
        corners = _circumradius(radius, self.blades)
        reach = math.ceil(corners - 0.5)
        side = 2 * reach + 1
        parts = max(4, math.ceil(128 / side))  # sampled lines a pixel: small discs need more
        lines = ((np.arange(side * parts) + 0.5) / parts - 0.5 - reach) * (-1 if before else 1)
        # Half of the shift each, so that what is left stays where the point is.
        down, right = (lines[:, None] - shift[0] * radius / 2, lines[None] - shift[1] * radius / 2)
        inside = _opening(down, right, radius, self.blades, self.rotation)
        if any(shift):
            inside &= (down + shift[0] * radius) ** 2 + (right + shift[1] * radius) ** 2 <= radius**2
        kernel: np.ndarray = inside.reshape(side, parts, side, parts).mean(axis=(1, 3))
        return kernel / kernel.sum()


def _circumradius(radius: float, blades: int) -> float:
    """Return how far the corners of a regular polygon of a disc's area lie from its centre."""
    return radius * math.sqrt(2 * math.pi / (blades * math.sin(2 * math.pi / blades))) if blades else radius


def _opening(
    down: Float64[np.ndarray, "n 1"], right: Float64[np.ndarray, "1 n"], radius: float, blades: int, rotation: float
) -> Bool[np.ndarray, "n n"]:
    if not blades:
        return down**2 + right**2 <= radius**2
    edge = _circumradius(radius, blades) * math.cos(math.pi / blades)
    inside = np.ones((down.size, right.size), np.bool_)
    for side in range(blades):
        # Clockwise from the top, half a side beyond each corner.
        angle = math.radians(rotation) + (2 * side + 1) * math.pi / blades
        inside &= right * math.sin(angle) - down * math.cos(angle) <= edge
    return inside
