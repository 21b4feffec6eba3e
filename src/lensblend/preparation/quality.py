"""How well photo and target of a pair fit each other: place, light, sharpness, content."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from lensblend.data.doubts import sharpness
from lensblend.data.lens import linearise
from lensblend.preparation.refinement import LEAST_INLIERS
from lensblend.preparation.registration import LEAST_RATIO, register
from lensblend.preparation.transforms import mapped

# Measured on three pairs of EBB! and eight of RealBokeh (docs/prepare.md, section "Check").
MOST_RESIDUAL = 0.006  # of the width: 0.0048 and less; 7 pixels of 1536, which the eye sees as well
MOST_EXPOSURE = 1.0  # stops: -0.12 to 0.61
LEAST_GAIN = 1 / 1.2  # 1.17 and more; the threshold at which a training doubts as well
LEAST_DIFFERENCE = 1.5  # levels: 3.0 and more; a copy saved as JPEG of quality 90 differs by 0.4 to 0.6,
SAME_GAIN = 1.1  # and is as sharp; in a dark photo little differs
LEAST_LIKENESS = 0.5  # 0.86 and more; two of 200 photos of EBB! drawn by chance have 0.48 or less in 99 of 100 cases

_LOOKED_AT = 800  # pixels of the longer side, at which a pair takes half a second of one core
_TILES = (16, 24)
_CELLS = (32, 48)
_TEXTURE = 3.0  # levels a pixel: the mean slope in a tile that has something to see
_IN_FOCUS = 0.25  # of the tiles with something to see: those that lose least
_FEWEST = 8  # tiles, or cells that are neither black nor clipped
_DARK, _BRIGHT = 0.01, 0.8  # of white, in linear light


@dataclass(frozen=True)
class PairQuality:
    """What was measured of a pair.

    Attributes:
        residual: Median distance, in pixels of the photo, between what is in focus in the photo and in the target; None
            where too few features match.
        exposure: By how many stops the target is brighter, in linear light; None where all is black or clipped.
        gain: How many times as sharp the photo is as the target; below 1 they may be swapped.
        difference: Mean absolute difference of their grey values, in levels of 255; None for photos of two sizes.
        likeness: Correlation of their brightness from place to place, in [-1, 1]; 1 where both are flat.
    """

    residual: float | None
    exposure: float | None
    gain: float
    difference: float | None
    likeness: float

    def problems(self, width: int) -> dict[str, str]:
        """Return what is wrong by these measures: by kind, a phrase with the measure and its limit.

        Args:
            width: Of the photo, in pixels.
        """
        same = 1 / SAME_GAIN < self.gain < SAME_GAIN
        if same and self.difference is not None and self.difference < LEAST_DIFFERENCE:
            return {"equal": f"the target is the photo (they differ by {self.difference:.1f} levels of 255)"}
        if self.residual is None and self.likeness < LEAST_LIKENESS:
            return {
                "unrelated": "photo and target show different things (no features match, and their brightness "
                f"correlates by {self.likeness:.2f}, less than {LEAST_LIKENESS})"
            }
        found = {}
        if self.gain < LEAST_GAIN:
            found["swapped"] = f"the target is {1 / self.gain:.1f} times as sharp as the photo"
        if self.residual is not None and self.residual > MOST_RESIDUAL * width:
            found["misaligned"] = (
                f"what is in focus lies {self.residual:.1f} pixels apart, more than {MOST_RESIDUAL:.1%} of the width "
                f"({MOST_RESIDUAL * width:.1f})"
            )
        if self.exposure is not None and abs(self.exposure) > MOST_EXPOSURE:
            found["exposure"] = (
                f"the target is {abs(self.exposure):.1f} stops {'brighter' if self.exposure > 0 else 'darker'}, more "
                f"than {MOST_EXPOSURE:g}"
            )
        return found


def measure(photo: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "i j 3"]) -> PairQuality:
    """Measure how well a target fits its photo.

    Large photos are reduced to a long side of 800 pixels first; what is said in pixels is of the photo as given. The
    place is told by `register` with a similarity, which stays sensible where nothing matches, read where the target
    has lost least detail.

    Args:
        photo: All-in-focus photo, 8-bit sRGB.
        target: Its partner.

    Example:
        >>> coarse = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        >>> photo = coarse.repeat(4, axis=0).repeat(4, axis=1)
        >>> quality = measure(photo, np.roll(cv2.blur(photo, (3, 3)), 2, axis=1))
        >>> round(quality.residual), round(quality.gain), list(quality.problems(96))
        (2, 3, ['misaligned'])
    """
    here, there = _reduced(photo), _reduced(target)
    cells = [_cells(picture) for picture in (here, there)]
    return PairQuality(
        _residual(here, there, photo.shape[1] / here.shape[1]),
        _exposure(*cells),
        (sharpness(here) + 1e-6) / (sharpness(there) + 1e-6),
        _difference(photo, target),
        _likeness(*cells),
    )


def _difference(photo: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "i j 3"]) -> float | None:
    """Return it of grey values: JPEG keeps colours coarsely."""
    if photo.shape != target.shape:
        return None
    greys = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (photo, target))
    return float(cv2.absdiff(*greys).mean())


def _reduced(photo: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "i j 3"]:
    height, width = photo.shape[:2]
    share = _LOOKED_AT / max(height, width)
    if share >= 1:
        return photo
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _residual(photo: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "i j 3"], enlarged: float) -> float | None:
    found = register(photo, target, "similarity")
    where = _in_focus(photo, target)
    if found.inliers < LEAST_INLIERS or found.ratio < LEAST_RATIO or where is None:
        return None
    height, width = photo.shape[:2]
    rows, columns = np.nonzero(where)
    points = np.column_stack([(columns + 0.5) / _TILES[1] * width, (rows + 0.5) / _TILES[0] * height]) - 0.5
    moved: Float64[np.ndarray, " n"] = np.linalg.norm(mapped(found.transform, points) - points, axis=1)
    return float(np.median(moved)) * enlarged


def _in_focus(photo: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "i j 3"]) -> Bool[np.ndarray, "m n"] | None:
    """Return the tiles that keep most of their detail in the target; None where hardly any has detail."""
    detail, kept = _slopes(photo), _slopes(target)
    textured = detail > _TEXTURE
    if textured.sum() < _FEWEST:
        return None
    share = kept / np.maximum(detail, 1e-6)
    return textured & (share >= np.quantile(share[textured], 1 - _IN_FOCUS))


def _slopes(photo: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "m n"]:
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    across, down = cv2.spatialGradient(grey)
    slope = np.hypot(across.astype(np.float32), down.astype(np.float32)) / 8
    return np.asarray(cv2.resize(slope, _TILES[::-1], interpolation=cv2.INTER_AREA))


def _cells(photo: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "m n"]:
    """Return the brightness of large cells, in linear light: a blur moves hardly any light between them."""
    return np.asarray(cv2.resize(linearise(photo).mean(axis=2), _CELLS[::-1], interpolation=cv2.INTER_AREA))


def _exposure(photo: Float32[np.ndarray, "m n"], target: Float32[np.ndarray, "m n"]) -> float | None:
    """Return the median over cells that are neither black nor clipped in either."""
    usable = (np.minimum(photo, target) > _DARK) & (np.maximum(photo, target) < _BRIGHT)
    return float(np.median(np.log2(target[usable] / photo[usable]))) if usable.sum() >= _FEWEST else None


def _likeness(photo: Float32[np.ndarray, "m n"], target: Float32[np.ndarray, "m n"]) -> float:
    logs = [np.log2(np.maximum(cells, _DARK)).ravel() for cells in (photo, target)]
    return float(np.corrcoef(logs)[0, 1]) if min(np.ptp(values) for values in logs) > 1e-3 else 1.0
