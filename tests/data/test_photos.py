"""Pairs from photos alone: what is drawn, and what a lens makes of it."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from skimage import measure

from lensblend.data.images import read_map, write_image
from lensblend.data.lens import linearise
from lensblend.data.photo_camera import PhotoCamera, take
from lensblend.data.photos import Photos
from lensblend.data.samples import Samples
from lensblend.errors import DataError, RequestError

SIZE = (48, 72)
STILL = {"exposure": 0.0, "white_balance": 0.0, "shift": 0.0, "noise": 0.0, "jitter": 0.0, "highlights": 1.0}


@pytest.fixture
def folder(tmp_path):
    """Eight photos of noise, each with an upright bar as its subject."""
    rng = np.random.default_rng(0)
    for index in range(8):
        photo = rng.integers(40, 216, (60, 90, 3), dtype=np.uint8)
        mask = np.zeros((60, 90), dtype=np.uint8)
        mask[10:50, 30:50] = 255
        write_image(tmp_path / "photos" / f"{index}.png", photo)
        write_image(tmp_path / "masks" / f"{index}.png", mask)
    return tmp_path


def test_the_same_key_gives_the_same_pair_and_another_epoch_another_one(folder):
    pairs = Photos(str(folder), val_fraction=0.3, cats_eye=1.0).split("train").sized(SIZE)
    once, again, later = pairs.load(2, 5), pairs.load(2, 5), pairs.load(2, 6)
    assert once.photo.shape == (*SIZE, 3)
    assert np.array_equal(once.photo, again.photo)
    assert np.array_equal(once.target, again.target)
    assert not np.array_equal(once.target, later.target)


def test_a_photo_is_drawn_several_times_each_time_otherwise(folder):
    pairs = Photos(str(folder), val_fraction=0.0, draws=3).split("train").sized(SIZE)
    assert len(pairs.ids) == 24
    assert pairs.ids[:4] == ["0", "0+1", "0+2", "1"]
    drawn = [pairs.load(index).photo for index in range(3)]
    assert all(not np.array_equal(one, other) for one, other in pairwise(drawn))


def test_validation_pairs_stay_and_show_whole_photos(folder):
    pairs = Photos(str(folder), val_fraction=0.6, **STILL).split("val").sized((60, 90))
    assert len(pairs.ids) > 0
    pair = pairs.load(0, 0)
    assert np.array_equal(pair.target, pairs.load(0, 9).target)
    assert np.array_equal(pair.photo, Photos(str(folder), val_fraction=0.6).photos_of("val").load(0).photo)


def test_samples_are_rendered_at_the_size_that_they_are_wanted_at(folder):
    source = Photos(str(folder), val_fraction=0.0, **STILL)
    sample = Samples(source.split("train"), [64, 96])[0]
    rendered = source.split("train").sized((64, 96)).load(0)
    assert np.array_equal(sample["photo"].numpy().transpose(1, 2, 0), rendered.photo)
    fixed = Photos(str(folder), val_fraction=0.0, image_size=[32, 48]).split("train")
    assert fixed.sized((64, 96)).load(0).photo.shape == (32, 48, 3)


def bar(height=48, width=96):
    """A grey photo with a bar in focus and a white point far from it."""
    photo = np.full((height, width, 3), 60, np.uint8)
    alpha = np.zeros((height, width), np.float32)
    alpha[8:40, 10:30], photo[8:40, 10:30] = 1, (200, 80, 40)
    photo[24, 70] = 255
    return photo, alpha


def camera(radius, **further):
    return PhotoCamera(radius=(radius, radius), ground=0.0, **{**STILL, **further})


@pytest.mark.parametrize("radius", [0.03, 0.06])
def test_a_far_point_becomes_a_disc_of_the_lens_radius_and_the_subject_stays(radius):
    photo, alpha = bar()
    pair = take(np.random.default_rng(0), "bar", photo, alpha, camera(radius))
    light = linearise(pair.target)[..., 1] - linearise(photo)[0, 0, 1]
    disc = measure.regionprops(measure.label(light[:, 50:] > light[:, 50:].max() / 2))[0]
    assert disc.equivalent_diameter_area / 2 == pytest.approx(96 * radius, rel=0.15)
    assert np.array_equal(pair.target[8:40, 10:30], photo[8:40, 10:30])
    # A bar in linear light: what is spread is the light, and all of it is kept.
    assert light[:, 50:].sum() == pytest.approx(float(1 - linearise(photo)[0, 0, 1]), rel=0.1)
    assert pair.maps["mask"].sum() == 32 * 20


def test_a_pair_tells_the_f_number_of_its_lens(folder):
    pairs = Photos(str(folder), val_fraction=0.0, radius=[0.01, 0.04]).split("train").sized((32, 48))
    numbers = [pairs.load(index, epoch).f_number for index in range(8) for epoch in range(2)]
    # Discs of a diameter of 0.024 of the width are of f/2.88, EBB!'s; narrower ones in proportion.
    assert all(0.024 * 2.88 / 0.08 <= number <= 0.024 * 2.88 / 0.02 for number in numbers)
    assert max(numbers) > 2 * min(numbers)
    assert Photos(str(folder), radius=[0.012, 0.012]).split("train").load(0).f_number == pytest.approx(2.88)


def test_the_subject_does_not_bleed_into_what_is_blurred():
    photo, alpha = bar()
    target = take(np.random.default_rng(0), "bar", photo, alpha, camera(0.06)).target.astype(int)
    beside = target[16:32, 31:36]
    assert abs(beside - 60).max() <= 2
    spread = ndimage.gaussian_filter(photo.astype(float), (3, 3, 0))[16:32, 31:36]
    assert abs(spread - 60).max() > 20  # what a blur of the whole photo does


def test_the_ground_gets_blurred_away_from_the_subjects_foot():
    rng = np.random.default_rng(1)
    photo = np.broadcast_to(rng.integers(0, 2, (60, 90, 1), dtype=np.uint8) * 160 + 40, (60, 90, 3)).copy()
    alpha = np.zeros((60, 90), np.float32)
    alpha[10:44, 5:15] = 1
    always = PhotoCamera(radius=(0.05, 0.05), ground=1.0, **STILL)
    target = take(np.random.default_rng(3), "ground", photo, alpha, always).target[:, 30:, 0].astype(float)
    kept = target.std(axis=1) / photo[:, 30:, 0].astype(float).std(axis=1)
    assert kept[43] > 0.9
    assert kept[5] < 0.3
    assert kept[59] < kept[48] < kept[43]


def test_a_photo_without_a_subject_keeps_some_ground_in_focus():
    photo = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    for unsure in (0, 0.4):  # a mask that nowhere says what the subject is
        mask = np.full((48, 72), unsure, np.float32)
        pair = take(np.random.default_rng(0), "empty", photo, mask, camera(0.05))
        rows = pair.maps["mask"].all(axis=1)
        assert 0 < rows.sum() < 24
        assert np.flatnonzero(rows).min() > 20


def test_known_disparities_decide_what_is_blurred_how_much():
    rng = np.random.default_rng(1)
    photo = np.broadcast_to(rng.integers(0, 2, (48, 96, 1), dtype=np.uint8) * 160 + 40, (48, 96, 3)).copy()
    alpha = np.zeros((48, 96), np.float32)
    alpha[10:40, 5:15] = 1
    disparity = np.repeat(np.linspace(0.9, 0.1, 96, dtype=np.float32)[None], 48, axis=0)
    disparity[10:40, 5:15] = 0.9
    pair = take(np.random.default_rng(0), "known", photo, alpha, camera(0.05), disparity)
    spread = [pair.target[:, left : left + 16, 0].std() for left in (16, 48, 80)]
    assert spread[0] > spread[1] > spread[2]


def test_highlights_outshine_the_white_that_the_photo_stored():
    photo, alpha = bar()
    plain = take(np.random.default_rng(0), "bar", photo, alpha, camera(0.03)).target
    bright = take(np.random.default_rng(0), "bar", photo, alpha, camera(0.03, highlights=50.0)).target
    assert bright[:, 50:].max() > plain[:, 50:].max() + 20


def test_discs_of_some_photos_are_cut_off_towards_the_corners():
    """Two fifths of them; the others are, pixel by pixel, those of a lens without a rim."""
    photo, alpha = bar()
    photo[12, 84] = 255
    targets = {
        strength: [
            take(np.random.default_rng(key), "bar", photo, alpha, camera(0.06, cats_eye=strength)).target
            for key in range(100, 140)
        ]
        for strength in (0.0, 1.0)
    }
    others = [index for index in range(40) if not np.array_equal(targets[0.0][index], targets[1.0][index])]
    assert 8 <= len(others) <= 24
    lit = [(targets[1.0][index][:22, 70:] > 62).sum() for index in others]
    assert max(lit) <= (targets[0.0][0][:22, 70:] > 62).sum()
    assert len(set(lit)) > len(lit) / 2  # each has another strength


def test_folders_may_be_several_and_maps_may_lie_elsewhere(folder, tmp_path):
    other = tmp_path / "other"
    write_image(other / "0.png", np.zeros((40, 60, 3), np.uint8))
    write_image(tmp_path / "far" / "0.png", np.full((40, 60), 255, np.uint8))
    source = Photos([str(folder), str(other)], masks=[str(folder / "masks"), str(tmp_path / "far")], val_fraction=0.0)
    assert len(source.split("train").ids) == 9
    assert {"0-0", "1-0"} <= set(source.split("train").ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": [0.03, 0.01]}, "`radius` is the least and the largest"),
        ({"radius": [0.0, 0.01]}, "`radius` is the least and the largest"),
        ({"ground": 1.5}, "`ground` is in"),
        ({"noise": float("nan")}, "`noise` is in"),
        ({"cats_eye": 1.5}, r"`cats_eye` is in \[0, 1\], but got 1.5"),
        ({"cats_eye": float("nan")}, "`cats_eye` is in"),
        ({"draws": 0}, "`draws` is in"),
        ({"val_fraction": 1.0}, "`val_fraction` is in"),
        ({"masks": ["a", "b"]}, "lists a folder for each root, but got 2 for 1"),
        ({"masks": "nowhere"}, "`masks` = `nowhere` is not a folder"),
    ],
)
def test_what_cannot_be_is_refused(folder, settings, message):
    with pytest.raises(RequestError, match=message):
        Photos(str(folder), **settings)


def test_saliency_stands_in_for_masks_where_there_are_none(folder, tmp_path):
    masked = Photos(str(folder), val_fraction=0.0)
    plain = Photos(str(folder / "photos"), masks=str(folder / "masks"), val_fraction=0.0)
    assert masked.asks == plain.asks == ()
    (folder / "masks").rename(tmp_path / "elsewhere")
    asking = Photos(str(folder), val_fraction=0.0)
    assert asking.asks == ("saliency",)
    assert "whose subjects saliency tells" in asking.summary()
    with pytest.raises(DataError, match=r"`0` has no mask; give `data\.masks`"):
        asking.split("train").load(0)
    asking.receive({"saliency": lambda pair: read_map(tmp_path / "elsewhere" / f"{pair.id}.png")})
    ours, theirs = (source.split("train").sized(SIZE).load(0) for source in (asking, plain_again(folder, tmp_path)))
    assert np.array_equal(ours.target, theirs.target)


def plain_again(folder, tmp_path):
    return Photos(str(folder), masks=str(tmp_path / "elsewhere"), val_fraction=0.0)


def test_of_several_folders_all_have_masks_or_none(folder, tmp_path):
    write_image(tmp_path / "bare" / "photos" / "0.png", np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(RequestError, match="has no folder `masks`"):
        Photos([str(folder), str(tmp_path / "bare")])


def test_all_that_is_wrong_is_listed_at_once(folder):
    (folder / "masks" / "3.png").unlink()
    write_image(folder / "masks" / "4.png", np.zeros((10, 90), dtype=np.uint8))
    with pytest.raises(DataError) as raised:
        Photos(str(folder))
    assert "`3` has no subject" in str(raised.value)
    assert "2 problem(s)" in str(raised.value)
