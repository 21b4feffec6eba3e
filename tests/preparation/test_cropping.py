import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from lensblend.errors import DataError
from lensblend.preparation.cropping import common_rectangle, exposed, exposure_gains, laid, reduced


def drawn(seed, height, width):
    draw = np.random.default_rng(seed)
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    moved = corners + draw.uniform(-0.15, 0.15, (4, 2)).astype(np.float32) * width
    return cv2.getPerspectiveTransform(corners, moved).astype(float)


@pytest.mark.parametrize("seed", range(8))
def test_no_rectangle_of_valid_pixels_is_larger(seed):
    height, width = 17, 24
    transform = drawn(seed, height, width)
    y, x = np.mgrid[:height, :width].astype(float)
    back = cv2.perspectiveTransform(np.stack([x, y], -1).reshape(1, -1, 2), np.linalg.inv(transform))[0]
    inside = (back >= -1e-6).all(1) & (back[:, 0] <= width - 1 + 1e-6) & (back[:, 1] <= height - 1 + 1e-6)
    valid = inside.reshape(height, width)
    total = cv2.integral(valid.astype(np.uint8))
    largest = 0
    for top in range(height):
        for bottom in range(top + 1, height + 1):
            for left in range(width):
                for right in range(left + 1, width + 1):
                    area = (bottom - top) * (right - left)
                    count = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
                    largest = max(largest, area if count == area else 0)
    found = common_rectangle(transform, (height, width), (height, width))
    assert valid[found.top : found.bottom, found.left : found.right].all()
    assert (found.bottom - found.top) * (found.right - found.left) == largest > 0


def test_photos_that_share_nothing_are_refused():
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(DataError, match="no pixel in common"):
        common_rectangle(away, (10, 10), (10, 10))


def test_a_photo_is_laid_as_scipy_lays_it_and_nothing_is_black():
    photo = data.coffee()
    transform = np.array([[1.01, 0.01, 4.3], [-0.01, 1.0, -2.6], [0, 0, 1]])
    place = common_rectangle(transform, photo.shape[:2], photo.shape[:2])
    found = laid(photo, transform, place)
    y, x = np.mgrid[place.top : place.bottom, place.left : place.right]
    back = np.linalg.inv(transform) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    channel = photo[..., 1].astype(float)
    known = ndimage.map_coordinates(channel, back[1::-1], order=3, mode="nearest").reshape(x.shape).clip(0, 255)
    assert np.abs(found[..., 1] - known).mean() < 0.6
    assert laid(np.full_like(photo, 200), transform, place).min() == 200


def test_areas_are_averaged_and_small_photos_stay():
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    known = photo.reshape(20, 2, 30, 2, 3).mean((1, 3))
    assert np.abs(reduced(photo, 20).astype(float) - known).max() <= 0.5
    assert reduced(photo, 40) is photo
    assert reduced(photo, 17).shape == (17, 26, 3)  # 25.5 is rounded to even


def linear_of(photo):
    return np.where(photo / 255 <= 0.04045, photo / 255 / 12.92, ((photo / 255 + 0.055) / 1.055) ** 2.4)


def test_gains_of_light_are_found_through_a_blur_and_undone():
    photo = (40 + data.astronaut() * 0.5).astype(np.uint8)
    light = cv2.GaussianBlur(linear_of(photo), (0, 0), 3) * np.array([0.8, 1.1, 1.25])
    darker = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    taken = (darker * 255).round().clip(0, 255).astype(np.uint8)
    taken[:100, :100] = 200  # something else is there
    gains = exposure_gains(photo, taken)
    np.testing.assert_allclose(gains, [1 / 0.8, 1 / 1.1, 1 / 1.25], rtol=0.02)
    undone = exposed(taken, gains)
    levels = linear_of(undone)[200:].mean((0, 1)) / linear_of(photo)[200:].mean((0, 1))
    np.testing.assert_allclose(levels, 1, atol=0.02)


def test_black_photos_have_no_exposure():
    black = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(DataError, match="black or clipped"):
        exposure_gains(black, black)
