"""Pairs that are resized once: bitwise the same samples, whoever builds the file and however often it is stopped."""

import os
import pickle
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from lensblend.data import packed
from lensblend.data.files import FilePairs, PairFiles
from lensblend.data.images import write_image
from lensblend.data.packed import Packed, pack
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.samples import Samples
from lensblend.errors import RequestError, StorageError

SIZE = (32, 48)
ROW = 2 * 32 * 48 * 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packed"


def in_files(folder, count=5):
    random, files = np.random.default_rng(0), []
    for index in range(count):
        parts = [folder / part / f"{index}.png" for part in ("photo", "target")]
        for path in parts:
            write_image(path, random.integers(0, 256, (70, 90, 3), dtype=np.uint8))
        files.append(PairFiles(str(index), *parts, {}, f_number=None if index % 2 else 2.0 + index))
    return FilePairs(files)


@pytest.fixture
def pairs(tmp_path):
    return in_files(tmp_path)


def equal(one, other):
    return one.keys() == other.keys() and all(
        one[name] == other[name] if name == "id" else one[name].equal(other[name]) for name in one
    )


@pytest.mark.parametrize("crop", [None, (32, 40)])
@pytest.mark.parametrize("flips", ["none", "random", "expand"])
def test_samples_are_the_same_bit_for_bit(pairs, flips, crop):
    said = []
    kept = pack(pairs, SIZE, None, 2, said.append)
    assert len(said) == 1
    assert said[0].startswith("Packing 5 pairs at 32×48: 0.00 GB, ")
    for again in (kept, pickle.loads(pickle.dumps(kept)), pack(pairs, SIZE, None, 0, said.append)):
        plain, from_file = (Samples(source, SIZE, flips, seed=3, crop=crop) for source in (pairs, again))
        assert len(plain) == len(from_file)
        for key in ((epoch, index) for epoch in range(3) for index in range(len(plain))):
            assert equal(plain[key], from_file[key])
        assert [again.f_number(index) for index in range(5)] == [2.0, None, 4.0, None, 6.0]
    assert len(said) == 1


def test_other_sizes_numbers_and_files_are_other_stores(pairs, cache):
    pack(pairs, SIZE, None, 1, print)
    pack(pairs, (32, 40), None, 1, print)
    assert len(pack(pairs, SIZE, 2, 1, print).ids) == 2
    assert len(list(cache.glob("*.u8"))) == 3
    changed = np.zeros((70, 90, 3), dtype=np.uint8)
    write_image(pairs.files[1].target, changed)
    assert not pack(pairs, SIZE, None, 1, print).load(1).target.any()
    assert list(cache.glob("*.part")) == []


def test_what_was_stopped_is_gone_on_from(pairs, cache, monkeypatch):
    monkeypatch.setattr(packed, "CHUNK", 2)
    whole = pack(pairs, SIZE, None, 1, print).file
    content = whole.read_bytes()
    # Four pairs and a part of the fifth; of the last chunk nobody knows whether it has reached the disk.
    whole.rename(whole.with_suffix(".part")).write_bytes(content[: 2 * ROW] + bytes(2 * ROW) + b"half")
    loaded, load = [], FilePairs.load
    monkeypatch.setattr(FilePairs, "load", lambda self, index: (loaded.append(index), load(self, index))[1])
    said = []
    assert pack(pairs, SIZE, None, 1, said.append).file.read_bytes() == content
    assert loaded == [0, 2, 3, 4]  # the first is looked at for its maps
    assert ", 2 of them before: " in said[0]


BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1])))
import test_packed
from lensblend.data import packed
packed.CHUNK = 1
test_packed.pack(test_packed.existing(Path(sys.argv[2])), (32, 48), None, 1, lambda text: print(text, flush=True))
"""


def existing(folder):
    numbers = sorted(int(path.stem) for path in (folder / "photo").glob("*.png"))
    return FilePairs([PairFiles(str(n), folder / f"photo/{n}.png", folder / f"target/{n}.png", {}) for n in numbers])


@pytest.mark.slow
def test_two_builders_at_once_and_one_that_is_killed_leave_one_whole_file(tmp_path, cache):
    pairs = in_files(tmp_path, 100)
    command = [sys.executable, "-c", BUILD, os.path.dirname(__file__), str(tmp_path)]
    said = [tmp_path / f"{number}.txt" for number in range(3)]
    builders = []
    for path in said:
        with path.open("w") as file:
            builders.append(subprocess.Popen(command, stdout=file))
    while not (busy := [number for number, path in enumerate(said) if path.read_text()]):
        assert any(builder.poll() is None for builder in builders)
        time.sleep(0.005)
    builders[busy[0]].kill()
    assert sorted(builder.wait(60) for builder in builders) == [-signal.SIGKILL, 0, 0]
    assert sum(bool(path.read_text()) for path in said) == 2  # who was killed, and one of those who waited
    assert [path.suffix for path in sorted(cache.iterdir())] == [".lock", ".u8"]
    kept = pack(pairs, SIZE, None, 1, lambda text: pytest.fail("was there"))
    assert all(equal(Samples(pairs, SIZE)[index], Samples(kept, SIZE)[index]) for index in range(100))


class Rendered(Pairs):
    ids = ("a",)

    def load(self, index, epoch=0):
        return Pair("a", *[np.zeros((70, 90, 3), dtype=np.uint8)] * 2)


def test_pairs_that_are_rendered_or_carry_maps_are_refused_in_a_line(pairs, monkeypatch):
    with pytest.raises(RequestError, match=r"`loader\.cache` keeps pairs that lie in files .* leave it out"):
        pack(Rendered(), SIZE, None, 1, print)
    load = FilePairs.load
    mask = np.ones((70, 90), dtype=np.bool_)
    monkeypatch.setattr(
        FilePairs, "load", lambda self, index: Pair("0", load(self, 0).photo, load(self, 0).target, {"mask": mask})
    )
    with pytest.raises(RequestError, match="photos and targets alone, but `0` has the maps mask; leave it out"):
        pack(pairs, SIZE, None, 1, print)


def test_a_disk_without_room_is_said_before_it_is_full(pairs, cache, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5 * ROW - 1))
    with pytest.raises(StorageError, match=r"`loader\.cache` needs 0\.00 GB in .*packed, which has 0\.00 GB left"):
        pack(pairs, SIZE, None, 1, print)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_pixels_cannot_be_written_to(pairs):
    with pytest.raises(ValueError, match="read-only"):
        pack(pairs, SIZE, None, 1, print).load(0).photo[0, 0] = 0
    assert isinstance(pack(pairs, SIZE, None, 1, print), Packed)
