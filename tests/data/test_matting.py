"""A photo parted into its subject and what is behind it."""

import cv2
import numpy as np

from lensblend.data.matting import continued, part


def ramps(height=48, width=72):
    """Two smooth photos and a soft disc; what is composed of them has known parts."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    subject = np.stack([0.8 - 0.2 * x / width, 0.2 + 0.1 * y / height, 0.1 + 0 * x], axis=2)
    background = np.stack([0.1 + 0 * x, 0.3 + 0.2 * x / width, 0.9 - 0.2 * y / height], axis=2)
    distance = np.hypot(x - width / 2, y - height / 2)
    alpha = np.clip((height / 4 - distance) / 4 + 0.5, 0, 1).astype(np.float32)
    return subject.astype(np.float32), background.astype(np.float32), alpha


def test_the_subject_has_its_own_colours_where_it_is_half_transparent():
    subject, background, alpha = ramps()
    photo = alpha[..., None] * subject + (1 - alpha[..., None]) * background
    parts = part(photo, alpha)
    edge = (alpha > 0.3) & (alpha < 0.9)
    assert edge.sum() > 20
    assert abs(parts.subject - subject)[edge].mean() < 0.04
    assert abs(photo - subject)[edge].mean() > 0.15  # else the photo's own colours would do
    assert np.array_equal(parts.background[alpha <= 0.02], photo[alpha <= 0.02])


def test_the_two_parts_make_up_the_photo():
    subject, background, alpha = ramps()
    photo = alpha[..., None] * subject + (1 - alpha[..., None]) * background
    parts = part(photo, alpha)
    again = alpha[..., None] * parts.subject + (1 - alpha[..., None]) * parts.background
    assert abs(again - photo).mean() < 0.005
    assert np.allclose(again[alpha == 1], photo[alpha == 1])


def test_the_background_continues_behind_the_subject_as_inpainting_does():
    _, background, alpha = ramps()
    known = alpha <= 0
    filled = continued(np.where(known[..., None], background, 7), known)
    painted = cv2.inpaint(np.rint(255 * background).astype(np.uint8), (~known).astype(np.uint8), 5, cv2.INPAINT_NS)
    assert np.array_equal(filled[known], background[known])
    assert abs(filled - background)[~known].mean() < 1.5 * abs(painted / 255 - background)[~known].mean() + 0.01
    assert filled.max() < 1


def test_where_nothing_is_known_the_photo_stays():
    photo = np.full((5, 7, 3), 0.25, np.float32)
    assert np.array_equal(continued(photo, np.zeros((5, 7), bool)), photo)
