from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lensblend.data import embedded
from lensblend.data.embedded import Embedded
from lensblend.data.pairs import Pair, Pairs, Source
from lensblend.data.scenes import Scenes
from lensblend.errors import RequestError

SIZE = [48, 64]


def build(cache: Path | str, **request: object) -> Embedded:
    return Embedded(image_size=SIZE, cache=str(cache), **request)  # type: ignore[arg-type]


def same(first: Pair, second: Pair) -> bool:
    images = [(first.photo, second.photo), (first.target, second.target)]
    planes = [(first.maps[name], second.maps[name]) for name in ("disparity", "mask")]
    return first.id == second.id and all(np.array_equal(*both) for both in images + planes)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def refuse(*_: object, **__: object) -> Pair:
    pytest.fail("rendered although it is in the cache")


def test_embedded_is_a_source_with_telling_ids(tmp_path: Path) -> None:
    source = build(tmp_path, train=15, val=4)
    assert isinstance(source, Source)
    train, val = source.split("train"), source.split("val")
    assert isinstance(train, Pairs)
    assert train.ids[:5] == ["motorcycle-00-near", "layers-0000", "layers-0001", "motorcycle-01-near", "layers-0002"]
    assert "motorcycle-04-far" in train.ids
    assert len(set(train.ids) | set(val.ids)) == 19
    names = build(tmp_path, val=16).split("val").ids
    assert [name for name in names if "motorcycle" in name] == ["val-motorcycle-00-near", "val-motorcycle-01-near"]
    assert len(set(names)) == 16
    assert len(entries(tmp_path)) == 0


def test_defaults_hold_48_and_16_pairs_that_all_differ() -> None:
    source = Embedded(cache="")
    assert len(source.split("train").ids) == 48
    assert len(source.split("val").ids) == 16
    small = build("", train=6, val=6)
    photos = {small.split(name).load(index).photo.tobytes() for name in ("train", "val") for index in range(6)}
    assert len(photos) == 12


def test_pixels_are_the_same_with_and_without_cache_in_any_order(tmp_path: Path) -> None:
    plain, cached = build("").split("train"), build(tmp_path).split("train")
    forward = [plain.load(index) for index in range(4)]
    for index in (3, 1, 0, 2):
        assert same(cached.load(index), forward[index])
    again = build(tmp_path).split("train")
    for index in range(4):
        assert same(again.load(index, epoch=5), forward[index])
    assert same(plain.load(-1), plain.load(len(plain.ids) - 1))


def test_a_cached_pair_tells_its_f_number_as_a_rendered_one(tmp_path: Path) -> None:
    loaded = [build(tmp_path, aperture=0.006).split("train").load(0) for _ in range(2)]
    assert [pair.f_number for pair in loaded] == [pytest.approx(11.52)] * 2


def test_cached_pairs_are_not_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = build(tmp_path).split("val")
    first = [pairs.load(index) for index in range(2)]
    monkeypatch.setattr(embedded, "render_scene", refuse)
    monkeypatch.setattr(embedded, "motorcycle_pair", refuse)
    assert all(same(pairs.load(index), pair) for index, pair in enumerate(first))


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "flipped", "other size", "other array"])
def test_damaged_entry_is_rendered_again(tmp_path: Path, damage: str) -> None:
    pairs = build(tmp_path).split("val")
    first = pairs.load(1)
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    if damage == "other size":
        np.savez(path, photo=first.photo[:9], target=first.target, **first.maps)
    elif damage == "other array":
        np.savez(path, photo=first.photo)
    else:
        flipped = whole[:999] + bytes([whole[999] ^ 255]) + whole[1000:]
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"<html>", "flipped": flipped}[damage])
    assert same(pairs.load(1), first)
    assert entries(tmp_path) == [path]
    with np.load(path) as entry:
        np.testing.assert_array_equal(entry["target"], first.target)


def test_entry_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    pairs = build(tmp_path).split("val")
    expected = build("").split("val").load(1)
    for name in ("numpy.savez", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(name, full)
            assert same(pairs.load(1), expected)
        assert entries(tmp_path) == []


def test_unusable_cache_costs_only_the_cache(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    assert same(build(occupied).split("val").load(1), build("").split("val").load(1))


def test_cache_is_kept_apart_by_what_decides_the_pixels(tmp_path: Path) -> None:
    requests: list[dict[str, object]] = [{}, {"seed": 1}, {"aperture": 0.1}, {"near_focus": 0.5}, {"max_radius": 0.02}]
    requests += [{"exposure": 0.3}, {"shift": 0.0}]
    for request in requests:
        build(tmp_path, **request).split("train").load(1)
    Embedded(image_size=[64, 48], cache=str(tmp_path)).split("train").load(1)
    build(tmp_path).split("val").load(1)
    assert len(entries(tmp_path)) == 9
    build(tmp_path, train=5).split("train").load(1)  # a longer or shorter set shares its pairs
    assert len(entries(tmp_path)) == 9


def test_pairs_of_an_earlier_rendering_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path).split("val").load(1)
    monkeypatch.setattr(embedded, "_FORMAT", embedded._FORMAT - 1)
    build(tmp_path).split("val").load(1)
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize(("working", "said"), [([768, 1024], True), ([192, 256], False), ([220, 300], False)])
def test_enlarging_is_said_with_the_key_that_renders_larger(working: list[int], said: bool) -> None:
    sizes = [(96, 128), (working[0], working[1])]
    for source in (Embedded(cache=""), Scenes()):
        note = source.enlargement(sizes)
        assert bool(note) == said
        assert note is None or ("[192, 256]" in note and "data.image_size=[768,1024]" in note)


@pytest.mark.parametrize("variable", ["LENSBLEND_CACHE", "HOME"])
def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("LENSBLEND_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    Embedded(image_size=SIZE).split("train").load(1)
    (path,) = entries(tmp_path)
    home = tmp_path if variable == "LENSBLEND_CACHE" else tmp_path / ".cache" / "lensblend"
    assert path.parents[2] == home / "embedded"
    assert path.name == "layers-0000.npz"


def test_blending_has_room_above_every_uniform_blur() -> None:
    """The task is neither solved by the photo nor by one blur, and a choice of blur per pixel gains 3 dB or more."""
    pairs = Embedded(image_size=[96, 128], cache="").split("val")

    def psnr(error: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / error.mean()))

    scores = []
    for index in range(len(pairs.ids)):
        pair = pairs.load(index)
        photo, target = pair.photo.astype(float), pair.target.astype(float)
        stack = [photo, *(gaussian_filter(photo, (sigma, sigma, 0)) for sigma in (1.0, 1.8, 2.9))]
        errors = np.stack([((copy - target) ** 2).mean(axis=2) for copy in stack])
        scores.append([*(psnr(error) for error in errors), psnr(errors.min(axis=0))])
    *uniform, chosen = np.mean(scores, axis=0)
    assert 24 < uniform[0] < 30
    assert 24 < max(uniform) < 31
    assert chosen > max(uniform) + 3


@pytest.mark.parametrize("request_", [{"train": -1}, {"val": -2}, {"seed": -3}])
def test_requests_are_checked(request_: dict[str, int]) -> None:
    with pytest.raises(RequestError, match=r"not negative, but got .*-\d"):
        Embedded(**request_)  # type: ignore[arg-type]
