"""A transform between two photos made better on points all over them, sharp or blurred."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from lensblend.preparation.transforms import THRESHOLD, Model, compromise, estimate, mapped

LEAST_INLIERS = 30
_SMOOTHING = 1.0  # sigma, pixels
_POINTS = 1500
_WINDOW = 31  # pixels, a side
_RETURNS = 0.3  # pixels, that a point found there and back again lies off at most
_CLOSE = 1.5  # pixels, that a point found again lies off at most
_AGREEING = 0.92  # share of the points found again; fewer agree where parallax and wide blurs shift them
_ROUNDS = 2
_FARTHEST = 10.0  # pixels, that a point found again lies off at most where not enough agree
_SCALE = 2.0  # pixels, of Cauchy's loss there
_COMPROMISES = 3
Points = Float64[np.ndarray, "n 2"]


def refined(
    transform: Float64[np.ndarray, "3 3"],
    matches: tuple[Points, Points],
    reference: UInt8[np.ndarray, "h w"],
    moving: UInt8[np.ndarray, "i j"],
    model: Model,
) -> Float64[np.ndarray, "3 3"]:
    """Return the transform that points all over the photo agree on.

    Corners of the reference, evenly spread, are found again in the moving photo as the transform lays it, to a
    hundredth of a pixel; both are smoothed, which makes sharp and blurred places alike. Where parallax and wide blurs
    keep them from agreeing, no transform is right for all: then these points and the matches are all weighed up.

    Args:
        transform: Takes the moving photo to the reference, to a few pixels.
        matches: Features of the moving photo, and where they lie in the reference.
        reference: Grey.
        moving: Grey.
        model: What kind of transform it is.
    """
    first, fixed = transform, cv2.GaussianBlur(reference, (0, 0), _SMOOTHING)
    for _ in range(_ROUNDS):
        here, there = _found_again(transform, fixed, moving, THRESHOLD, 1)
        step = estimate(here, there, model, _CLOSE) if len(here) >= LEAST_INLIERS else None
        if step is None or step[1].sum() < LEAST_INLIERS or step[1].mean() < _AGREEING:
            return _weighed_up(first, matches, fixed, moving, model)
        transform = step[0]
    return transform


def _weighed_up(
    transform: Float64[np.ndarray, "3 3"],
    matches: tuple[Points, Points],
    fixed: UInt8[np.ndarray, "h w"],
    moving: UInt8[np.ndarray, "i j"],
    model: Model,
) -> Float64[np.ndarray, "3 3"]:
    transform = compromise(transform, *matches, model, _SCALE)
    for _ in range(_COMPROMISES):
        here, there = _found_again(transform, fixed, moving, _FARTHEST, 2)
        both = np.concatenate([here, matches[0]]), np.concatenate([there, matches[1]])
        transform = compromise(transform, *both, model, _SCALE)
    return transform


def _found_again(
    transform: Float64[np.ndarray, "3 3"],
    fixed: UInt8[np.ndarray, "h w"],
    moving: UInt8[np.ndarray, "i j"],
    farthest: float,
    levels: int,
) -> tuple[Points, Points]:
    """Return points of the moving photo, and where optical flow finds them in the smoothed reference."""
    size = (fixed.shape[1], fixed.shape[0])
    found = cv2.goodFeaturesToTrack(fixed, _POINTS, 0.001, max(3.0, max(size) / 80))
    if found is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    laid = cv2.GaussianBlur(cv2.warpPerspective(moving, transform, size, flags=cv2.INTER_CUBIC), (0, 0), _SMOOTHING)
    covered = cv2.warpPerspective(np.full(moving.shape, 255, np.uint8), transform, size, flags=cv2.INTER_NEAREST)
    covered = cv2.erode(covered, np.ones((2 * _WINDOW + 1,) * 2, np.uint8), borderValue=255)
    laid = _exposed_as(laid, fixed, covered > 0)
    options: dict[str, Any] = {"winSize": (_WINDOW, _WINDOW), "maxLevel": levels}
    there, seen, _ = cv2.calcOpticalFlowPyrLK(fixed, laid, found, np.empty_like(found), **options)
    back, seen_back, _ = cv2.calcOpticalFlowPyrLK(laid, fixed, there, np.empty_like(found), **options)
    here, there, back = (points.reshape(-1, 2).astype(np.float64) for points in (found, there, back))
    at = here.round().astype(int)
    kept = np.asarray(seen, bool).ravel() & np.asarray(seen_back, bool).ravel() & (covered[at[:, 1], at[:, 0]] > 0)
    kept &= (np.linalg.norm(back - here, axis=1) < _RETURNS) & (np.linalg.norm(there - here, axis=1) < farthest)
    return mapped(np.linalg.inv(transform), there[kept]), here[kept]


def _exposed_as(
    photo: UInt8[np.ndarray, "h w"], like: UInt8[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Return a grey photo with the mean and the contrast of another in a region."""
    if not where.any():
        return photo
    gain = float(like[where].std()) / max(float(photo[where].std()), 1.0)
    shifted = (photo - float(photo[where].mean())) * gain + float(like[where].mean())
    return shifted.clip(0, 255).round().astype(np.uint8)
