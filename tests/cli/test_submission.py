"""`lensblend export --format submission` and `--card`: packages, factsheets and cards that say what is known."""

import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lensblend.cli.photo_files import Job
from lensblend.cli.submission import _check_renderings
from lensblend.errors import DataError
from lensblend.runs.cards import UNKNOWN, markdown

ASKED = ("--format", "submission", "--track", "fidelity", "--extra-data", "no", "--device", "cpu")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "test set"
    folder.mkdir()
    for index, size in ((4694, (50, 40)), (4695, (60, 40))):
        pixels = np.random.default_rng(index).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=95)
    return folder


def test_a_package_holds_each_photos_rendering_and_the_readme(in_process, tiny_model, photos, picture, tmp_path):
    package = tmp_path / "package.zip"
    asked = (tiny_model, *ASKED, "--images", photos, "--output", package)
    done = in_process("export", *asked, "--runtime", "0.8", "--description", "Solution A")
    assert done.code == 0, done.err
    with zipfile.ZipFile(package) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["4694.png", "4695.png", "readme.txt"]
        assert packed.read("readme.txt").decode().splitlines() == [
            "runtime per image [s] : 0.80",
            "CPU[1] / GPU[0] : 1",
            "Extra Data [1] / No Extra Data [0] : 0",
            "Other description : Solution A (fidelity track)",
        ]
        packed.extractall(tmp_path / "there")
    assert in_process("render", photos, "-m", tiny_model, "-o", tmp_path / "line", "--format", "png").code == 0
    for name in ("4694.png", "4695.png"):
        np.testing.assert_array_equal(picture(tmp_path / "there" / name), picture(tmp_path / "line" / name))
    sheet = (tmp_path / "package-factsheet.md").read_text()
    for said in ("- kind: `DepthBlend`", "- seconds a photo: `0.80, as given, on cpu`", "- extra data: `no`"):
        assert said in sheet
    assert str(tmp_path) not in sheet
    first = package.read_bytes()
    assert in_process("export", *asked, "--runtime", "0.8").code == 2  # it is there
    done = in_process("export", *asked, "--runtime", "0.8", "--description", "Solution A", "--overwrite")
    assert done.code == 0, done.err
    assert package.read_bytes() == first
    assert in_process("export", *asked, "--overwrite").code == 0
    with zipfile.ZipFile(package) as packed:
        lines = packed.read("readme.txt").decode().splitlines()
    assert re.fullmatch(r"runtime per image \[s\] : \d+\.\d\d", lines[0])
    assert lines[3].startswith("Other description : DepthBlend, ")


def test_nothing_is_packed_where_a_photo_cannot_be_rendered(in_process, tiny_model, photos, tmp_path):
    (photos / "4696.jpg").write_bytes(b"<html>")
    package = tmp_path / "package.zip"
    done = in_process("export", tiny_model, *ASKED, "--images", photos, "--output", package)
    assert done.code == 1
    assert "4696.jpg" in done.err
    assert not list(tmp_path.glob("package*"))


def test_a_rendering_that_is_missing_or_of_another_size_is_named(photos, tmp_path):
    jobs = [Job(f"{n}.jpg", photos / f"{n}.jpg", tmp_path / f"{n}.png", tmp_path / f"{n}.png") for n in (4694, 4695)]
    Image.new("RGB", (60, 39)).save(tmp_path / "4695.png")
    with pytest.raises(DataError) as error:
        _check_renderings(jobs)
    assert "4694.jpg has no rendering" in str(error.value)
    assert "4695.jpg has 40×60 pixels, its rendering 39×60" in str(error.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--format", "submission"], "`--track` and `--images` and `--extra-data`"),
        ([*ASKED, "--images", "none"], "is no folder"),
        ([*ASKED, "--images", ".", "--description", "a\nb"], "one line"),
        ([*ASKED, "--images", ".", "--half"], "`--half` would have no effect"),
        (["--format", "safetensors", "--track", "fidelity"], "`--track` would have no effect"),
    ],
)
def test_what_is_missing_or_of_no_use_is_said(in_process, tiny_model, tmp_path, flags, says):
    suffix = "zip" if "submission" in flags else "safetensors"
    done = in_process("export", tiny_model, *flags, "--output", tmp_path / f"a.{suffix}", cwd=tmp_path)
    assert done.code == 2
    assert says in done.err
    assert not list(tmp_path.iterdir())


def test_a_card_says_what_the_record_says_and_that_the_rest_is_unknown(in_process, tiny_model, tmp_path):
    file, card = tmp_path / "network.safetensors", tmp_path / "MODEL_CARD.md"
    asked = ("export", tiny_model, "--output", file, "--card", "--licence", "CC BY 4.0\n# x")
    done = in_process(*asked)
    assert done.code == 0, done.err
    lines = card.read_text().splitlines()
    assert lines[0] == "# network"
    assert [line for line in lines if line.startswith("#")][1:] == [
        "## Network", "## Data", "## Training", "## Scores", "## Licences"
    ]  # fmt: skip
    for line in (
        "- kind: `DepthBlend`",
        "- works at: `32×48 (height × width)`",
        f"- hash of the file: `sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}`",
        "- seed: `0`",
        "- weights: `CC BY 4.0 # x`",
        f"- whose photos: {UNKNOWN}",
        f"- phase1: {UNKNOWN}",
        f"- of validation: {UNKNOWN}",
        f"- commit: {UNKNOWN}",
    ):
        assert line in lines, line
    file.unlink()
    done = in_process(*asked)
    assert done.code == 2
    assert "MODEL_CARD.md exists" in done.err
    assert not file.exists()


@pytest.mark.slow
def test_a_card_of_a_run_has_its_phases_losses_and_scores(in_process, trained, tmp_path):
    done = in_process("export", trained, "--output", tmp_path / "network.safetensors", "--card")
    assert done.code == 0, done.err
    text = (tmp_path / "MODEL_CARD.md").read_text()
    assert "- phases: `phase1, phase2, phase3`" in text
    assert re.search(r"- phase1, losses: `\d.* × L1 of bokeh", text)
    assert re.search(r"- phase3 \(done, \d+ steps\): `val/psnr=", text)
    for place in (trained, trained.parent, Path.home()):
        assert str(place) not in text


def test_no_value_becomes_markup():
    text = markdown("a\n# b", {"Data": [("source", "`x`\n## y [z](http://evil)"), ("note", "\x1b[2J")]})
    assert text.splitlines() == [
        "# a # b",
        "",
        "## Data",
        "",
        "- source: `'x' ## y [z](http://evil)`",
        r"- note: `\x1b[2J`",
    ]
