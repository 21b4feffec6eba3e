"""Photos that are nearly the same: OpenCV and Pillow change them, SciPy compares the hashes by hand."""

import io

import cv2
import numpy as np
import skimage.data
from PIL import Image
from scipy.spatial.distance import cdist

from lensblend.data.transforms import resize_lanczos
from lensblend.preparation.duplicates import near_pairs, thumbnail

PHOTOS = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]


def saved(photo, quality):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.array(image)


def test_changed_copies_are_found_and_other_photos_are_not():
    copies = [
        saved(PHOTOS[0], 50),
        resize_lanczos(PHOTOS[1], (200, 300)),
        cv2.convertScaleAbs(PHOTOS[2], alpha=0.7, beta=10),
        cv2.GaussianBlur(PHOTOS[3], (0, 0), 2),
    ]
    thumbnails = np.stack([thumbnail(photo) for photo in [*PHOTOS, *copies]])
    assert [(i, j) for i, j, _ in near_pairs(thumbnails)] == [(0, 4), (1, 5), (2, 6), (3, 7)]


def test_all_pairs_are_compared():
    """More than two blocks of them."""
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (600, 16, 17), dtype=np.uint8)
    for one, other in ((0, 599), (255, 256), (300, 301), (3, 10)):
        thumbnails[other] = np.clip(thumbnails[one].astype(int) + rng.integers(-6, 7, (16, 17)), 0, 255)
    bits = (thumbnails[:, :, :-1] > thumbnails[:, :, 1:]).reshape(600, 256)
    distances = np.rint(cdist(bits, bits, "hamming") * 256).astype(int)
    found = near_pairs(thumbnails)
    assert sorted(found) == [(i, j, distances[i, j]) for i, j in ((0, 599), (3, 10), (255, 256), (300, 301))]
    assert near_pairs(thumbnails[:0]) == []


def test_two_even_slopes_are_told_apart_by_what_else_they_show():
    """As two skies that grow brighter to the right, each with something in it: hardly a bit differs."""
    slope = np.tile(np.linspace(100, 140, 340), (320, 1))
    photos = [np.repeat(slope[..., None], 3, axis=2).astype(np.uint8) for _ in range(2)]
    photos[0][200:] = photos[0][200:] // 4
    thumbnails = np.stack([thumbnail(photo) for photo in photos])
    bits = (thumbnails[:, :, :-1] > thumbnails[:, :, 1:]).reshape(2, 256)
    assert (bits[0] != bits[1]).sum() <= 40
    assert near_pairs(thumbnails) == []


def test_what_is_flat_is_compared_with_nothing():
    assert thumbnail(np.full((20, 30, 3), 99, np.uint8)) is None
