import pytest

from lensblend.cli.identity import LONGEST_LABEL, differences, label

CHOSEN = {"kernels": "gaussian_75", "backbone": "hourglass", "schedule": "dbsi_three_phase", "trainer": "cpu"}
HEAD = "gaussian_75 · hourglass"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], HEAD),
        (["kernels=gaussian_75", "backbone=hourglass"], HEAD),
        (["schedule=dbsi_three_phase", "seed=3"], f"{HEAD} · dbsi_three_phase · seed=3"),
        (["schedule.phases.phase2.lr=1e-4"], f"{HEAD} · phase2.lr=0.0001"),
        (["loss@schedule.phases.phase1.loss=l1"], f"{HEAD} · phase1.loss=l1"),
        (["init_from=/runs/a/best.ckpt"], f"{HEAD} · init_from=best.ckpt"),
        # What changes nothing of the result, or is the machine's.
        (["run_dir=/a", "logger=wandb", "trainer=cpu", "metrics.lpips=null", "loader.num_workers=4"], HEAD),
        (["~callbacks.panels", "name=x", "data.root=/sets/ebb"], HEAD),
    ],
)
def test_a_label_says_what_changes_the_result(overrides, told):
    assert label(CHOSEN, None, overrides) == told


def test_a_name_comes_after_kernels_and_backbone_and_a_baseline_instead_of_them():
    assert label(CHOSEN, "table 2", []) == f"{HEAD} · table 2"
    assert label({**CHOSEN, "baseline": "spade_blend"}, None, []) == "spade_blend"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["logger=[csv,wandb]", "run_dir=a", "print_config=true", "loader.num_workers=8", "callbacks.panels=null"], []),
        (["kernels=gaussian_25_45_75", "seed=0", "loader.flips=random", "experiment=null"], []),
        (
            ["experiment=demo", "schedule.run=[a]", "seed=1", "loader.flips=none"],
            ["experiment=demo", "schedule.run=[a]", "seed=1", "loader.flips=none"],
        ),
        (["loss@schedule.phases.phase1.loss=l1"], ["loss@schedule.phases.phase1.loss=l1"]),
        (["+trainer.profiler=simple", "~debug"], ["+trainer.profiler=simple", "~debug"]),
        (["data.root=/somewhere/else", "+data.api_key=abc"], ["+data.api_key=(redacted)"]),
    ],
)
def test_what_differs_from_the_defaults_is_what_decides_the_result(overrides, expected):
    assert differences(overrides) == expected


def test_a_long_label_is_cut_but_no_secret_with_it(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_not-for-others")
    told = label(CHOSEN, "n" * (LONGEST_LABEL - len(HEAD) - 8) + "hf_not-for-others", ["seed=1"])
    assert len(told) == LONGEST_LABEL
    assert "hf" not in told
    assert told.endswith("…")
