import csv
import io
from pathlib import Path

import numpy as np
import pytest

from lensblend.comparison.runs import Entry
from lensblend.comparison.scored import Scored
from lensblend.comparison.statistics import mean_interval
from lensblend.comparison.studies.analysis import (
    Analysed,
    analyse,
    analysis_csv,
    analysis_markdown,
    coverage,
    depth_cells,
    focus_cells,
)
from lensblend.comparison.studies.claims import claim_cells, compute_claims

NAN = float("nan")


def row(w0, focus, disparity=True):
    """One image's measures; its weights fall by a tenth from fifth to fifth."""
    fifths = {f"w{i}_fifth{j + 1}": (w0 - j / 10 if i == 0 else 1 - w0 + j / 10) for i in (0, 1) for j in range(5)}
    if not disparity:
        fifths = dict.fromkeys(fifths, NAN)
    sharpness = {"sharpness_focus": focus, "sharpness_background": focus / 2}
    return {
        **fifths,
        "w0_focus": w0,
        "w0_background": w0 / 2,
        **sharpness,
        "target_sharpness_focus": 0.9,
        "target_sharpness_background": 0.2,
    }


@pytest.fixture
def analysed():
    """A run with three images, of which one has no disparity."""
    measures = {"a": row(0.9, 0.8), "b": row(0.7, 0.6), "c": row(0.5, 0.4, disparity=False)}
    about = {"maps": ["W0 · photo", "W1 · gaussian 75"]}
    scored = Scored({}, {}, about, Path("run/compare/phase1"), measures)
    return analyse(["run"], [Entry(Path("run"), "phase1", {})], [scored])


def test_weights_by_depth_are_means_over_the_images_with_a_disparity(analysed):
    assert analysed[0].by_depth() == pytest.approx(np.array([[0.8, 0.7, 0.6, 0.5, 0.4], [0.2, 0.3, 0.4, 0.5, 0.6]]))
    assert depth_cells(analysed)[1] == ["run · W0 · photo", "0.800", "0.700", "0.600", "0.500", "0.400"]
    assert depth_cells(analysed)[2][0] == "run · W1 · gaussian 75"


def test_what_was_left_out_is_said_with_its_number(analysed):
    lines = coverage(analysed)
    assert lines[0].startswith("Weights by depth: 2 of 3 images; 1 left out: their pairs have no disparity")
    assert lines[1:] == [f"{kind}: 3 of 3 images." for kind in (
        "W0 in and out of focus", "Sharpness in focus", "Sharpness of background"
    )]  # fmt: skip


def test_photo_and_target_stand_beside_the_runs(analysed):
    head, photo, target, run = focus_cells(analysed)
    assert head[1:] == ["W0 in focus", "W0 outside", "sharpness in focus", "sharpness of background"]
    assert photo == ["photo", "–", "–", "1", "1"]
    assert target == ["target", "–", "–", "0.900 [0.900, 0.900]", "0.200 [0.200, 0.200]"]
    assert run[0] == "run"
    assert run[1].startswith("0.700 [")
    assert run[4].startswith("0.300 [")


def test_the_csv_has_a_row_per_measure_that_reads_back_as_the_same_numbers(analysed):
    rows = {(r["run"], r["measure"]): r for r in csv.DictReader(io.StringIO(analysis_csv(analysed)))}
    assert len(rows) == 2 + 10 + 4
    own = rows["run", "w0_fifth5"]
    expected = mean_interval([0.5, 0.3])
    assert (own["phase"], own["count"]) == ("phase1", "2")
    assert [float(own[c]) for c in ("mean", "low", "high")] == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    assert float(rows["target", "sharpness_background"]["mean"]) == pytest.approx(0.2)


def test_a_measure_that_no_image_has_is_empty():
    measures = {"a": row(0.9, 0.8, disparity=False)}
    scored = Scored({}, {}, {"maps": ["W0", "W1"]}, Path("x"), measures)
    analysed = analyse(["run"], [Entry(Path("run"), "phase1", {})], [scored])
    rows = {r["measure"]: r for r in csv.DictReader(io.StringIO(analysis_csv(analysed)))}
    assert (rows["w0_fifth1"]["count"], rows["w0_fifth1"]["mean"]) == ("0", "")
    assert (rows["w0_focus"]["mean"], rows["w0_focus"]["low"]) == ("0.9", "")
    assert depth_cells(analysed)[1] == ["run · W0", *"–" * 5]


def test_a_network_without_weights_keeps_its_sharpness():
    values = {name: np.array([0.5, 0.6]) for name in row(1.0, 1.0) if "sharpness" in name}
    bare = Analysed("bare", Entry(Path("bare"), "phase1", {}), (), values)
    assert focus_cells([bare])[3][1:3] == ["–", "–"]
    assert bare.by_depth().shape == (0, 5)
    text = analysis_markdown([bare], claim_cells(compute_claims([bare])))
    assert "weights by depth" not in text
    assert "Sharpness in focus: 2 of 2 images." in text
