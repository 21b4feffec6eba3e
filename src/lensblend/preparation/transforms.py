"""Plane transforms between two photos: what they do to points, and how they are found from pairs of points."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float64
from scipy.optimize import least_squares

Model = Literal["homography", "affine", "similarity"]
MODELS: tuple[Model, ...] = ("homography", "affine", "similarity")
THRESHOLD = 3.0  # pixels, at the matched size, that an inlier lies off at most
ITERATIONS = 5000
CONFIDENCE = 0.9999


def mapped(transform: Float64[np.ndarray, "3 3"], points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Return where a transform takes points (x, y).

    Example:
        >>> mapped(np.diag([2.0, 2.0, 1.0]), np.array([[1.0, 3.0]])).tolist()
        [[2.0, 6.0]]
    """
    taken = np.column_stack([points, np.ones(len(points))]) @ transform.T
    return taken[:, :2] / taken[:, 2:]


def estimate(
    here: Float64[np.ndarray, "n 2"], there: Float64[np.ndarray, "n 2"], model: Model, threshold: float = THRESHOLD
) -> tuple[Float64[np.ndarray, "3 3"], np.ndarray] | None:
    """Return a transform and which matches agree with it; None where there is none."""
    options: dict[str, Any] = {
        "method": cv2.RANSAC,
        "ransacReprojThreshold": threshold,
        "maxIters": ITERATIONS,
        "confidence": CONFIDENCE,
    }
    if model == "homography":
        found, inlier = cv2.findHomography(here, there, **options)
    else:
        solve = cv2.estimateAffine2D if model == "affine" else cv2.estimateAffinePartial2D
        found, inlier = solve(here, there, **options, refineIters=50)
    if found is None or not np.isfinite(found).all() or not inlier.any():
        return None
    transform = np.vstack([found, [0, 0, 1]]) if model != "homography" else np.asarray(found)
    if abs(np.linalg.det(transform)) < 1e-9:
        return None
    return transform.astype(np.float64), inlier.ravel().astype(bool)


def compromise(
    transform: Float64[np.ndarray, "3 3"],
    here: Float64[np.ndarray, "n 2"],
    there: Float64[np.ndarray, "n 2"],
    model: Model,
    scale: float,
) -> Float64[np.ndarray, "3 3"]:
    """Return the transform of a model that takes points to others best by Cauchy's loss.

    Every point counts, the less the farther it lies off: with a threshold, which points count would change at once
    with a small change of the photos.

    Args:
        transform: Where the search starts.
        here: Points (x, y), pixels.
        there: Where they lie in the other photo.
        model: Has 8, 6 or 4 numbers.
        scale: A distance in pixels; at this one the loss grows half as fast as a square.
    """
    middle, spread = here.mean(axis=0), float(here.std())
    # Numbers of one size: points run from about -2 to 2.
    centred = np.array([[spread, 0, middle[0]], [0, spread, middle[1]], [0, 0, 1.0]])
    start = np.linalg.inv(centred) @ transform @ centred
    start /= start[2, 2]

    def whole(numbers: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "3 3"]:
        if model == "similarity":
            (a, b, x, y) = numbers
            return np.array([[a, -b, x], [b, a, y], [0, 0, 1.0]])
        return np.append(numbers, [0, 0, 1.0][-(9 - len(numbers)) :]).reshape(3, 3)

    def off(numbers: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " m"]:
        return (mapped(centred @ whole(numbers) @ np.linalg.inv(centred), here) - there).ravel()

    first = start.ravel()[:8] if model == "homography" else start.ravel()[:6]
    if model == "similarity":
        first = np.array([start[0, 0], start[1, 0], start[0, 2], start[1, 2]])
    found = centred @ whole(least_squares(off, first, loss="cauchy", f_scale=scale).x) @ np.linalg.inv(centred)
    return np.asarray(found / found[2, 2])
