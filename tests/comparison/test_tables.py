import csv
import io

import numpy as np
import pytest

from lensblend.comparison.csv_tables import comparison_csv, scores_csv
from lensblend.comparison.explanations import explanation
from lensblend.comparison.lines import Line
from lensblend.comparison.rows import compare_scores
from lensblend.comparison.statistics import Interval, difference_interval, mean_interval
from lensblend.comparison.tables import markdown, marks, table_cells, verdict
from lensblend.metrics.fidelity import Psnr
from lensblend.metrics.perceptual import Lpips

METRICS = {"psnr": Psnr, "lpips": Lpips}

RANDOM = np.random.default_rng(0)
NAMED = {
    label: {f"image {i}": {"psnr": float(p), "lpips": float(v)} for i, (p, v) in enumerate(zip(*columns, strict=True))}
    for label, columns in {
        "first": (np.full(20, 24) + RANDOM.normal(0, 1, 20), RANDOM.uniform(0.2, 0.3, 20)),
        "second | odd": (np.full(20, 27) + RANDOM.normal(0, 1, 20), RANDOM.uniform(0.4, 0.5, 20)),
    }.items()
}


def compared(named, reference=0, metrics=METRICS):
    """The lines of runs that are rows of their own."""
    rows = {label: [scores] for label, scores in named.items()}
    found = compare_scores(rows, reference, metrics).items()
    return [Line(label, "runs/x", "phase3", 1234, one.means, one.differences) for label, one in found]


def lines(reference=0):
    return compared(NAMED, reference)


def test_means_and_differences_are_those_of_the_images():
    first, second = lines()
    ours, theirs = ([row["psnr"] for row in NAMED[label].values()] for label in ("second | odd", "first"))
    assert first.differences is None
    assert second.means["psnr"] == mean_interval(ours)
    assert second.differences["psnr"] == difference_interval(ours, theirs)


def test_the_order_of_the_images_in_a_run_plays_no_role():
    turned = {"first": NAMED["first"], "second | odd": dict(reversed(NAMED["second | odd"].items()))}
    assert compared(turned)[1].differences == lines()[1].differences


def test_the_reference_can_be_any_run():
    first, second = lines(reference=1)
    assert second.differences is None
    assert first.differences["psnr"].mean == pytest.approx(-lines()[1].differences["psnr"].mean)


def test_smaller_is_better_for_lpips():
    second = lines()[1]
    assert [verdict(second.differences[name], metric) for name, metric in METRICS.items()] == ["better", "worse"]
    assert verdict(Interval(1.0, -1.0, 2.0), Psnr) == ""
    assert marks(lines(), METRICS)[1:] == [["", "", "best", "", "", ""], ["", "best", "", "better", "worse", ""]]


def test_a_mean_that_is_no_number_is_never_the_best():
    means = [float("nan"), 21.0, 20.0]
    unsure = [Line("x", "runs/x", "phase1", 7, {"psnr": Interval(m, m, m)}, None) for m in means]
    assert [row[1] for row in marks(unsure, {"psnr": Psnr})[1:]] == ["", "best", ""]


def test_the_markdown_table_has_a_cell_in_every_column():
    text = markdown(lines(), METRICS, 20)
    rows = [row.replace("\\|", "/") for row in text.splitlines() if row.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len({len(row.replace("/", "//")) for row in rows if "/" not in row}) == 1
    assert "second / odd" in rows[3]
    assert "✓" in rows[3]
    assert "✗" in rows[3]
    assert "20 images" in text
    assert "BCa" in text


def test_one_run_has_no_differences_and_one_image_no_intervals():
    alone = lines()[:1]
    assert not any("Δ" in cell for cell in table_cells(alone, METRICS)[0])
    assert "Δ" not in markdown(alone, METRICS, 20)
    single = compared({"a": {"x": {"psnr": 20.0}}}, metrics={"psnr": Psnr})
    assert explanation(single, 1) == "One image: there are no intervals."
    assert table_cells(single, {"psnr": Psnr})[1] == ["a", "20.00", "1,234"]


def test_the_csv_reads_back_as_the_same_numbers():
    rows = {(r["run"], r["metric"]): r for r in csv.DictReader(io.StringIO(comparison_csv(lines(), METRICS)))}
    second = lines()[1]
    row = rows["second | odd", "psnr"]
    assert [float(row[c]) for c in ("mean", "low", "high")] == [
        second.means["psnr"].mean, second.means["psnr"].low, second.means["psnr"].high
    ]  # fmt: skip
    assert float(row["difference_low"]) == second.differences["psnr"].low
    assert (row["against"], row["count"], row["parameters"]) == ("first", "20", "1234")
    assert rows["first", "psnr"]["difference"] == ""
    scores = list(csv.DictReader(io.StringIO(scores_csv(NAMED, METRICS))))
    assert {(r["run"], r["id"]): float(r["psnr"]) for r in scores} == {
        (run, name): row["psnr"] for run, images in NAMED.items() for name, row in images.items()
    }


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_neither_hidden_nor_best(odd):
    named = {label: {name: dict(row) for name, row in rows.items()} for label, rows in NAMED.items()}
    named["second | odd"]["image 3"]["psnr"] = odd
    found = compared(named)
    assert str(found[1].means["psnr"].mean) == str(odd)
    assert np.isnan([found[1].means["psnr"].low, found[1].differences["psnr"].low]).all()
    assert verdict(found[1].differences["psnr"], Psnr) == ""
    if np.isnan(odd):
        assert [row[1] for row in marks(found, METRICS)] == ["", "best", ""]
