import csv
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import rankdata, spearmanr

from lensblend.comparison.lines import Line
from lensblend.comparison.runs import Entry
from lensblend.comparison.scored import Scored
from lensblend.comparison.statistics import Interval
from lensblend.comparison.studies.aim2019 import TEAMS, TRACKS, differences_of, phases_compared, team_of, tracks_of
from lensblend.comparison.studies.aim2019_observations import correlation, observations, our_lines
from lensblend.comparison.studies.aim2019_table import (
    challenge_cells,
    challenge_csv,
    challenge_markdown,
    our_cells,
    our_ranks,
    our_rows,
    ranks,
)
from lensblend.metrics.fidelity import Psnr

# Typed from the printed report: runtime, PSNR and SSIM of the Fidelity track, those of the Perceptual track, MOS.
PRINTED = {
    "islab-zju": "0.27 23.43(2) 0.89 23.43 0.89 0.87(1)",
    "CVL-IITM": "0.8 22.90(6) 0.87 22.14 0.86 0.88(2)",
    "IPCV IITM": "2.5 23.17(5) 0.88 23.17 0.88 0.93(3)",
    "VIDAR": "0.53 23.93(1) 0.89 23.93 0.89 0.98(4)",
    "XMU-VIPLab": "0.6 23.18(4) 0.89 23.18 0.89 1.02(5)",
    "KAIST-VICLAB": "0.097 23.37(3) 0.86 23.37 0.86 1.08(6)",
    "SLYYM": "0.1 22.25(7) 0.85 22.25 0.85 1.10(7)",
    "Bazinga": "0.09 22.15(8) 0.84 22.15 0.84 1.48(8)",
    "aps vision@IITG": "270(CPU) 20.88(9) 0.77 20.88 0.77 1.53(9)",
}
CLASSES = {
    "islab-zju": "predictive_filter.PredictiveFilter",
    "IPCV IITM": "dynamic_filter_dense.DynamicFilterDense",
    "VIDAR": "attention_unet.AttentionUnet",
    "XMU-VIPLab": "dual_bokehnet.DualBokehNet",
    "KAIST-VICLAB": "nonlocal_autoencoder.NonlocalAutoencoder",
    "SLYYM": "spade_blend.SpadeBlend",
    "Bazinga": "saliency_rrdb.SaliencyRrdb",
    "aps vision@IITG": "edge_guided_residual.EdgeGuidedResidual",
}
DEPTH_BLEND = {
    "_target_": "lensblend.networks.depth_blend.DepthBlend",
    "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass"},
    "bank": {"family": "gaussian", "sizes": [25, 45, 75], "scale": 1.0},
}


def network(team):
    return {"_target_": f"lensblend.networks.{CLASSES[team]}"} if team in CLASSES else DEPTH_BLEND


def ensemble(*teams):
    return {"_target_": "lensblend.networks.ensemble.Ensemble", "members": [network(team) for team in teams]}


def entry(team, phase="phase1", run=("phase1",), data="catalogue.Ebb", **more):
    config = {"model": network(team) if isinstance(team, str) else team, "schedule": {"run": list(run)}}
    return Entry(Path(f"runs/{team}"), phase, {**config, "data": {"_target_": f"lensblend.data.{data}"}, **more})


def dbsi(phase, **more):
    return entry("CVL-IITM", phase, ("phase1", "phase2", "phase3"), init_from="depth.pth", **more)


def line(label, psnr=24.5, ssim=0.85, lpips=None):
    means = {"psnr": psnr, "ssim": ssim, **({"lpips": lpips} if lpips else {})}
    return Line(label, "run", "phase", 1234567, {m: Interval(v, v - 1, v + 1) for m, v in means.items()}, None)


def scored(seconds=0.5, macs=484e9, hardware="NVIDIA X", image_size=(768, 1024)):
    about = {"seconds": seconds, "macs": int(macs), "hardware": hardware, "image_size": list(image_size)}
    return Scored({}, {}, about, Path())


@pytest.fixture
def rows():
    """Four results of three teams: DBSI's two phases are in one track each, the others in both."""
    entries = [dbsi("phase1"), dbsi("phase3"), entry("islab-zju"), entry("SLYYM")]
    means = {"first": (24.0, 0.85), "third": (23.0, 0.88), "mpf": (24.0, 0.86), "spade": (22.0, 0.87)}
    lines = [line(label, *both) for label, both in means.items()]
    results = [scored(0.2, 121e9, image_size=(384, 512)), scored(0.8), scored(0.3), scored(0.1)]
    return our_rows(entries, lines, results)


def cells(text):
    found = [[c.strip() for c in r.strip("|").split("|")] for r in text.splitlines() if r.startswith("|")]
    return [row for row in found if not row[0].startswith("--")]


def test_the_challenges_figures_are_the_printed_ones_in_the_printed_order():
    _, *found = challenge_cells()
    assert {row[0]: " ".join(cell.replace(" (", "(") for cell in row[2:]) for row in found} == PRINTED
    assert [row[0] for row in found] == list(PRINTED)
    assert [team.mos for team in TEAMS] == sorted(team.mos for team in TEAMS)


def test_the_printed_ranks_are_those_of_the_printed_figures():
    assert [t.psnr_rank for t in TEAMS] == rankdata([-t.fidelity[0] for t in TEAMS], "min").tolist()
    assert [t.mos_rank for t in TEAMS] == rankdata([t.mos for t in TEAMS], "min").tolist()


def test_third_in_ssim_counts_equal_values_once():
    dense = dict(zip([t.name for t in TEAMS], rankdata([-t.fidelity[1] for t in TEAMS], "dense"), strict=True))
    assert dense["CVL-IITM"] == 3
    (said,) = [o for o in observations() if "Dutta 2021" in o.says]
    assert said.computed == "F-PSNR 6, F-SSIM 3 of the different values (4 teams above), MOS 2"
    assert said.verdict.startswith("holds")
    worse = [replace(team, fidelity=(22.90, 0.85)) if team.name == "CVL-IITM" else team for team in TEAMS]
    assert next(o for o in observations(worse) if "Dutta 2021" in o.says).verdict == "does not hold"


@pytest.mark.parametrize("name", CLASSES)
def test_a_run_belongs_to_a_team_by_the_class_of_its_network(name):
    assert team_of({"model": network(name)}).name == name
    assert tracks_of(entry(name)) == TRACKS
    assert tracks_of(entry(name, "phase1", ("phase1", "phase2"))) == ()
    assert tracks_of(entry(name, "phase1", ("phase1", "phase2")), "phase1") == TRACKS


def test_depth_blending_is_the_challenges_entry_only_as_it_was_sent():
    assert team_of({"model": DEPTH_BLEND}).name == "CVL-IITM"
    assert [tracks_of(dbsi(f"phase{i}")) for i in (1, 2, 3)] == [("fidelity",), (), ("perceptual",)]
    others = {"bank": {"family": "gaussian", "sizes": [75]}, "backbone": {"_target_": "Other"}, "linear_light": True}
    for key, value in others.items():
        assert team_of({"model": {**DEPTH_BLEND, key: value}}) is None
    assert team_of({"model": {"_target_": "lensblend.networks.other.Other"}}) is None


def test_an_ensemble_is_its_members_teams():
    assert team_of({"model": ensemble(*["VIDAR"] * 5)}).name == "VIDAR"
    assert team_of({"model": ensemble("VIDAR", "SLYYM")}) is None
    assert differences_of(entry(ensemble(*["VIDAR"] * 5))) == []
    assert differences_of(entry(ensemble(*["VIDAR"] * 3))) == ["the mean of 3 networks, not of five"]
    assert differences_of(entry("VIDAR")) == ["one network, not the mean of five"]
    assert differences_of(entry("SLYYM", data="embedded.Embedded")) == ["Embedded data, not EBB!"]


def test_only_the_phases_that_the_table_needs_are_compared():
    done = ["phase1", "phase2", "phase3"]
    assert list(phases_compared(dbsi("phase1").config, done)) == ["phase1", "phase3"]
    assert list(phases_compared(dbsi("phase1").config, ["phase2"])) == ["phase2"]
    assert list(phases_compared(entry("SLYYM").config, done)) == ["phase3"]
    assert list(phases_compared({"model": {**DEPTH_BLEND, "linear_light": True}}, done)) == ["phase3"]


def test_places_are_shared_by_equal_values_and_follow_the_metrics_direction():
    values = [0.89, 0.87, 0.88, 0.89, 0.86]
    assert ranks(values) == rankdata([-v for v in values], "min").tolist() == [1, 4, 3, 1, 5]
    assert ranks(values, larger_is_better=False) == rankdata(values, "min").tolist()
    assert ranks([float("inf"), float("nan"), 20.0]) == [1, None, 2]


def test_ours_are_ranked_within_their_track(rows):
    # Counted by hand: Fidelity has 24.0 twice and 22.0; Perceptual 24.0, 23.0 and 22.0.
    assert [(row.team.name, row.label) for row in rows] == [
        ("islab-zju", "mpf"), ("CVL-IITM", "first"), ("CVL-IITM", "third"), ("SLYYM", "spade")
    ]  # fmt: skip
    assert our_ranks(rows, Psnr) == [
        {"fidelity": 1, "perceptual": 1}, {"fidelity": 1}, {"perceptual": 2}, {"fidelity": 3, "perceptual": 3}
    ]  # fmt: skip
    head, *found = our_cells(rows)
    assert head[:4] == ["team", "track", "PSNR ↑", "SSIM ↑"]
    assert [row[:4] for row in found] == [
        ["islab-zju", "both", "24.00 (F 1, P 1)", "0.8600 (F 2, P 3)"],
        ["CVL-IITM", "fidelity", "24.00 (F 1)", "0.8500 (F 3)"],
        ["CVL-IITM", "perceptual", "23.00 (P 2)", "0.8800 (P 1)"],
        ["SLYYM", "both", "22.00 (F 3, P 3)", "0.8700 (F 1, P 2)"],
    ]
    assert found[1][4:] == ["0.200", "NVIDIA X", "384×512", "1,234,567", "121", "first"]


def test_seeds_are_one_row_their_mean_and_other_runs_have_rows_of_their_own():
    entries = [entry("SLYYM", seed=0), entry("SLYYM", seed=1), entry("SLYYM", seed=0, width=8)]
    lines = [line("seed=0", 22.0, 0.8, 0.2), line("seed=1", 23.0, 0.9, 0.4), line("width=8", 20.0, 0.7, 0.5)]
    mean, other = our_rows(entries, lines, [scored(1.0), scored(3.0), scored(7.0)])
    assert (mean.runs, mean.seconds) == (2, 2.0)
    assert mean.means == {"psnr": 22.5, "ssim": pytest.approx(0.85), "lpips": pytest.approx(0.3)}
    assert mean.label.endswith("(mean of 2 runs)")
    assert other.label == "width=8"
    assert our_cells([mean, other])[1][4] == "0.3000"


def test_ours_and_theirs_never_share_a_table(rows):
    text = challenge_markdown(rows, "12 validation images", "Ebb")
    found = cells(text)
    assert [row[0] for row in found] == ["team", *PRINTED, "team", "islab-zju", "CVL-IITM", "CVL-IITM", "SLYYM"]
    assert "means over 12 validation images of Ebb, other photos than the challenge's" in text
    assert "200 test photos, which are not public" in text
    first, second = text.split("our runs\n")
    assert "24.00" not in first
    assert "23.93" not in second


def test_a_team_without_a_run_has_the_command_that_trains_one(rows):
    text = challenge_markdown(rows, "12 validation images", "Ebb")
    assert "- VIDAR: no finished run among these; `lensblend train baseline=vidar data=ebb data.root=PATH`" in text
    assert "- CVL-IITM" not in text
    assert "- SLYYM:" not in text
    only = [row for row in rows if row.label == "first"]
    said = challenge_markdown(only, "12 validation images", "Ebb")
    assert "- CVL-IITM, perceptual: no finished run among these; `lensblend train baseline=dbsi" in said
    assert "(phase3 is the perceptual one)" in said
    assert challenge_markdown([], "12 validation images", "Ebb").count("no finished run among these") == 9


def test_what_ours_differ_in_is_said():
    rows = our_rows([entry("VIDAR"), dbsi("phase3", data="embedded.Embedded")], [line("a"), line("b")], [scored()] * 2)
    text = challenge_markdown(rows, "12 validation images", "Ebb")
    assert "- VIDAR · a: one network, not the mean of five." in text
    assert "- CVL-IITM · b: Embedded data, not EBB!." in text


def test_the_csv_has_a_row_per_track_of_theirs_and_of_ours(rows):
    found = list(csv.DictReader(challenge_csv(rows, 12).splitlines()))
    theirs = [row for row in found if row["source"] == "challenge"]
    assert len(theirs) == 18
    assert [(r["team"], r["mos"], r["mos_rank"]) for r in theirs if r["mos"]][1] == ("CVL-IITM", "0.88", "2")
    assert {r["track"] for r in theirs if r["mos"]} == {"perceptual"}
    ours = [row for row in found if row["source"] == "ours"]
    assert [(r["team"], r["track"], r["psnr_rank"], r["macs"], r["height"]) for r in ours] == [
        ("islab-zju", "fidelity", "1", "484000000000", "768"),
        ("islab-zju", "perceptual", "1", "484000000000", "768"),
        ("CVL-IITM", "fidelity", "1", "121000000000", "384"),
        ("CVL-IITM", "perceptual", "2", "484000000000", "768"),
        ("SLYYM", "fidelity", "3", "484000000000", "768"),
        ("SLYYM", "perceptual", "3", "484000000000", "768"),
    ]
    assert all(row["mos"] == "" for row in ours)


def test_the_correlations_of_the_report_have_the_right_direction():
    # Places typed by hand from the printed table, best first; equal SSIMs share their mean place.
    mos = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    expected = {
        "PSNR": ([2, 6, 5, 1, 4, 3, 7, 8, 9], [2, 8, 5, 1, 4, 3, 6, 7, 9]),
        "SSIM": ([2, 5, 4, 2, 2, 6, 7, 8, 9], [2, 5.5, 4, 2, 2, 5.5, 7, 8, 9]),
    }
    found = {o.says.rsplit(" ", 1)[1]: o for o in observations() if "strongly correlate" in o.says}
    for metric, places in expected.items():
        rhos = [f"{t}: ρ = {spearmanr(mos, own)[0]:.2f} (n = 9)" for t, own in zip("FP", places, strict=True)]
        assert found[metric].computed == ", ".join(rhos)
        assert "matter of degree" in found[metric].verdict
    # Of the eight on a GPU: slowest first against best MOS first.
    slowest = [5, 2, 1, 4, 3, 7, 6, 8]
    (seconds,) = [o for o in observations() if "slower on a GPU" in o.says]
    assert seconds.computed == f"ρ = {spearmanr(slowest, mos[:8])[0]:.2f} (n = 8)"


def verdicts(says, **changes):
    """Return the verdicts on a statement, as printed and with a team's figures changed."""
    name = changes.pop("name")
    changed = [replace(team, **changes) if team.name == name else team for team in TEAMS]
    return [next(o.verdict for o in observations(teams) if says in o.says) for teams in (TEAMS, changed)]


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("one solution to both", {"name": "SLYYM", "perceptual": (22.24, 0.85)}),
        ("VIDAR is first", {"name": "VIDAR", "mos": 0.86}),
        ("islab-zju is second", {"name": "KAIST-VICLAB", "fidelity": (23.5, 0.86)}),
        ("slightly above", {"name": "islab-zju", "mos": 0.5}),
        ("fastest", {"name": "KAIST-VICLAB", "mos": 0.5}),
        ("0.53 s", {"name": "VIDAR", "seconds": 0.54}),
        ("0.53 s", {"name": "VIDAR", "mos": 0.1}),
    ],
)
def test_what_the_report_observes_holds_and_would_not_of_other_figures(says, change):
    assert verdicts(says, **change) == ["holds", "does not hold"]


def test_more_than_two_and_a_half_seconds_is_not_what_is_printed():
    printed, slower = verdicts("more than 2.5", name="IPCV IITM", seconds=2.6)
    assert printed == "does not hold as printed: from 0.1 to 2.5"
    assert slower == "holds"
    (said,) = [o.computed for o in observations() if "more than 2.5" in o.says]
    assert said == "0.09 to 2.5; on a CPU, apart: aps vision@IITG 270"


def test_our_runs_are_correlated_by_track_where_they_can_be(rows):
    # Fidelity: PSNR 24 (mpf), 24 (first), 22; SSIM 0.86, 0.85, 0.87; seconds 0.3, 0.2, 0.1.
    psnr, ssim, seconds = [1.5, 1.5, 3], [2, 3, 1], [1, 2, 3]
    agree, slower = spearmanr(psnr, ssim)[0], spearmanr(psnr, seconds)[0]
    assert our_lines(rows)[:2] == [
        f"- Fidelity track, PSNR with SSIM: ρ = {agree:.2f} (n = 3).",
        f"- Fidelity track, seconds with PSNR: ρ = {slower:.2f} (n = 3).",
    ]
    mixed = [replace(rows[0], hardware="CPU, 2 threads"), *rows[1:]]
    assert "different devices (CPU, 2 threads, NVIDIA X)" in our_lines(mixed)[1]
    assert our_lines(rows[:2])[0] == "- Fidelity track, PSNR with SSIM: cannot be said: 2 of 3 points needed."


def test_a_correlation_needs_numbers_that_differ():
    assert correlation([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == "cannot be said: all values are equal"
    assert correlation([1.0, float("nan"), 2.0, 3.0], [3.0, 9.0, 2.0, 1.0]) == "ρ = -1.00 (n = 3)"
