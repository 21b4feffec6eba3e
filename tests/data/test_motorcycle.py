from __future__ import annotations

import numpy as np
import pytest

from lensblend.data import motorcycle
from lensblend.data.camera import Camera
from lensblend.data.motorcycle import Motorcycle, load_motorcycle, motorcycle_pair
from lensblend.data.pairs import Split

SIZE = (48, 64)


def test_disparity_is_measured_normalised_and_whole() -> None:
    photo, disparity = load_motorcycle()
    assert photo.shape == (500, 741, 3)
    assert disparity.shape == photo.shape[:2]
    assert disparity.min() == 0
    assert disparity.max() == 1
    headlight, wall = disparity[150, 540], disparity[60, 20]
    assert headlight > 0.9
    assert wall < 0.4


def test_splits_see_disjoint_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.broadcast_to(np.arange(741) // 4, (500, 741)).astype(np.uint8)
    coded = Motorcycle(np.repeat(columns[..., None], 3, axis=2), load_motorcycle().disparity)
    monkeypatch.setattr(motorcycle, "load_motorcycle", lambda: coded)

    def seen(split: Split) -> np.ndarray:
        pairs = [motorcycle_pair(split, (0, index), SIZE, Camera(), True, "m") for index in range(12)]
        return np.unique(np.concatenate([pair.photo.ravel() for pair in pairs]))

    assert seen("train").max() <= seen("val").min()


@pytest.mark.parametrize("split", ["train", "val"])
def test_near_focus_is_in_front_of_far_focus(split: Split) -> None:
    for index in range(4):
        near, far = (motorcycle_pair(split, (0, index), SIZE, Camera(), near, "m") for near in (True, False))
        np.testing.assert_array_equal(near.photo, far.photo)
        assert near.maps["disparity"] is not None
        assert far.maps["disparity"] is not None
        assert near.maps["disparity"][near.maps["mask"]].min() > far.maps["disparity"][far.maps["mask"]].max()
        assert not np.array_equal(near.target, far.target)


def test_target_is_sharp_in_focus_and_blurred_behind() -> None:
    pair = motorcycle_pair("train", (0, 1), (96, 128), Camera(), True, "m")
    change = abs(pair.photo.astype(int) - pair.target).mean(axis=2)
    assert np.median(change[pair.maps["mask"]]) == 0
    assert change[pair.maps["disparity"] < 0.5].mean() > 10


def test_photo_is_a_crop_of_the_motorcycle() -> None:
    """The crop is found again in the photo by its mean colour and spread of colour: it is no other picture."""
    pair = motorcycle_pair("train", (0, 0), (96, 128), Camera(), True, "m")
    whole = load_motorcycle().photo[:, :470].reshape(-1, 3) // 32
    part = pair.photo.reshape(-1, 3) // 32
    known = {tuple(colour) for colour in np.unique(whole, axis=0).tolist()}
    assert np.mean([tuple(colour) in known for colour in part.tolist()]) > 0.98


def test_crops_and_mirrors_vary() -> None:
    pairs = [motorcycle_pair("val", (0, index), SIZE, Camera(), True, "m") for index in range(6)]
    assert len({pair.photo.tobytes() for pair in pairs}) == 6
