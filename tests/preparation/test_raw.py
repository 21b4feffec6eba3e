"""Raw files are developed by rawpy itself, from mosaics whose colours are known."""

import contextlib
import datetime
import types

import numpy as np
import pytest
import rawpy
from PIL import Image

from lensblend.errors import DataError
from lensblend.preparation.captures import find_captures
from lensblend.preparation.raw import raw_taken, read_capture
from raw_files import write_dng

COLOURS = np.array([[[30, 30, 30], [128, 128, 128]], [[200, 90, 40], [60, 120, 220]]], np.uint8)


@pytest.fixture
def patches():
    return COLOURS.repeat(64, axis=0).repeat(64, axis=1)


def test_levels_are_those_of_srgb_and_the_exposure_is_untouched(patches, tmp_path):
    write_dng(tmp_path / "a.dng", patches)
    developed = read_capture(tmp_path / "a.dng").pixels
    assert (developed.shape, developed.dtype) == ((128, 128, 3), np.uint8)
    inside = developed.reshape(2, 64, 2, 64, 3)[:, 16:48, :, 16:48].astype(int)
    np.testing.assert_allclose(inside.mean(axis=(1, 3)), COLOURS, atol=2)


def test_size_is_known_before_it_is_developed(patches, tmp_path, monkeypatch):
    write_dng(tmp_path / "a.dng", patches)
    with rawpy.imread(str(tmp_path / "a.dng")) as file:
        known = contextlib.nullcontext(types.SimpleNamespace(sizes=file.sizes))
    monkeypatch.setattr("rawpy.imread", lambda _: known)
    with pytest.raises(DataError, match=r"a\.dng` is too large \(128×128 pixels; limit 1000\)"):
        read_capture(tmp_path / "a.dng", 1000)


@pytest.mark.parametrize("content", [b"", b"II*\0no raw file", "cut"])
def test_what_cannot_be_developed_is_named(patches, tmp_path, content):
    path = tmp_path / "a.dng"
    write_dng(path, patches)
    path.write_bytes(path.read_bytes()[:2000] if content == "cut" else content)
    with pytest.raises(DataError, match=r"a\.dng` cannot be developed .*convert it to TIFF or JPEG") as told:
        read_capture(path)
    assert "\n" not in str(told.value)


def test_time_and_f_number_are_the_cameras(patches, tmp_path):
    write_dng(tmp_path / "a.dng", patches, "2026:05:01 10:00:03", 1.8)
    write_dng(tmp_path / "b.dng", patches, "2026:05:01 10:00:03")
    write_dng(tmp_path / "c.dng", patches, None, 1.8)
    assert raw_taken(tmp_path / "a.dng") == (datetime.datetime(2026, 5, 1, 10, 0, 3), 1.8)
    assert raw_taken(tmp_path / "b.dng") is None
    assert raw_taken(tmp_path / "c.dng") is None


def test_raw_files_are_paired_by_what_they_say(patches, tmp_path):
    for name, second, f_number in (("IMG_1", 0, 16), ("IMG_2", 5, 1.8), ("IMG_3", 40, 1.8), ("IMG_4", 44, 16)):
        write_dng(tmp_path / f"{name}.DNG", patches, f"2026:05:01 10:00:{second:02}", f_number)
    write_dng(tmp_path / "IMG_5.DNG", patches)
    found = find_captures(tmp_path)
    assert [(c.narrow.name, c.wide.name) for c in found.captures] == [
        ("IMG_1.DNG", "IMG_2.DNG"),
        ("IMG_4.DNG", "IMG_3.DNG"),
    ]
    (left,) = found.passed_over
    assert "IMG_5.DNG` says no time and f-number; put the f-number into its name" in left


@pytest.mark.parametrize("way", ["names", "folders", "EXIF"])
def test_of_a_photo_and_its_raw_file_the_photo_counts(patches, tmp_path, way):
    named = {
        "names": ("tree_f16", "tree_f1.8"),
        "folders": ("original/1", "bokeh/1"),
        "EXIF": ("IMG_1", "IMG_2"),
    }[way]
    for second, (name, f_number) in enumerate(zip(named, (16, 1.8), strict=True)):
        write_dng(tmp_path / f"{name}.dng", patches, f"2026:05:01 10:00:0{second}", f_number)
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x9003: f"2026:05:01 10:00:0{second}", 0x829D: f_number})
        Image.fromarray(patches).save(tmp_path / f"{name}.JPG", exif=exif)
    found = find_captures(tmp_path)
    assert [(c.narrow.suffix, c.wide.suffix) for c in found.captures] == [(".JPG", ".JPG")]
    assert len(found.passed_over) == 2
    assert all(".dng` lies beside " in line and ".JPG, which counts" in line for line in found.passed_over)
