"""How one photo of a scene lies on another of it: a transform, and whether it is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from lensblend.preparation.refinement import LEAST_INLIERS, refined
from lensblend.preparation.transforms import Model, estimate, mapped

LONGEST_SIDE = 1600  # pixels at which features are matched; a larger photo is reduced to it
RATIO = 0.75  # of the distances to the nearest descriptor and to the next
LEAST_MATCHES = 4
LEAST_RATIO = 0.25
MOST_SCALING = 0.1
MOST_DISPLACEMENT = 0.1


@dataclass(frozen=True)
class Registration:
    """How a moving photo lies on a reference, in pixels whose centres have whole coordinates, x before y.

    Attributes:
        transform: From pixels of the moving photo to those of the reference; the last entry is 1.
        matches: Pairs of features that passed the ratio test.
        inliers: Those that agree with the transform.
        ratio: Of inliers to matches.
        residual: Median distance of the inliers to where the transform takes them, in pixels of the reference.
        scale: By how much the transform enlarges the middle of the photo.
        displacement: By how much a corner moves at most, as a share of the reference's width.
        problem: Why the transform is not to be trusted; None where it is.
    """

    transform: Float64[np.ndarray, "3 3"]
    matches: int
    inliers: int
    ratio: float
    residual: float
    scale: float
    displacement: float
    problem: str | None


def register(
    reference: UInt8[np.ndarray, "h w 3"], moving: UInt8[np.ndarray, "i j 3"], model: Model = "homography"
) -> Registration:
    """Find the transform that lays a photo on another of the same scene.

    SIFT features of both are matched by the ratio test, and a transform is found with RANSAC and by least squares over
    its inliers. Features lie where the photos are sharp, and a transform of eight numbers errs away from them; so it is
    refined on points all over the photo, found again by optical flow, which a symmetric blur does not shift; see
    `lensblend.preparation.refinement.refined`. Equal photos give equal results: OpenCV seeds these draws with a
    constant.

    Args:
        reference: RGB, such as the photo at the narrow aperture.
        moving: RGB, such as the one at the wide aperture.
        model: A homography has 8 degrees of freedom, an affinity 6, a similarity 4.

    References:
        D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60 (2004), section 7.1.
        B. Lucas, T. Kanade, "An iterative image registration technique with an application to stereo vision",
        IJCAI 1981.
        A. Ignatov et al., "AIM 2019 challenge on bokeh effect synthesis", section 2, names SIFT and RANSAC.
    """
    fixed, fixed_scaling = _reduced(reference)
    movable, movable_scaling = _reduced(moving)
    here, there = _matches(movable, fixed)
    found = estimate(here, there, model) if len(here) >= LEAST_MATCHES else None
    if found is None:
        return Registration(np.eye(3), len(here), 0, 0.0, float("inf"), 1.0, 0.0, _too_few(0))
    transform, inlier = found
    inliers = int(inlier.sum())
    if inliers >= LEAST_INLIERS:
        transform = refined(transform, (here, there), fixed, movable, model)
    distances = np.linalg.norm(mapped(transform, here[inlier]) - there[inlier], axis=1)
    full = np.linalg.inv(fixed_scaling) @ transform @ movable_scaling
    full /= full[2, 2]
    scale, displacement = _scale(full, moving.shape[:2]), _displacement(full, reference.shape[:2], moving.shape[:2])
    ratio = inliers / len(here)
    return Registration(
        full,
        len(here),
        inliers,
        ratio,
        float(np.median(distances)) / fixed_scaling[0, 0],
        scale,
        displacement,
        _problem(inliers, ratio, scale, displacement, _is_convex(full, moving.shape[:2])),
    )


def corners(size: tuple[int, int]) -> Float64[np.ndarray, "4 2"]:
    """Return the centres (x, y) of the corner pixels of a picture of this (height, width), clockwise.

    Example:
        >>> corners((2, 3)).tolist()
        [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]]
    """
    bottom, right = size[0] - 1.0, size[1] - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def _reduced(photo: UInt8[np.ndarray, "h w 3"]) -> tuple[UInt8[np.ndarray, "i j"], Float64[np.ndarray, "3 3"]]:
    """Return the photo in grey, not larger than is matched, and the transform that reduced it."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    share = min(1.0, LONGEST_SIDE / max(height, width))
    if share < 1.0:
        size = max(1, round(width * share)), max(1, round(height * share))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    down, across = grey.shape[0] / height, grey.shape[1] / width
    # The picture's edges lie on each other, half a pixel outside the centres.
    scaling = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
    return np.asarray(grey, dtype=np.uint8), scaling


def _matches(
    moving: UInt8[np.ndarray, "i j"], reference: UInt8[np.ndarray, "h w"]
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """Return the places of the features that pass the ratio test, in either photo; a place is named once."""
    sift = cv2.SIFT.create(nfeatures=0)
    features, described = sift.detectAndCompute(moving, None)
    others, described_others = sift.detectAndCompute(reference, None)
    if len(features) < 2 or len(others) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    nearest: list[Any] = list(cv2.BFMatcher(cv2.NORM_L2).knnMatch(described, described_others, k=2))
    kept = [first for first, second in nearest if first.distance < RATIO * second.distance]
    # A feature with two directions is found twice at one place.
    places = {(*features[m.queryIdx].pt, *others[m.trainIdx].pt): None for m in kept}
    both = np.array(list(places), dtype=np.float64).reshape(-1, 4)
    return both[:, :2].copy(), both[:, 2:].copy()


def _scale(transform: Float64[np.ndarray, "3 3"], size: tuple[int, int]) -> float:
    """Return by how much lengths grow in the middle of a photo: the root of the area's growth, a homography's too."""
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0])
    # The determinant of a homography's derivative.
    growth = np.linalg.det(transform) / float(transform[2] @ middle) ** 3
    return float(np.sqrt(abs(growth)))


def _displacement(transform: Float64[np.ndarray, "3 3"], reference: tuple[int, int], moving: tuple[int, int]) -> float:
    moved = mapped(transform, corners(moving)) - corners(reference)
    return float(np.linalg.norm(moved, axis=1).max() / reference[1])


def _is_convex(transform: Float64[np.ndarray, "3 3"], size: tuple[int, int]) -> bool:
    """Tell whether a photo stays a convex quadrilateral, seen from the front."""
    depths = np.column_stack([corners(size), np.ones(4)]) @ transform[2]
    sides = np.roll(mapped(transform, corners(size)), -1, axis=0) - mapped(transform, corners(size))
    after = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
    return bool((depths > 0).all() and (turns > 0).all())


def _too_few(inliers: int) -> str:
    return f"{inliers} inliers, fewer than {LEAST_INLIERS}"


def _problem(inliers: int, ratio: float, scale: float, displacement: float, convex: bool) -> str | None:
    """Return the first rule that a transform breaks."""
    rules = (
        (inliers < LEAST_INLIERS, _too_few(inliers)),
        (ratio < LEAST_RATIO, f"inlier ratio {ratio:.2f}, less than {LEAST_RATIO}"),
        (not convex, "the photo would be folded: its corners do not stay convex"),
        (abs(scale - 1) > MOST_SCALING, f"scale {scale:.3f}, more than {MOST_SCALING} from 1"),
        (
            displacement > MOST_DISPLACEMENT,
            f"a corner moves by {displacement:.1%} of the width, more than {MOST_DISPLACEMENT:.0%}",
        ),
    )
    return next((said for broken, said in rules if broken), None)
