import hashlib
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from lensblend.data.pairs import Pair
from lensblend.data.sizes import check_image_size
from lensblend.data.transforms import (
    Flips,
    key_seed,
    resize_lanczos,
    resize_map,
    resize_mask,
    resize_pair,
)
from lensblend.errors import RequestError

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
MAPS = {
    "disparity": PHOTO[..., 0].astype(np.float32),
    "mask": PHOTO[..., 1] > 127,
    "saliency": PHOTO[..., 2].astype(np.float32),
    "normals": PHOTO[..., 1].astype(np.float32),  # a name that nothing in the package knows
    "sky": PHOTO[..., 0] > 100,
}
PAIR = Pair("a", PHOTO, 255 - PHOTO, MAPS)


def lanczos_matrix(source, target):
    """Rows of Lanczos-3 weights, stretched by the shrink factor: antialiasing as in Turkowski (1990)."""
    scale = max(source / target, 1.0)
    centres = (np.arange(target)[:, None] + 0.5) * source / target - 0.5
    distance = (np.arange(source) - centres) / scale
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(20, 64), (9, 64), (97, 64), (41, 30), (41, 7), (41, 96), (20, 30), (9, 96)])
def test_lanczos_agrees_with_its_formula(size):
    rows, columns = lanczos_matrix(41, size[0]), lanczos_matrix(64, size[1])
    image = np.random.default_rng(1).integers(0, 256, (41, 64, 3), dtype=np.uint8)
    if size[0] != 41 and size[1] != 64:
        image = image // 3 + 85  # two passes: keep Pillow's clipping between them out of the comparison
    expected = np.clip(np.einsum("yh,xw,hwc->yxc", rows, columns, image), 0, 255)
    resized = resize_lanczos(image, list(size))
    assert resized.dtype == np.uint8
    assert resized.shape == (*size, 3)
    assert np.abs(resized - expected).max() <= (1.5 if image.min() else 0.51)


def test_disparity_stays_in_range_and_is_linear():
    ramp = np.tile(np.linspace(2.0, 3.0, 60, dtype=np.float32), (40, 1))
    small = resize_map(ramp, (20, 30))
    assert small.dtype == np.float32
    expected = (ramp[0, ::2] + ramp[0, 1::2]) / 2  # halves average neighbours on a ramp
    np.testing.assert_allclose(small[:, 2:-2], np.tile(expected, (20, 1))[:, 2:-2], atol=1e-5)
    step = np.where(np.arange(60) < 30, -1.0, 5.0).astype(np.float32)[None].repeat(40, 0)
    assert -1 <= resize_map(step, (13, 17)).min() <= resize_map(step, (80, 117)).max() <= 5


def test_mask_stays_binary_and_takes_the_nearest_pixel():
    mask = np.random.default_rng(0).random((12, 18)) > 0.5
    small = resize_mask(mask, (4, 6))
    assert small.dtype == np.bool_
    np.testing.assert_array_equal(small, mask[1::3, 1::3])


def test_pair_is_resized_alike():
    small = resize_pair(PAIR, (3, 4))
    assert small.photo.shape == small.target.shape == (3, 4, 3)
    assert set(small.maps) == set(MAPS)
    for name, plane in MAPS.items():
        resized = (resize_mask if name in ("mask", "sky") else resize_map)(plane, (3, 4))
        assert small.maps[name].dtype == plane.dtype
        np.testing.assert_array_equal(small.maps[name], resized)
    assert resize_pair(Pair("b", PHOTO, PHOTO), (3, 4)).maps == {}
    assert resize_pair(PAIR, (6, 8)).photo is PHOTO


@pytest.mark.parametrize("size", [[384, 512, 3], [384], [0, 5], [-1, 5]])
def test_image_size_is_checked(size):
    with pytest.raises(RequestError) as caught:
        check_image_size(size)
    assert str(caught.value) == f"`image_size` is (height, width), both positive, but got {size}."


def test_key_seed_is_the_documented_hash_and_spreads():
    digest = hashlib.blake2b(b"3/14/159", digest_size=8).digest()
    assert key_seed(3, 14, 159) == int.from_bytes(digest[:8], "little") // 2
    seeds = {key_seed(s, e, i) for s in range(4) for e in range(20) for i in range(50)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_key_seed_does_not_depend_on_the_process():
    code = "from lensblend.data.transforms import key_seed; print(key_seed(1, 2, 3))"
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == key_seed(1, 2, 3)


def variant(image):
    """Name which of the four flips of PHOTO an image is."""
    names = {"plain": PHOTO, "h": cv2.flip(PHOTO, 1), "v": cv2.flip(PHOTO, 0), "hv": cv2.flip(PHOTO, -1)}
    return next(name for name, expected in names.items() if np.array_equal(image, expected))


def test_random_flips_are_even_and_independent():
    flips = Flips("random", seed=3)
    counts = dict.fromkeys(("plain", "h", "v", "hv"), 0)
    for index in range(400):
        counts[variant(flips(Pair("a", PHOTO, PHOTO), 0, index).photo)] += 1
    # 100 each expected; four standard deviations of a binomial(400, 1/4) are 35
    assert all(65 <= count <= 135 for count in counts.values()), counts


def test_everything_flips_alike():
    flips = Flips("random", seed=0)
    seen = set()
    for index in range(30):
        flipped = flips(PAIR, 1, index)
        seen.add(variant(flipped.photo))
        np.testing.assert_array_equal(flipped.target, 255 - flipped.photo)
        for name in ("disparity", "normals", "saliency"):
            channel = ("disparity", "normals", "saliency").index(name)
            np.testing.assert_array_equal(flipped.maps[name], flipped.photo[..., channel])
        np.testing.assert_array_equal(flipped.maps["mask"], flipped.photo[..., 1] > 127)
        np.testing.assert_array_equal(flipped.maps["sky"], flipped.photo[..., 0] > 100)
        assert {name: plane.dtype for name, plane in flipped.maps.items()} == {n: p.dtype for n, p in MAPS.items()}
    assert seen == {"plain", "h", "v", "hv"}


def test_a_flip_depends_on_its_key_alone():
    keys = [(epoch, index) for epoch in range(3) for index in range(20)]
    forward, backward = Flips("random", seed=5), Flips("random", seed=5)
    one = [variant(forward(PAIR, *key).photo) for key in keys]
    other = [variant(backward(PAIR, *key).photo) for key in reversed(keys)][::-1]
    assert one == other
    assert one[:20] != one[20:40] != one[40:]
    assert one != [variant(Flips("random", seed=6)(PAIR, *key).photo) for key in keys]


def test_expand_is_the_set_then_horizontal_then_vertical():
    flips = Flips("expand")
    assert flips.copies == 3
    assert [variant(flips(PAIR, epoch, 7, copy).photo) for epoch in (0, 9) for copy in range(3)] == [
        "plain",
        "h",
        "v",
    ] * 2
    np.testing.assert_array_equal(flips(PAIR, 0, 0, 1).maps["mask"], MAPS["mask"][:, ::-1])


def test_horizontal_never_turns_a_photo_upside_down():
    flips = Flips("horizontal", seed=5)
    assert flips.copies == 1
    assert {variant(flips(PAIR, epoch, index).photo) for epoch in range(4) for index in range(8)} == {"plain", "h"}


def test_none_changes_nothing_and_imports_nothing():
    assert Flips("none")(PAIR, 0, 0) is PAIR
    code = "import sys; import lensblend.data.transforms; print('albumentations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_unknown_flips_are_refused():
    with pytest.raises(RequestError, match="`flips` is one of none, random, expand, horizontal, but got 'rotate'"):
        Flips("rotate")
