from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lensblend.data import cutouts, textures
from lensblend.data.camera import Camera
from lensblend.data.composition import compose
from lensblend.data.embedded import Embedded
from lensblend.data.lens import render
from lensblend.data.pairs import Pair, Pairs, Source
from lensblend.data.scenes import Scenes
from lensblend.errors import RequestError

SIZE = [48, 64]

DIGEST = """
import hashlib, sys
from lensblend.data.embedded import Embedded
from lensblend.data.scenes import Scenes
pairs = Scenes(image_size=[48, 64]).split("train"), Embedded(image_size=[48, 64], cache="").split("val")
loaded = [pairs[1].load(3), pairs[0].load(1, epoch=2), pairs[0].load(0)]
print(hashlib.sha256(b"".join(p.photo.tobytes() + p.target.tobytes() for p in loaded)).hexdigest())
print("skimage" in sys.modules)
"""


def same(first: Pair, second: Pair) -> bool:
    images = [(first.photo, second.photo), (first.target, second.target)]
    return all(np.array_equal(*both) for both in [*images, *((first.maps[n], second.maps[n]) for n in first.maps)])


def test_scenes_are_a_source() -> None:
    scenes = Scenes(image_size=SIZE, length=5, val_length=3)
    assert isinstance(scenes, Source)
    for name, ids in (("train", 5), ("val", 3)):
        pairs = scenes.split(name)
        assert isinstance(pairs, Pairs)
        assert len(set(pairs.ids)) == ids
    assert not set(scenes.split("train").ids) & set(scenes.split("val").ids)


def test_pair_is_whole() -> None:
    pair = Scenes(image_size=SIZE).split("train").load(0)
    assert pair.id == "scene-0000"
    assert pair.photo.shape == pair.target.shape == (48, 64, 3)
    assert pair.photo.dtype == pair.target.dtype == np.uint8
    assert pair.maps["disparity"].dtype == np.float32
    assert pair.maps["disparity"].min() >= 0
    assert pair.maps["disparity"].max() <= 1


def test_apertures_are_drawn_evenly_by_their_logarithm() -> None:
    pairs = Scenes(image_size=[32, 48], val_length=400, f_numbers=[2, 16]).split("val")
    stops = 2 * np.log2([pairs.f_number(index) for index in range(400)])
    assert stats.kstest(stops, stats.uniform(2, 6).cdf).pvalue > 0.01
    assert [pairs.load(index).f_number for index in range(2)] == [pairs.f_number(index) for index in range(2)]
    train = Scenes(image_size=[32, 48], f_numbers=[2, 16]).split("train")
    assert train.load(0, epoch=0).f_number != train.load(0, epoch=1).f_number
    assert train.f_number(0) is None


def test_a_wider_aperture_blurs_more_and_changes_nothing_else() -> None:
    still = {"image_size": [32, 48], "length": 1, "exposure": 0.0, "shift": 0.0}
    opened = [Scenes(**still, f_numbers=[n, n]).split("train").load(0) for n in (16, 5.6, 2)]
    plain = Scenes(**still).split("train").load(0)
    assert all(np.array_equal(pair.photo, plain.photo) for pair in opened)
    blur = [np.abs(pair.target.astype(float) - pair.photo).mean() for pair in opened]
    assert blur == sorted(blur)
    assert blur[0] < 0.5 * blur[-1]


def test_pairs_tell_the_f_number_of_their_camera() -> None:
    camera = {"image_size": [32, 48], "aperture": 0.012}
    sets = Scenes(**camera).split("val"), Embedded(**camera, cache="").split("val")
    # EBB!'s lens, f/1.8 before a sensor 1.6 times smaller, has discs of 0.024; here they are half as wide.
    assert [pairs.load(0).f_number for pairs in sets] == [pytest.approx(2 * 1.8 * 1.6)] * 2
    assert [pairs.f_number(0) for pairs in sets] == [pytest.approx(2 * 1.8 * 1.6)] * 2
    assert Scenes(image_size=[32, 48], aperture=0.0).split("val").load(0).f_number is None
    assert Scenes.f_number({"f_numbers": [2, 8]}) == pytest.approx(4)


@pytest.mark.parametrize("f_numbers", [[2], [16, 2], [0, 2], [2, 100]])
def test_a_range_of_f_numbers_that_is_none_is_refused(f_numbers) -> None:
    with pytest.raises(RequestError, match=r"`f_numbers` is the least and the largest .* use \[2, 16\]"):
        Scenes(f_numbers=f_numbers)


def test_pair_is_a_function_of_seed_split_epoch_and_index() -> None:
    def train(seed: int) -> Pairs:
        return Scenes(seed=seed, image_size=SIZE).split("train")

    first = train(0).load(1)
    assert same(first, train(0).load(1))
    assert not same(first, train(0).load(2))
    assert not same(first, train(1).load(1))
    assert not same(first, train(0).load(1, epoch=1))
    assert not same(first, Scenes(image_size=SIZE).split("val").load(1))
    assert same(train(0).load(-1), train(0).load(999))


def test_validation_is_the_same_in_every_epoch() -> None:
    pairs = Scenes(image_size=SIZE).split("val")
    assert same(pairs.load(2), pairs.load(2, epoch=9))


@pytest.mark.slow
def test_another_process_renders_the_same_bytes() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    child = subprocess.run([sys.executable, "-c", DIGEST], check=True, capture_output=True, text=True, env=environment)
    digest, imported = child.stdout.split()
    train, val = Scenes(image_size=SIZE).split("train"), Embedded(image_size=SIZE, cache="").split("val")
    loaded = [val.load(3), train.load(1, epoch=2), train.load(0)]
    assert digest == hashlib.sha256(b"".join(p.photo.tobytes() + p.target.tobytes() for p in loaded)).hexdigest()
    # scikit-image lends its files only: importing it takes seconds, and its loaders may go to the network.
    assert imported == "False"


def test_focus_is_on_the_subject_as_often_as_asked() -> None:
    def share(near_focus: float, count: int = 6) -> float:
        scenes = [compose(np.random.default_rng(seed), "train", (32, 48), near_focus) for seed in range(count)]
        subjects = [
            [layer for layer in scene.layers if not layer.joins and layer.disparity[0, 0] < 1][-1] for scene in scenes
        ]
        near = [float(s.disparity[0, 0]) == scene.focus for s, scene in zip(subjects, scenes, strict=True)]
        return float(np.mean(near))

    assert share(1.0) == 1.0
    assert share(0.0) == 0.0
    assert 0.2 < share(0.6, 12) < 1.0


@pytest.mark.parametrize("seed", range(6))
def test_light_of_a_point_that_nothing_hides_is_kept_within_two_percent(seed: int) -> None:
    """Wherever it lies: at the horizon, on the ground before and behind a foot, on things, at the frame."""
    scene = compose(np.random.default_rng(seed), "val", (64, 96))
    lens = Camera().lens(scene.focus, 96)
    dark = render(scene.layers, lens)
    columns = np.random.default_rng(seed).integers(0, 96, 64)
    points = [(row, int(columns[row])) for row in range(0, 64, 2)]
    horizon = int(np.argmax(scene.layers[1].disparity[:, 0] > scene.layers[0].disparity[0, 0])) - 1
    points += [(horizon + step, int(columns[step])) for step in range(-4, 5)]
    ratios = {}
    for row, column in points:
        index = max(i for i, layer in enumerate(scene.layers) if layer.alpha[row, column] > 0)
        layer = scene.layers[index]
        disparity = layer.disparity[row, column]
        nearer = [other for other in scene.layers[index + 1 :] if not other.joins and other.disparity[0, 0] > disparity]
        around = slice(max(row - 4, 0), row + 5), slice(max(column - 4, 0), column + 5)
        if layer.alpha[row, column] < 0.99 or any(other.alpha[around].any() for other in nearer):
            continue
        colour = layer.colour.copy()
        colour[row, column] += 50.0
        lit = [replace(layer, colour=colour) if other is layer else other for other in scene.layers]
        ratios[row, column] = float((render(lit, lens) - dark)[..., 1].sum() / 50)
    assert len(ratios) > 15
    assert {point: ratio for point, ratio in ratios.items() if abs(ratio - 1) > 0.02} == {}


def test_no_photo_is_seen_in_two_validation_scenes_or_in_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for room, name in ((cutouts, "from_photo"), (textures, "photo")):
        real = getattr(room, name)
        monkeypatch.setattr(room, name, lambda photo, real=real: (seen.append(photo), real(photo))[1])
    surfaces = {"brick.png", "gravel.png", "grass.png"}
    photos = {}
    for split in ("train", "val"):
        for index in range(24):
            seen.clear()
            compose(np.random.default_rng([3, index]), split, (32, 48), index=index)
            photos[split, index] = set(seen) - surfaces
    train = set().union(*(photos["train", index] for index in range(24)))
    val = [name for index in range(24) for name in photos["val", index]]
    assert train
    assert sorted(val) == ["chelsea.png", "coffee.png"]
    assert not train & set(val)


def test_layers_run_from_far_to_near_and_stand_on_the_ground() -> None:
    for seed in range(8):
        backdrop, *layers = compose(np.random.default_rng(seed), "val", (64, 96)).layers
        bands, things = ([layer for layer in layers if layer.joins == joins] for joins in (True, False))
        ground = bands[0]
        np.testing.assert_array_equal(backdrop.alpha + sum(band.alpha for band in bands), 1)
        assert backdrop.disparity.max() <= ground.disparity.min() + 1e-6
        nearness = [float(thing.disparity[0, 0]) for thing in things]
        assert nearness == sorted(nearness)
        for thing in things[:-2]:
            foot = int(np.flatnonzero((thing.alpha > 0.5).any(axis=1))[-1])
            step = float(ground.disparity[-1, 0] - ground.disparity[-2, 0])
            assert ground.disparity[foot, 0] == pytest.approx(float(thing.disparity[0, 0]), abs=4 * step)


def test_wide_aperture_blurs_the_background_only() -> None:
    steady = Scenes(image_size=[96, 128], near_focus=1.0, exposure=0.0, shift=0.0)
    pairs = [steady.split("train").load(index) for index in range(6)]
    for pair in pairs:
        change = abs(pair.photo.astype(int) - pair.target).mean(axis=2)
        assert pair.maps["mask"].any()
        assert change[~pair.maps["mask"]].mean() > 3 * change[pair.maps["mask"]].mean()
        assert np.median(change[pair.maps["mask"]]) == 0


def test_pinhole_gives_the_photo() -> None:
    pair = Scenes(image_size=SIZE, aperture=0.0, exposure=0.0, shift=0.0).split("train").load(0)
    np.testing.assert_array_equal(pair.target, pair.photo)
    assert pair.maps["mask"].all()


def test_discs_exposure_and_shift_are_as_in_real_pairs() -> None:
    """Of EBB!'s size: a tenth of the tiles of three pairs have larger discs than 0.007 to 0.016 of the width."""
    far = np.float32([[0.02, 0.1]])
    radius = Camera().lens(0.85, 1000).radius(far) / 1000
    assert 0.007 < radius.min() <= radius.max() < 0.012
    nearest = Camera().lens(0.02, 1000).radius(np.float32([[1.0]]))
    assert nearest <= 0.016 * 1000
    shots = [Camera().second_shot(np.random.default_rng(seed)) for seed in range(200)]
    stops = np.log2([shot.gain for shot in shots])
    assert 0.1 < stops.std() < 0.2
    assert abs(stops).max() <= 0.3 + 1e-6
    away = np.hypot(*np.transpose([shot.shift for shot in shots]))
    assert 0.0004 < np.median(away) < 0.001
    assert away.max() <= 0.0015


@pytest.mark.parametrize("size", [[32, 32], [32, 200], [160, 33]])
def test_any_size_is_rendered(size: list[int]) -> None:
    scenes = Scenes(image_size=size)
    for index in range(4):
        for split in ("train", "val"):
            assert scenes.split(split).load(index).target.shape == (*size, 3)


@pytest.mark.parametrize("size", [[384, 512, 3], [31, 64], [48], [0, 0]])
def test_sizes_are_checked(size: list[int]) -> None:
    with pytest.raises(RequestError, match=r"`image_size` is \(height, width\)"):
        Scenes(image_size=size)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"aperture": -0.1}, "not negative, but got -0.1"),
        ({"max_radius": -1.0}, "use 0 for a pinhole"),
        ({"near_focus": 1.5}, "share in"),
        ({"exposure": -1.0}, "but got -1.0 and 0.0005; use 0"),
        ({"shift": 0.5}, "but got 0.15 and 0.5; use 0"),
        ({"seed": -1}, "`seed`, `length`"),
        ({"length": -1}, "`seed`, `length`"),
    ],
)
def test_requests_are_checked(request_: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Scenes(**request_)
