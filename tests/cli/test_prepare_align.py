import csv
import io
import json
import re
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from lensblend.data.catalogue import Ebb
from raw_files import write_dng

SHIFT = np.array([[1.01, 0.006, 6.0], [-0.006, 1.01, -5.0], [0, 0, 1]])


def align(in_process, *arguments):
    return in_process("prepare", "align", *arguments)


def photo(path, pixels, time=None, f_number=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if time is not None:
        exif.get_ifd(0x8769).update({0x9003: f"2026:05:01 10:00:{time:02}", 0x829D: f_number, 0xA002: 7})
    Image.fromarray(pixels).save(path, exif=exif, **options)


def taken_twice(name):
    """A photo and what is seen of it with another focal length, the left half blurred."""
    narrow = getattr(data, name)()
    wide = cv2.warpPerspective(narrow, SHIFT, narrow.shape[1::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    half = wide.shape[1] // 2
    wide[:, :half] = cv2.GaussianBlur(wide, (0, 0), 3)[:, :half]
    return narrow, wide


def table(output):
    return list(csv.DictReader(io.StringIO((output / "pairs.csv").read_text("utf-8"))))


@pytest.fixture(scope="module")
def scene():
    return taken_twice("coffee")


def test_captures_become_pairs_that_the_loader_reads(in_process, tmp_path, scene, picture):
    raw, output = tmp_path / "raw", tmp_path / "pairs"
    icc = b"\0" * 16 + b"RGB " + b"\0" * 108
    photo(raw / "a<b_f16.png", scene[0], icc_profile=icc)
    photo(raw / "a<b_f1.8.png", scene[1], icc_profile=icc)
    photo(raw / "other_f16.png", scene[0])
    photo(raw / "other_f1.8.png", data.chelsea())
    photo(raw / "holiday.png", scene[0])
    done = align(in_process, raw, "--output", output, "--height", 256)
    assert done.code == 0, done.err
    assert f"Passed over: `{raw}/holiday.png` has no f-number at the end of its name" in done.out
    assert "1 of 2 pairs accepted" in done.out
    first, second = table(output)
    assert (first["name"], first["accepted"], first["size"].split("x")[0]) == ("a<b", "true", "256")
    assert (second["accepted"], second["problem"]) == ("false", second["problem"])
    assert re.fullmatch(r"\d+ inliers, fewer than 30", second["problem"])
    known = np.array(first["transform"].split(), float).reshape(3, 3)
    assert np.abs(known - SHIFT).max() < 0.5
    original, bokeh = (picture(output / f"Training/{kind}/0.jpg") for kind in ("original", "bokeh"))
    assert original.shape == bokeh.shape
    sharp = np.s_[:, original.shape[1] * 2 // 3 :]
    assert np.abs(original[sharp].astype(float) - bokeh[sharp]).mean() < 4
    with Image.open(output / "Training/bokeh/0.jpg") as file:
        assert file.info["icc_profile"] == icc
    assert Ebb(str(output)).split("train").load(0).photo.shape == original.shape
    page = (output / "report.html").read_text("utf-8")
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert "inliers, fewer than 30" in page
    assert "holiday.png" in page


def test_a_second_start_does_what_is_missing_or_new(in_process, tmp_path, scene):
    raw, output = tmp_path / "raw", tmp_path / "pairs"
    photo(raw / "original/b.png", scene[0])
    photo(raw / "bokeh/b.png", scene[1])
    assert align(in_process, raw, "--output", output).code == 0
    pair = output / "Training/bokeh/0.jpg"
    made = pair.stat().st_mtime_ns
    photo(raw / "original/a.png", *taken_twice("chelsea")[:1])
    photo(raw / "bokeh/a.png", taken_twice("chelsea")[1])
    again = align(in_process, raw, "--output", output)
    assert "2 captures in" in again.out
    assert "1 aligned earlier" in again.out
    assert "[1/1] a: " in again.out
    assert pair.stat().st_mtime_ns == made
    assert [(row["number"], row["name"]) for row in table(output)] == [("0", "b"), ("1", "a")]
    # A process that was ended leaves files and no record of their end.
    record = output / "records/1.json"
    content = json.loads(record.read_text("utf-8"))
    record.write_text(json.dumps({**content, "settings": None}), "utf-8")
    pair.unlink()
    third = align(in_process, raw, "--output", output)
    assert {line[6:8] for line in third.out.splitlines() if line.startswith("[")} == {"a:", "b:"}
    assert pair.exists()


def test_what_is_there_is_not_replaced_unasked(in_process, tmp_path, scene):
    raw, output = tmp_path / "raw", tmp_path / "pairs"
    photo(raw / "original/b.png", scene[0])
    photo(raw / "bokeh/b.png", scene[1])
    assert align(in_process, raw, "--output", output).code == 0
    other = align(in_process, raw, "--output", output, "--format", "png")
    assert (other.code, "aligned with other options; add --overwrite" in other.err) == (2, True)
    assert align(in_process, raw, "--output", output, "--format", "png", "--overwrite").code == 0
    assert sorted(p.name for p in (output / "Training").rglob("*.*")) == ["0.png", "0.png"]
    photo(output / "Training/original/7.jpg", scene[0])
    foreign = align(in_process, raw, "--output", output, "--format", "png", "--overwrite")
    assert (foreign.code, "7.jpg` was not made by this command" in foreign.err) == (2, True)
    assert align(in_process, raw, "--output", raw).code == 2


def test_neighbours_in_time_and_their_exposure(in_process, tmp_path, scene, picture):
    raw, output = tmp_path / "raw", tmp_path / "pairs"
    photo(raw / "IMG_1.jpg", (scene[1] * 0.7).astype(np.uint8), 1, 1.8, quality=98)
    photo(raw / "IMG_2.jpg", scene[0], 5, 16.0, quality=98)
    photo(raw / "IMG_3.jpg", scene[0], 9, 16.0, quality=98)
    done = align(in_process, raw, "-o", output, "--match-exposure", "--format", "png")
    assert done.code == 0, done.err
    assert "IMG_3.jpg` has no neighbour in time at another f-number, within 60 s" in done.out
    (row,) = table(output)
    assert row["narrow"].endswith("IMG_2.jpg")
    assert row["wide"].endswith("IMG_1.jpg")
    original, bokeh = (picture(output / f"Training/{kind}/0.png") for kind in ("original", "bokeh"))
    assert abs(float(original.mean()) - float(bokeh.mean())) < 2
    with Image.open(output / "Training/original/0.png") as file:
        details = file.getexif().get_ifd(0x8769)
        assert (details[0xA002], details[0x829D]) == (file.width, 16)


def test_none_accepted_is_a_failure(in_process, tmp_path, scene):
    raw = tmp_path / "raw"
    photo(raw / "s/f22.png", scene[0])
    photo(raw / "s/f2.0.png", data.chelsea())
    (raw / "t").mkdir()
    (raw / "t/f22.png").write_bytes(b"no photo")
    photo(raw / "t/f2.0.png", scene[0])
    done = align(in_process, raw, "-o", tmp_path / "pairs")
    assert done.code == 1
    assert "No pair was accepted" in done.err
    assert ["inliers" in row["problem"] for row in table(tmp_path / "pairs")] == [True, False]
    assert "f22.png" in table(tmp_path / "pairs")[1]["problem"]


@pytest.mark.slow
def test_several_processes_give_what_one_gives(in_process, tmp_path, scene, picture):
    raw = tmp_path / "raw"
    for name in ("a", "b"):
        photo(raw / f"original/{name}.png", scene[0])
        photo(raw / f"bokeh/{name}.png", scene[1])
    for workers in (1, 2):
        done = align(in_process, raw, "-o", tmp_path / str(workers), "--workers", workers, "--format", "png")
        assert done.code == 0, done.err
    assert table(tmp_path / "1") == table(tmp_path / "2")
    one, two = (picture(tmp_path / f"{workers}/Training/bokeh/1.png") for workers in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_table_says_what_belongs_together(in_process, tmp_path, scene):
    raw, listed = tmp_path / "raw", tmp_path / "pairs.csv"
    photo(raw / "x.png", scene[0])
    photo(raw / "y.png", scene[1])
    refused = align(in_process, raw, "-o", tmp_path / "pairs")
    assert refused.code == 1
    assert "x.png` has no EXIF with DateTimeOriginal and FNumber" in refused.err
    for text, said in (
        ("narrow,wide\nx.png,z.png\n", "1 file(s) that do not exist"),
        ("a,b\nx.png,y.png\n", "needs the columns narrow and wide"),
        ("narrow,wide\nx.png,y.png\nx.png,y.png\n", "names `x.png` in two rows"),
    ):
        listed.write_text(text, "utf-8")
        wrong = align(in_process, raw, "-o", tmp_path / "pairs", "--pairs", listed)
        assert (wrong.code, said in wrong.err) == (1, True), wrong.err
    listed.write_text("narrow,wide\nx.png,y.png\n", "utf-8")
    assert align(in_process, raw, "-o", tmp_path / "pairs", "--pairs", listed).code == 0


def test_raw_files_are_developed_and_aligned(in_process, tmp_path, scene, picture, monkeypatch):
    raw, output = tmp_path / "raw", tmp_path / "pairs"
    for f_number, pixels in (("16", scene[0]), ("1.8", scene[1])):
        write_dng(raw / f"s_f{f_number}.DNG", pixels)
    done = align(in_process, raw, "-o", output, "--format", "png")
    assert done.code == 0, done.err
    narrow = picture(output / "Training" / "original" / "0.png")
    assert abs(narrow.mean(axis=(0, 1)) - scene[0].mean(axis=(0, 1))).max() < 4
    monkeypatch.setitem(sys.modules, "rawpy", None)
    missing = align(in_process, raw, "-o", tmp_path / "others")
    assert (missing.code, "pip install 'lensblend[raw]'" in missing.err) == (2, True)
