"""What is measured of a pair, against pairs of which it is known: OpenCV and SciPy make them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from lensblend.data.images import read_photo
from lensblend.data.transforms import resize_lanczos
from lensblend.preparation.quality import MOST_RESIDUAL, measure

SHARED = Path(__file__).parents[2] / "../shared/data"
REAL = [("ebb-sample/Training/original/{0}.jpg", "ebb-sample/Training/bokeh/{0}.jpg", i) for i in (2977, 2978, 2979)]
REAL += [("realbokeh-sample/4641/f22.jpg", "realbokeh-sample/4641/{0}.jpg", f) for f in ("f14", "f2.0")]
REAL += [("realbokeh-sample/4917/f22.jpg", "realbokeh-sample/4917/{0}.jpg", f) for f in ("f13", "f2.0")]


def taken_again(photo, shift=(0, 0), stops=0.0):
    """The photo with its right half out of focus, moved by (right, down) pixels, its light changed; by SciPy."""
    light = photo / 255.0
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    blurred = ndimage.gaussian_filter(light, (4, 4, 0))
    light[:, light.shape[1] // 2 :] = blurred[:, light.shape[1] // 2 :]
    light = np.clip(ndimage.shift(light, (shift[1], shift[0], 0), order=1, mode="nearest") * 2**stops, 0, 1)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(skimage.data.astronaut(), (360, 360), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    ("shift", "stops", "kinds"),
    [
        ((0, 0), 0.0, set()),
        ((6, 0), 0.0, {"misaligned"}),
        ((-4, 3), 0.3, {"misaligned"}),
        ((1, 1), -0.5, set()),
        ((0, 0), -1.4, {"exposure"}),
        ((60, 0), 0.0, {"misaligned"}),  # more than an alignment would accept
    ],
)
def test_place_and_light_of_a_photo_taken_again(photo, shift, stops, kinds):
    quality = measure(photo, taken_again(photo, shift, stops))
    assert quality.residual == pytest.approx(np.hypot(*shift), abs=0.3)
    assert quality.exposure == pytest.approx(stops, abs=0.1 if shift != (60, 0) else 0.5)
    assert quality.gain > 1.2
    assert set(quality.problems(photo.shape[1])) == kinds


def test_pixels_are_those_of_the_photo_as_given(photo):
    large = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert measure(large, taken_again(large, (12, 0))).residual == pytest.approx(12, abs=0.9)


def test_swapped_photo_and_target_are_told_apart_from_a_pair_in_its_order(photo):
    target = taken_again(photo)
    assert measure(target, photo).gain == pytest.approx(1 / measure(photo, target).gain)
    assert set(measure(target, photo).problems(360)) == {"swapped"}


def test_a_copy_is_the_photo_also_when_it_was_saved_as_jpeg(photo):
    saved = cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 95])[1], cv2.IMREAD_COLOR)
    assert set(measure(photo, photo).problems(360)) == set(measure(photo, saved).problems(360)) == {"equal"}


def test_photos_of_two_things_are_no_pair(photo):
    other = resize_lanczos(skimage.data.coffee(), photo.shape[:2])
    quality = measure(photo, other)
    assert quality.residual is None
    assert set(quality.problems(360)) == {"unrelated"}


def test_sizes_may_differ(photo):
    quality = measure(photo, np.ascontiguousarray(photo[:352, :344]))
    assert quality.difference is None
    assert quality.residual == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nothing_to_see_is_not_measured(value):
    flat = np.full((64, 96, 3), value, np.uint8)
    quality = measure(flat, np.full((64, 96, 3), abs(value - 40), np.uint8))
    assert quality.residual is None
    assert (quality.exposure is None) == (value != 128)
    assert measure(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)).residual is None


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample pairs in ../shared/data")
@pytest.mark.parametrize(("photo", "target", "name"), REAL)
def test_real_pairs_are_sound(photo, target, name):
    pair = [read_photo(SHARED / path.format(name)) for path in (photo, target)]
    quality = measure(*pair)
    assert quality.problems(pair[0].shape[1]) == {}
    moved = [pair[0], np.roll(pair[1], (9, 12), axis=(0, 1))]
    assert measure(*moved).residual > MOST_RESIDUAL * pair[0].shape[1]
