from __future__ import annotations

import numpy as np
import pytest

from lensblend.data import motorcycle
from lensblend.data.camera import Camera
from lensblend.data.motorcycle import Motorcycle, load_motorcycle, motorcycle_pair
from lensblend.data.pairs import Split

SIZE = (48, 64)
STEADY = Camera(aperture=0.12, max_radius=0.06, exposure=0.0, shift=0.0)


def test_disparity_is_measured_normalised_and_whole() -> None:
    photo, disparity = load_motorcycle()
    assert photo.shape == (500, 741, 3)
    assert disparity.shape == photo.shape[:2]
    assert disparity.min() == 0
    assert disparity.max() == 1
    headlight, wall = disparity[150, 540], disparity[60, 20]
    assert headlight > 0.9
    assert wall < 0.4


def test_validation_crops_share_nothing_with_each_other_or_with_training(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = np.mgrid[:500, :741]
    coded = np.stack([columns // 4, rows // 4, np.zeros_like(rows)], axis=2).astype(np.uint8)
    monkeypatch.setattr(motorcycle, "load_motorcycle", lambda: Motorcycle(coded, np.zeros((500, 741), np.float32)))

    def boxes(split: Split, count: int) -> list[tuple[float, ...]]:
        found = []
        for seed in range(8):
            for index in range(count):
                photo = motorcycle_pair(split, (seed, index), SIZE, Camera(), True, "m", index).photo[..., :2]
                found.append((index, *photo.min(axis=(0, 1)), *photo.max(axis=(0, 1))))
        return found

    train, val = boxes("train", 4), boxes("val", motorcycle.VALIDATION_CROPS)
    assert max(right for _, _, _, right, _ in train) <= min(left for _, left, _, _, _ in val)
    assert max(bottom for index, *_, bottom in val if index == 0) <= min(top for index, _, top, *_ in val if index == 1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_near_focus_is_in_front_of_far_focus(split: Split) -> None:
    for index in range(4):
        near, far = (motorcycle_pair(split, (0, index), SIZE, STEADY, near, "m", index) for near in (True, False))
        assert abs(near.photo.astype(int) - far.photo).max() <= 1
        assert near.maps["disparity"] is not None
        assert far.maps["disparity"] is not None
        assert near.maps["disparity"][near.maps["mask"]].min() > far.maps["disparity"][far.maps["mask"]].max()
        assert not np.array_equal(near.target, far.target)


def test_target_is_sharp_in_focus_and_blurred_behind() -> None:
    pair = motorcycle_pair("train", (0, 1), (96, 128), STEADY, True, "m", 0)
    change = abs(pair.photo.astype(int) - pair.target).mean(axis=2)
    assert np.median(change[pair.maps["mask"]]) == 0
    assert change[pair.maps["disparity"] < 0.5].mean() > 10


def test_photo_is_a_crop_of_the_motorcycle() -> None:
    """The crop is found again in the photo by its mean colour and spread of colour: it is no other picture."""
    pair = motorcycle_pair("train", (0, 0), (96, 128), STEADY, True, "m", 0)
    whole = load_motorcycle().photo[:, :470].reshape(-1, 3) // 32
    part = pair.photo.reshape(-1, 3) // 32
    known = {tuple(colour) for colour in np.unique(whole, axis=0).tolist()}
    assert np.mean([tuple(colour) in known for colour in part.tolist()]) > 0.98


def test_crops_and_mirrors_vary() -> None:
    pairs = [motorcycle_pair("val", (0, index), SIZE, Camera(), True, "m", index) for index in range(6)]
    assert len({pair.photo.tobytes() for pair in pairs}) == 6
