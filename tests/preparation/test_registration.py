"""Transforms are drawn and applied by OpenCV's warp; the errors are of the corners that it maps."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data, transform

from lensblend.data.images import read_photo
from lensblend.preparation.captures import find_captures
from lensblend.preparation.registration import LONGEST_SIDE, register
from lensblend.preparation.transforms import mapped

CHECKOUT = Path(__file__).parents[2]
BENCHMARK = runpy.run_path(str(CHECKOUT / "benchmarks/alignment.py"))
case, corner_error = BENCHMARK["case"], BENCHMARK["corner_error"]
# Each photo and each model once, and some seeds that follow; `benchmarks/alignment.py` tries 200.
FAST, SLOW = (0, 2, 5, 7, 8, 10), tuple(range(12, 18))


def check(seed):
    drawn = case(seed)
    found = register(drawn.reference, drawn.moving, drawn.model)
    assert found.problem is None
    assert corner_error(drawn, found) < 1, f"seed {seed}"
    return drawn, found


@pytest.mark.parametrize("seed", FAST)
def test_a_known_warp_is_found_though_half_is_blurred(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW)
def test_more_known_warps_are_found(seed):
    check(seed)


def test_what_is_said_of_a_registration():
    drawn, found = check(8)
    again = register(drawn.reference, drawn.moving, drawn.model)
    np.testing.assert_array_equal(found.transform, again.transform)
    known = transform.SimilarityTransform(matrix=drawn.transform / drawn.transform[2, 2])
    assert found.scale == pytest.approx(known.scale, abs=1e-3)
    height, width = drawn.moving.shape[:2]
    corners = np.array([[0.0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    farthest = np.linalg.norm(known(corners) - corners, axis=1).max()
    assert found.displacement == pytest.approx(farthest / width, abs=1e-3)
    assert 0.25 < found.ratio <= 1
    assert found.ratio == found.inliers / found.matches
    assert 0 < found.residual < 1
    np.testing.assert_allclose(mapped(found.transform, corners), known(corners), atol=0.5)


@pytest.mark.parametrize(("first", "second"), [("astronaut", "coffee"), ("rocket", "chelsea"), ("coffee", "rocket")])
def test_two_different_photos_are_refused(first, second):
    found = register(getattr(data, first)(), getattr(data, second)())
    assert "inliers, fewer than 30" in found.problem


def test_photos_without_any_feature_are_refused():
    flat = np.full((64, 96, 3), 90, np.uint8)
    assert register(flat, flat).problem == "0 inliers, fewer than 30"


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        ([[1.25, 0, -60], [0, 1.25, -60], [0, 0, 1]], "scale 0.800, more than 0.1 from 1"),
        ([[1, 0, 80], [0, 1, 0], [0, 0, 1]], "a corner moves by 15.6% of the width, more than 10%"),
    ],
)
def test_what_no_two_exposures_differ_by_is_refused(matrix, problem):
    photo = data.astronaut()
    moving = cv2.warpPerspective(photo, np.array(matrix, float), (512, 512))
    assert register(photo, moving).problem == problem


@pytest.mark.slow
def test_large_photos_are_matched_small_and_mapped_back():
    large = cv2.resize(data.coffee(), (LONGEST_SIDE + 400, 1300), interpolation=cv2.INTER_CUBIC)
    known = np.array([[1.01, 0.005, -12], [-0.004, 0.99, 31.5], [0, 0, 1.0]])
    moving = cv2.warpPerspective(large, known, (large.shape[1], large.shape[0]), flags=cv2.WARP_INVERSE_MAP)
    found = register(large, moving, "affine")
    assert found.problem is None
    assert corner_error(BENCHMARK["Case"]("coffee", "affine", large, moving, known), found) < 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["realbokeh-sample", "ebb-sample/Training"])
def test_a_displacement_of_real_captures_is_recovered(place):
    folder = CHECKOUT / "../shared/data" / place
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for capture in find_captures(folder).captures:
        found, _, off = BENCHMARK["displaced"](read_photo(capture.narrow), read_photo(capture.wide), "similarity")
        assert found.problem is None
        assert off < 1, capture.name
