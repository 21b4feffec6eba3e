from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lensblend.comparison.csv_tables import comparison_csv
from lensblend.comparison.explanations import explained
from lensblend.comparison.lines import Line
from lensblend.comparison.rows import compare_scores, configuration_cells, mean_scores, rows_of
from lensblend.comparison.runs import Entry
from lensblend.comparison.statistics import difference_of_rows, mean_interval
from lensblend.comparison.tables import marks, table_cells, verdict
from lensblend.metrics.fidelity import Psnr
from lensblend.metrics.focus import PsnrIn

METRICS = {"psnr": Psnr, "psnr_in": PsnrIn}


def entry(folder, seed, sizes=(75,), phase="phase1", **other):
    config = {"seed": seed, "kernels": {"sizes": list(sizes)}, "run_dir": folder, **other}
    return Entry(Path(folder), phase, config, ())


SWEEP = [entry(f"sweep/{i}", i % 2, (25, 45, 75) if i < 2 else (75,)) for i in range(4)]
LABELS = ["25 · seed=0", "25 · seed=1", "75 · seed=0", "75 · seed=1"]


def test_runs_that_differ_in_their_seed_alone_are_one_row():
    rows = rows_of(SWEEP, LABELS)
    assert [(row.label, row.members) for row in rows] == [("sizes=25,45,75", (0, 1)), ("sizes=75", (2, 3))]
    assert [row.members for row in rows_of(SWEEP, LABELS, each_seed=True)] == [(0,), (1,), (2,), (3,)]
    assert [row.label for row in rows_of(SWEEP, LABELS, each_seed=True)] == LABELS
    assert [row.label for row in rows_of(SWEEP[1:3], LABELS[1:3])] == LABELS[1:3]


def test_another_phase_or_value_is_another_row_and_a_place_is_not():
    runs = [entry("a", 0), entry("b", 1, phase="phase2"), entry("c", 2, width=4), entry("d", 3, logger={"csv": 1})]
    assert [row.members for row in rows_of(runs, list("abcd"))] == [(0, 3), (1,), (2,)]


def test_seeds_alone_are_called_as_the_folder_that_holds_them():
    assert rows_of([entry("x/kernels/0", 0), entry("x/kernels/1", 1)], ["seed=0", "seed=1"])[0].label == "kernels"


def test_in_what_rows_differ_stands_in_a_table_without_seeds_and_copies():
    rows = rows_of(SWEEP, LABELS)
    assert configuration_cells(SWEEP, rows) == [
        ["", "sizes=25,45,75", "sizes=75"],
        ["kernels.sizes", "25,45,75", "75"],
    ]
    assert configuration_cells(SWEEP[:2], rows_of(SWEEP[:2], LABELS[:2])) == []
    apart = configuration_cells(SWEEP, rows_of(SWEEP, LABELS, each_seed=True))
    assert apart == [["", *LABELS], ["seed", "0", "1", "0", "1"], ["kernels.sizes", "25,45,75", "25,45,75", "75", "75"]]


RNG = np.random.default_rng(0)
IMAGES = RNG.normal(25, 3, 12)
FIRST = [IMAGES + RNG.normal(0, 0.1, 12) + shift for shift in (-0.1, 0.0, 0.1)]
SECOND = [IMAGES + RNG.normal(0, 0.1, 12) + shift for shift in (0.9, 1.0, 1.2)]


def scored(values):
    return {f"image {i}": {"psnr": float(v), "psnr_in": float(v) if i else float("nan")} for i, v in enumerate(values)}


def lines(first=FIRST, second=SECOND):
    rows = {"first": [scored(v) for v in first], "second": [scored(v) for v in second]}
    found = compare_scores(rows, 0, METRICS)
    return [Line(n, "x", "p", 7, c.means, c.differences, None, c.seeds, c.spreads) for n, c in found.items()]


def test_a_rows_mean_is_that_of_per_image_means_and_its_spread_that_of_the_runs():
    one = lines()[1]
    assert one.means["psnr"] == mean_interval(np.mean(SECOND, axis=0).tolist())
    assert one.spreads["psnr"] == pytest.approx(np.std([v.mean() for v in SECOND], ddof=1))
    assert one.seeds == 3
    assert mean_scores([scored(v) for v in SECOND])["image 3"]["psnr"] == pytest.approx(np.mean([v[3] for v in SECOND]))


def test_a_difference_has_an_interval_over_images_and_welchs_over_seeds():
    found = lines()[1].differences["psnr"]
    paired = np.mean(SECOND, axis=0) - np.mean(FIRST, axis=0)
    assert found.mean == pytest.approx(paired.mean())
    assert found == mean_interval(paired.tolist()) or (found.low, found.high) == (
        mean_interval(paired.tolist()).low, mean_interval(paired.tolist()).high
    )  # fmt: skip
    runs = [[v.mean() for v in row] for row in (SECOND, FIRST)]
    welch = stats.ttest_ind(*runs, equal_var=False).confidence_interval(0.95)
    assert (found.seeds_low, found.seeds_high) == pytest.approx((welch.low, welch.high))
    assert found.spread == pytest.approx(np.hypot(*(np.std(row, ddof=1) for row in runs)))
    assert verdict(found, Psnr) == "better"


def test_seeds_that_scatter_more_than_rows_differ_decide_nothing():
    scattered = [SECOND[0] - 3, SECOND[1], SECOND[2] + 3]
    found = lines(second=scattered)[1].differences["psnr"]
    assert found.low > 0  # the images agree
    assert found.seeds_low < 0
    assert verdict(found, Psnr) == ""


@pytest.mark.parametrize(("seeds", "images", "said"), [
    ((1, 1), 6, "better"), ((1, 1), 5, "too few"), ((3, 3), 6, "better"), ((3, 3), 5, "too few"),
    ((2, 2), 12, "too few"), ((3, 1), 12, "too few"), ((3, 2), 12, "too few"),
])  # fmt: skip
def test_of_too_few_images_or_seeds_nothing_is_said(seeds, images, said):
    ours, theirs = ([v[:images].tolist() for v in row[:n]] for row, n in zip((SECOND, FIRST), seeds, strict=True))
    assert verdict(difference_of_rows(ours, theirs), Psnr) == said


def test_the_table_says_how_many_seeds_and_how_far_they_are_apart():
    cells = table_cells(lines(), METRICS)
    assert cells[0][:3] == ["Δ to first", "seeds", "PSNR ↑"]
    one = lines()[1]
    mean, apart = one.means["psnr"], one.spreads["psnr"]
    assert cells[2][1:3] == ["3", f"{mean.mean:.2f} ± {apart:.2f} [{mean.low:.2f}, {mean.high:.2f}]"]
    assert cells[2][4].startswith(f"+{one.differences['psnr'].mean:.2f} ± ")
    assert cells[2][4].endswith("] ✓")
    assert {len(row) for row in [*cells, *marks(lines(), METRICS)]} == {len(cells[0])}
    few = table_cells(lines(FIRST[:2], SECOND[:2]), METRICS)
    assert few[2][4].endswith("] (too few)")
    assert marks(lines(FIRST[:2], SECOND[:2]), METRICS)[2][4] == ""
    alone = table_cells(lines(FIRST[:1], SECOND[:1]), METRICS)
    assert "seeds" not in alone[0]
    assert "±" not in "".join(alone[2])


def test_the_rules_stand_below_the_table():
    assert "Welch's 95 % interval over seeds" in explained(lines(), 12, METRICS)
    assert "3 seeds in both rows" in explained(lines(), 12, METRICS)
    assert "seed" not in explained(lines(FIRST[:1], SECOND[:1]), 12, METRICS).replace("seed 0", "")
    five = [[v[:5] for v in row] for row in (FIRST[:1], SECOND[:1])]
    assert "Too few: fewer than 6 images" in explained(lines(*five), 5, METRICS)


def test_images_without_a_score_are_left_out_and_counted():
    one = lines()[1]
    assert one.means["psnr_in"].mean == pytest.approx(np.mean(SECOND, axis=0)[1:].mean())
    assert (one.means["psnr_in"].count, one.means["psnr"].count) == (11, 12)
    assert "PSNR in focus: over 11 of the images" in explained(lines(), 12, METRICS)
    nobody = {"a": [{"x": {"psnr": 1.0, "psnr_in": float("nan")}}]}
    found = compare_scores(nobody, 0, METRICS)["a"]
    line = Line("a", "x", "p", 7, found.means, found.differences, None, found.seeds, found.spreads)
    assert table_cells([line], METRICS)[1] == ["a", "1.00", "–", "7"]


def test_the_csv_has_seeds_spreads_and_verdicts():
    import csv
    import io

    found = {(r["run"], r["metric"]): r for r in csv.DictReader(io.StringIO(comparison_csv(lines(), METRICS)))}
    one, row = lines()[1], found["second", "psnr_in"]
    assert (row["seeds"], row["count"], row["verdict"]) == ("3", "11", "better")
    assert float(row["sd"]) == one.spreads["psnr_in"]
    assert float(row["difference_sd"]) == one.differences["psnr_in"].spread
    assert found["first", "psnr"]["verdict"] == ""
