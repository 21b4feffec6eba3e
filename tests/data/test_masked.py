"""Photos with masks: found by name, checked, split by name, and drawn without a target."""

import numpy as np
import pytest

from lensblend.data.images import write_image
from lensblend.data.masked import MaskedPhotos
from lensblend.data.samples import Samples
from lensblend.errors import DataError, RequestError


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(12):
        write_image(tmp_path / "photos" / f"{index}.jpg", rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        mask = np.zeros((20, 30), dtype=np.uint8)
        mask[:, : index + 1] = 255
        write_image(tmp_path / "masks" / f"{index}.png", mask)
    return str(tmp_path / "photos"), str(tmp_path / "masks")


def test_photos_and_masks_pair_up_by_name(folders):
    source = MaskedPhotos(*folders, val_fraction=0.3)
    train, val = source.split("train"), source.split("val")
    assert sorted([*train.ids, *val.ids], key=int) == [str(i) for i in range(12)]
    assert 0 < len(val.ids) < 12
    pair = train.load(0)
    assert pair.target is None
    assert pair.maps["mask"].sum() == 20 * (int(pair.id) + 1)
    assert f"{len(train.ids)} photos with masks for training, {len(val.ids)} for validation" in source.summary()


def test_another_photo_moves_none_between_the_splits(folders):
    before = MaskedPhotos(*folders, val_fraction=0.3).split("val").ids
    for folder, suffix in zip(folders, ("jpg", "png"), strict=True):
        write_image(f"{folder}/new.{suffix}", np.zeros((20, 30, 3), dtype=np.uint8))
    assert set(before) <= set(MaskedPhotos(*folders, val_fraction=0.3).split("val").ids)


def test_samples_carry_the_mask_and_no_target_and_flip_together(folders):
    samples = Samples(MaskedPhotos(*folders, val_fraction=0.0).split("train"), [10, 15], flips="expand")
    plain, flipped = samples[0, 3], samples[0, 12 + 3]
    assert "target" not in plain
    assert plain["mask"].flip(-1).equal(flipped["mask"])
    assert plain["photo"].flip(-1).equal(flipped["photo"])


def test_a_missing_target_is_said_where_it_is_needed(folders):
    with pytest.raises(DataError, match="has no target: its data set holds photos and masks"):
        MaskedPhotos(*folders).split("train").load(0).captured()


def test_all_that_is_wrong_is_listed_at_once(folders):
    write_image(f"{folders[0]}/lonely.jpg", np.zeros((20, 30, 3), dtype=np.uint8))
    write_image(f"{folders[1]}/3.png", np.zeros((10, 30), dtype=np.uint8))
    with pytest.raises(DataError) as raised:
        MaskedPhotos(*folders)
    assert "2 problem(s)" in str(raised.value)
    assert "`lonely` has no mask" in str(raised.value)
    assert "photo and mask of `3` are 20×30 and 10×30" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"photos": "nowhere"}, "`photos` = `nowhere` is not a folder"),
        ({"masks": "nowhere"}, "`masks` = `nowhere` is not a folder"),
        ({"val_fraction": 1.0}, r"`val_fraction` is in \[0, 1\), but got 1.0"),
    ],
)
def test_bad_requests_are_refused(folders, change, says):
    with pytest.raises(RequestError, match=says):
        MaskedPhotos(**{"photos": folders[0], "masks": folders[1], **change})
