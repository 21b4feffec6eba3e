from pathlib import Path

import pytest

from lensblend.comparison.lines import Line
from lensblend.comparison.runs import Entry
from lensblend.comparison.statistics import Interval
from lensblend.comparison.studies.paper import TABLES, deviations, is_row, paper_table

# Typed from the printed paper: each table's lines of figures, PSNR SSIM LPIPS.
PRINTED = {
    1: ["22.53 0.8330 0.3251", "23.45 0.8675 0.2463"],
    2: ["23.17 0.8613 0.2506", "23.45 0.8675 0.2463"],
    3: ["23.22 0.8572 0.2607", "23.45 0.8675 0.2463"],
    4: ["23.91 0.8533 0.2716", "23.56 0.8557 0.2574", "23.45 0.8675 0.2463"],
}


def entry(sizes=(25, 45, 75), phase="phase3", family="gaussian", data="catalogue.Ebb", **more):
    model = {
        "_target_": "lensblend.networks.depth_blend.DepthBlend",
        "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass"},
        "bank": {"family": family, "sizes": list(sizes), "scale": 1.0},
    }
    return Entry(Path("run"), phase, {"model": model, "data": {"_target_": f"lensblend.data.{data}"}, **more})


def line(label="ours", psnr=24.5):
    means = {"psnr": Interval(psnr, psnr - 1, psnr + 1), "ssim": Interval(0.85, 0.84, 0.86)}
    return Line(label, "run", "phase3", 5, means, None)


def cells(text):
    rows = [[c.strip() for c in r.strip("|").split("|")] for r in text.splitlines() if r.startswith("|")]
    return [rows[0], *rows[2:]]


@pytest.mark.parametrize("number", TABLES)
def test_the_figures_are_the_printed_ones(number):
    ours = [" ".join(f"{v:.{p}f}" for v, p in zip(r.figures, (2, 4, 4), strict=True)) for r in TABLES[number][1]]
    assert ours == PRINTED[number]


@pytest.mark.parametrize("number", TABLES)
def test_figures_of_the_paper_and_ours_never_share_a_column(number):
    head, *rows = cells(paper_table(number, [entry()], [line()], "16 validation images"))
    names = ("PSNR ↑", "SSIM ↑", "LPIPS ↓")
    assert head[1:] == [*(f"{who} {name}" for who in ("paper", "ours") for name in names), "our run"]
    assert [" ".join(row[1:4]) for row in rows] == PRINTED[number]
    # Ours is the proposed network in its last phase: the last row of every table, and of no other.
    assert [row[4] for row in rows] == ["–"] * (len(rows) - 1) + ["24.50 [23.50, 25.50]"]
    assert rows[-1][6:] == ["–", "ours"]


def test_a_missing_row_names_the_command_that_trains_it():
    text = paper_table(3, [entry()], [line()], "16 validation images")
    assert "`lensblend train experiment=dbsi data=ebb data.root=PATH kernels=gaussian_5_25_45` trains one" in text
    text = paper_table(1, [entry()], [line()], "16 validation images")
    assert "`lensblend train baseline=scrn saliency.weights=SCRN data=ebb data.root=PATH` trains one" in text


@pytest.mark.parametrize(
    ("saliency", "said"),
    [
        ({"_target_": "lensblend.inference.guidance.Truth"}, "saliency from Truth, not SCRN"),
        (
            {
                "_target_": "lensblend.inference.prior_maps.NetworkMap",
                "network": {"_target_": "lensblend.priors.basnet.Basnet"},
                "weights": "b.pth",
            },
            "saliency from Basnet, not SCRN",
        ),
        (
            {
                "_target_": "lensblend.inference.prior_maps.NetworkMap",
                "network": {"_target_": "lensblend.priors.scrn.Scrn"},
                "weights": "s.pth",
            },
            "SCRN's weights from s.pth",
        ),
    ],
)
def test_the_baselines_row_is_the_saliency_blend_and_says_where_its_saliency_is_from(saliency, said):
    config = {
        "model": {
            "_target_": "lensblend.networks.saliency_blend.SaliencyBlend",
            "bank": {"family": "gaussian", "sizes": [75]},
        },
        "data": {"_target_": "lensblend.data.catalogue.Ebb"},
        "saliency": saliency,
    }
    text = paper_table(1, [Entry(Path("runs/scrn"), "phase3", config)], [line()], "16 validation images")
    (row,) = [row for row in text.splitlines() if row.startswith("| Baseline (SCRN)")]
    assert "24.50 [23.50, 25.50]" in row
    assert f"- ours: {said}." in text
    assert "depth weights" not in text


def test_phases_are_matched_to_their_rows():
    entries = [entry(phase=f"phase{i}") for i in (3, 1)]
    rows = cells(paper_table(4, entries, [line("third", 23.0), line("first", 21.0)], "16 validation images"))[1:]
    assert [(row[0], row[-1]) for row in rows] == [("Phase-1", "first"), ("Phase-2", "–"), ("Phase-3", "third")]


def test_runs_that_match_one_row_each_have_a_line():
    rows = cells(paper_table(2, [entry((75,)), entry((75,))], [line("a"), line("b")], "16 validation images"))[1:]
    assert [row[-1] for row in rows] == ["a", "b", "–"]
    assert rows[0][1:4] == rows[1][1:4] == PRINTED[2][0].split()


def test_a_chosen_phase_takes_the_place_of_the_rows_and_is_said():
    text = paper_table(2, [entry((75,), "phase1")], [line()], "16 validation images", phase="phase1")
    assert cells(text)[1][-1] == "ours"
    assert "16 validation images of Ebb, phase1." in text


@pytest.mark.parametrize("other", [{"family": "disk"}, {"sizes": (25, 45)}, {"phase": "phase2"}])
def test_other_runs_are_not_taken_for_the_proposed_one(other):
    proposed = TABLES[1][1][1]
    assert is_row(entry(), proposed)
    assert not is_row(entry(**other), proposed)


def test_another_network_or_light_is_another_row():
    proposed = TABLES[1][1][1]
    for key, value in (("linear_light", True), ("_target_", "lensblend.networks.other.Other"), ("backbone", {})):
        run = entry()
        run.config["model"][key] = value
        assert not is_row(run, proposed)


def test_what_differs_from_the_paper_is_said():
    assert deviations(entry(init_from="best_generalization_net_G.pth")) == []
    run = entry(data="embedded.Embedded")
    run.config["data"]["image_size"] = [96, 128]
    run.config["model"]["bank"]["scale"] = 0.25
    run.config["model"]["backbone"]["width_divisor"] = 4
    text = paper_table(1, [run], [line()], "16 validation images")
    for said in ("96×128", "not EBB!", "scaled by 0.25", "1/4 width", "no depth weights"):
        assert said in text
