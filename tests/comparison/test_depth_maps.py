"""Depth estimators side by side: alignment and scores against SciPy and NumPy, colours against Matplotlib."""

import csv
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy.optimize import lsq_linear

from hostile_names import NAMES
from lensblend.comparison.depth_maps import (
    aligned_disparity,
    coloured,
    compare_depth,
    estimators_of,
    photos_in,
    score,
)
from lensblend.comparison.depth_report import write_depth
from lensblend.data.images import write_image
from lensblend.errors import DataError, LensblendError, RequestError
from lensblend.inference.guidance import MapFiles
from lensblend.inference.pictures import CAPTION, CELL_HEIGHT, GAP

RANDOM = np.random.default_rng(0)
TRUE = RANDOM.uniform(0.1, 1, (24, 36)).astype(np.float32)


def test_scale_and_shift_are_those_of_least_squares():
    own = (0.3 * TRUE + 0.2 + RANDOM.normal(0, 0.05, TRUE.shape)).astype(np.float32)
    system = np.stack([own.ravel(), np.ones(own.size)], axis=1)
    scale, shift = np.linalg.lstsq(system, TRUE.ravel(), rcond=None)[0]
    np.testing.assert_allclose(aligned_disparity(own, TRUE), scale * own + shift, atol=1e-5)


def test_a_map_that_turns_near_and_far_round_is_not_turned_back():
    system = np.stack([-TRUE.ravel(), np.ones(TRUE.size)], axis=1)
    bound = lsq_linear(system, TRUE.ravel(), ([0, -np.inf], np.inf)).x
    np.testing.assert_allclose(aligned_disparity(-TRUE, TRUE), bound[0] * -TRUE + bound[1], atol=1e-4)
    assert score(1 - TRUE, TRUE)["ordinal"] == 0
    flat = np.full_like(TRUE, 0.5)
    np.testing.assert_allclose(aligned_disparity(flat, TRUE), TRUE.mean(), rtol=1e-6)


def test_scores_are_those_of_log_depth_after_alignment():
    own = (0.5 * TRUE**1.5).astype(np.float32)
    aligned = np.polyval(np.polyfit(own.ravel().astype(float), TRUE.ravel().astype(float), 1), own)
    error = -np.log(np.maximum(aligned, 0.05)) + np.log(np.maximum(TRUE, 0.05))
    found = score(own, TRUE)
    assert found["si_rmse"] == pytest.approx(error.std(), rel=1e-4)
    assert found["ordinal"] == 1  # the order is the same, whatever the curve
    assert score(0.4 * TRUE + 0.3, TRUE)["si_rmse"] == pytest.approx(0, abs=1e-5)


def test_near_is_bright_in_each_map_of_its_own():
    plane = np.linspace(3, 7, 1000, dtype=np.float32).reshape(20, 50)
    pixels = coloured(plane)
    low, high = np.sort(plane.ravel())[[9, 989]]
    expected = matplotlib.colormaps["inferno"](((plane - low) / (high - low)).clip(0, 1))[..., :3] * 255
    assert np.abs(pixels - expected).max() <= 1
    assert pixels[-1, -1].sum() > pixels[10, 0].sum() > pixels[0, 0].sum()
    # A single pixel that is far nearer than all else does not darken the rest.
    spoilt = plane.copy()
    spoilt[0, 0] = 1e4
    assert np.abs(coloured(spoilt)[5:].astype(int) - pixels[5:]).max() <= 8
    assert (coloured(np.full((4, 4), 0.5, np.float32)) == pixels[0, 0]).all()


@pytest.fixture
def folders(tmp_path):
    """Photos, two estimators and the truth, as folders."""

    def make(names=("a", "b")):
        for folder in ("photos", "first", "second", "truth"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for number, name in enumerate(names):
            true = np.tile(np.linspace(0.1, 1, 36, dtype=np.float32), (24, 1))
            photo = np.full((24, 36, 3), 40 + number, np.uint8)
            write_image(tmp_path / "photos" / f"{name}.png", photo)
            np.save(tmp_path / "truth" / f"{name}.npy", true)
            np.save(tmp_path / "first" / f"{name}.npy", 0.5 * true)
            np.save(tmp_path / "second" / f"{name}.npy", np.ascontiguousarray(0.5 * true[:, ::-1]))
        return tmp_path

    return make


def compared(root, truth=True, names=("first", "second")):
    photos = photos_in(root / "photos")
    estimators = estimators_of([str(root / name) for name in names], len(photos.ids))
    return compare_depth(estimators, photos, MapFiles("disparity", str(root / "truth")) if truth else None)


def test_photos_maps_and_truth_stand_side_by_side_with_their_scores(folders, tmp_path, picture):
    rows = compared(folders())
    assert [list(row.pictures) for row in rows] == [["photo", "first", "second", "truth"]] * 2
    text, files = write_depth(rows, tmp_path / "out", ["first: here"])
    assert files == ["depth.png", "depth.html", "depth.md", "depth.csv"]
    assert re.search(r"\| first +\| 0.0000 .*\| 1.0000 .*\|\n\| second +\| 0.\d* .*\| 0.0", text)
    assert "Near is bright" in text
    with (tmp_path / "out" / "depth.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["estimator"], row["id"]) for row in table] == [(e, i) for i in "ab" for e in ("first", "second")]
    assert [float(row["ordinal"]) for row in table] == [1, 0, 1, 0]
    page = (tmp_path / "out" / "depth.html").read_text()
    assert page.count("<img") == 8
    assert "<small>SI-RMSE 0.0000 · Ordinal accuracy 1.0000</small>" in page
    assert "<script" not in page
    assert "Near is bright" in page
    # In the sheet, where all are enlarged alike, one estimator's map is the other's, turned round.
    sheet = picture(tmp_path / "out" / "depth.png")
    width = (sheet.shape[1] - GAP) // 4
    first, second = (sheet[CAPTION : CAPTION + CELL_HEIGHT, GAP + i * width : (i + 1) * width] for i in (1, 2))
    np.testing.assert_array_equal(first, second[:, ::-1])
    assert first[:, -1].sum() > first[:, 0].sum()


def test_without_truth_there_is_no_table(folders, tmp_path):
    root = folders()
    write_depth(compared(root), tmp_path / "out", [])
    text, files = write_depth(compared(root, truth=False), tmp_path / "out", [])
    assert files == ["depth.png", "depth.html", "depth.md"]
    assert {file.name for file in (tmp_path / "out").iterdir()} == set(files)
    assert "SI-RMSE" not in text + (tmp_path / "out" / "depth.html").read_text()


def test_the_sheet_shows_the_first_photos_and_says_so(folders, tmp_path):
    rows = compared(folders([str(i) for i in range(10)]), truth=False)
    assert [row.id for row in rows] == [str(i) for i in range(10)]
    text, _ = write_depth(rows, tmp_path / "out", [])
    assert "depth.png shows the first 8 of 10 photos, depth.html all." in text
    assert (tmp_path / "out" / "depth.html").read_text().count("<section") == 10


def test_missing_maps_are_all_named_before_anything_is_computed(folders):
    root = folders("abc")
    (root / "second" / "b.npy").unlink()
    (root / "second" / "c.npy").unlink()
    with pytest.raises(DataError, match=r"(?s)the maps of second.*`b` needs one.*`c` needs one"):
        compared(root)


def test_estimators_are_called_as_briefly_as_tells_them_apart(tmp_path):
    for name in ("x/depth", "y/depth", "z", "truth"):
        (tmp_path / name).mkdir(parents=True)
    names = list(estimators_of([str(tmp_path / n) for n in ("x/depth", "y/depth", "z", "truth")], 1))
    assert names == ["x/depth", "y/depth", "z", "truth (estimated)"]
    with pytest.raises(RequestError, match="one of them twice"):
        estimators_of([str(tmp_path / "z"), str(tmp_path / "x" / ".." / "z")], 1)


def test_photos_of_one_name_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(LensblendError, match="holds no image"):
        photos_in(tmp_path)
    for suffix in ("png", "jpg"):
        Image.new("RGB", (40, 40)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match="several photos called a"):
        photos_in(tmp_path)


def test_names_of_any_kind_stay_text(folders, tmp_path):
    names = [name for key, name in NAMES.items() if not key.startswith(("long", "combining", "no UTF-8"))]
    root = folders([name for name in names if not name.startswith(".")])
    rows = compared(root)
    write_depth(rows, tmp_path / "out", [f"<b>{name}: {name}" for name in names])
    page, text = ((tmp_path / "out" / name).read_text("utf-8") for name in ("depth.html", "depth.md"))
    assert "<b>" not in page + text
    assert "<script>" not in page + text
    with (tmp_path / "out" / "depth.csv").open(encoding="utf-8", newline="") as file:
        cells = [row["id"] for row in csv.DictReader(file)]
    assert len(cells) == 2 * len(rows)
    assert not [cell for cell in cells if cell.startswith(("=", "+a", "@", "-rf"))]
