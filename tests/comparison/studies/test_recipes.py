"""What a table says of a run that was trained otherwise than the recipe whose row it takes."""

from copy import deepcopy
from pathlib import Path

import pytest

from lensblend.cli.recipes import carried_out, recipe
from lensblend.comparison.lines import Line
from lensblend.comparison.runs import Entry
from lensblend.comparison.studies.aim2019 import TEAMS, differences_of
from lensblend.comparison.studies.paper import TABLES, deviations, paper_table
from lensblend.comparison.studies.recipes import Recipes
from lensblend.runs.configuration import flat, is_free

RECIPES = Recipes(recipe, carried_out)
EBB = {"_target_": "lensblend.data.catalogue.Ebb", "root": "x", "train_list": None, "val_list": None, "exclude": None}
TRUTH = {"_target_": "lensblend.inference.guidance.Truth"}
PLACES = {"dbsi": {"init_from": "depth.pth"}, "ipcv_iitm": {"model.weights": "densenet121.pth"}}
BASELINES = ("scrn", *(team.baseline.split()[0] for team in TEAMS))
# Keys that decide nothing of a result, that others are copies of, or that lie beside what a recipe uses.
OF_NO_MATTER = (
    "data", "seed", "name", "metrics", "not_finite", "kernels", "backbone", "module.channels_last",
    "module.checkpoint_activations", "init_from", "saliency", "disparity", "focus",
)  # fmt: skip


def put(config, key, value):
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[int(part) if isinstance(node, list) else part]
    node[last] = value


def entry(baseline, phase=None, left_out=None, **changes):
    """A run of a published recipe on EBB!, with other values of some keys."""
    config = deepcopy(recipe(baseline))
    config["data"] = dict(EBB)
    for key, value in {**PLACES.get(baseline, {}), **changes}.items():
        put(config, key, value)
    return Entry(Path(f"runs/{baseline}"), phase or config["schedule"]["run"][-1], config, (), left_out or {})


def said(run):
    paper = run.run_dir.name in ("dbsi", "scrn")
    return (deviations if paper else differences_of)(run, RECIPES)


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_run_of_the_recipe_itself_differs_in_nothing(baseline):
    found = said(entry(baseline))
    assert found == (["SCRN's weights from None"] if baseline == "scrn" else [])


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [other(item) for item in value] if value else ["other"]
    if isinstance(value, dict):
        return {key: other(inner) for key, inner in value.items()}
    return "lensblend.other.Other" if "lensblend" in str(value) else "other"


@pytest.mark.parametrize("baseline", [name for name in BASELINES if name not in ("scrn", "vidar")])
def test_every_key_that_decides_a_result_is_said_where_it_differs(baseline):
    plain = flat(recipe(baseline))
    keys = [key for key in plain if not is_free(key) and not any(f"{key}.".startswith(f"{n}.") for n in OF_NO_MATTER)]
    keys = [key for key in keys if not key.endswith((".weights", "model._target_")) and key != "schedule.run"]
    keys = [key for key in keys if key not in ("model.bank.family", "model.bank.sizes", "model.backbone._target_")]
    keys = [key for key in keys if key != "model.linear_light"]  # another row, or none
    assert len(keys) > 20
    silent = [key for key in keys if not said(entry(baseline, **{key: other(plain[key])}))]
    assert silent == []


@pytest.mark.parametrize(
    ("baseline", "changes", "words"),
    [
        ("dbsi", {"schedule.phases.phase1.max_epochs": 1}, "phase1: 1 epoch, not 40 epochs"),
        ("dbsi", {"schedule.phases.phase3.image_size": [32, 48]}, "phase3: 32×48 px, not 768×1024 px"),
        ("dbsi", {"loader.flips": "none"}, "flips none, not expand"),
        ("dbsi", {"loader.limit_train": 4}, "the first 4 training pairs, not all"),
        ("dbsi", {"trainer.precision": "bf16-mixed"}, "precision bf16-mixed, not 32-true"),
        ("dbsi", {"trainer.gradient_clip_val": 1.0}, "trainer.gradient_clip_val 1"),
        ("dbsi", {"trainer.devices": 4}, "trainer.devices 4, not 1"),
        ("dbsi", {"data.train_list": "mine.csv"}, "an own train list"),
        ("dbsi", {"data.exclude": ["7"]}, "with pairs excluded"),
        ("dbsi", {"schedule.run": ["phase3"]}, "phase2 was not trained before"),
        ("dbsi", {"ema": 0.999}, "ema 0.999, not none"),
        ("dbsi", {"callbacks.average": {"_target_": "x.WeightAveraging"}}, "with WeightAveraging"),
        ("dbsi", {"model.bank.match": "variance"}, "model.bank.match variance, not size"),
        ("scrn", {"saliency.norm": "none"}, "saliency.norm none, not minmax"),
        ("scrn", {"schedule.phases.phase3.image_size": [96, 128]}, "96×128 px, not 768×1024 px"),
        ("islab_zju", {"schedule.phases.phase1.crop": None}, "no crops, not crops of 128×128"),
        ("islab_zju", {"schedule.phases.phase1.lr_every": None}, "no drop of the rate, not one every 10 epochs"),
        ("islab_zju", {"loader.flips": "random"}, "flips random, not horizontal"),
        ("bazinga", {"saliency": TRUTH}, "saliency from Truth, not Basnet"),
        ("bazinga", {"saliency.norm": "none"}, "saliency.norm none, not minmax"),
        ("slyym", {"focus": TRUTH}, "focus from Truth, not FromPair"),
        ("slyym", {"module.feature_weight": 0.0}, "module.feature_weight 0, not 10"),
        ("slyym", {"module": {"_target_": "lensblend.training.restoration.Restoration"}},
         "module Restoration, not Adversarial"),
        ("aps_vision", {"schedule.phases.phase1.optimizer": {"_target_": "torch.optim.Adam"}},
         "Adam, not Adam (betas [0.5, 0.999], weight_decay 5e-05)"),
        ("kaist_viclab", {"init_from": "other.ckpt"}, "starts from other.ckpt"),
        ("kaist_viclab", {"init_from": {"path": "a.ckpt", "strict": False}}, "starts from a part of a.ckpt"),
        ("vidar", {"model.members.0.width": 8}, "model.members.0.width 8, not 32"),
        ("ipcv_iitm", {"model.weights": None}, "no ImageNet weights to start from"),
    ],
)  # fmt: skip
def test_a_difference_is_named_in_words(baseline, changes, words):
    assert words in said(entry(baseline, **changes))


def test_a_loss_of_one_epoch_in_a_corner_is_not_the_proposed_one_without_a_remark():
    """A debug run on EBB! is in the paper's row, with all that it lacks."""
    run = entry("dbsi")
    mse = {"mse": {"weight": 1.0, "compares": "bokeh", "loss": {"_target_": "lensblend.losses.pixel.Mse"}}}
    every = {"image_size": [32, 48], "batch_size": 2, "max_epochs": 1, "loss": mse}
    run.config["schedule"]["every_phase"] = every
    line = Line("ours", "run", "phase3", 5, {}, None)
    text = paper_table(1, [run], [line], "16 validation images", recipes=RECIPES)
    for words in (
        "phase1: 32×48 px, not 384×512 px", "phase2 and phase3: 32×48 px, not 768×1024 px",
        "phase1: 1 epoch, not 40 epochs", "phase1 and phase2: loss Mse, not L1",
        "phase3: loss Mse, not NegativeSsim", "phase1: batches of 2, not 8",
    ):  # fmt: skip
        assert words in text
    assert "no depth weights" not in text


def test_phases_after_the_one_that_is_meant_do_not_count():
    run = entry("dbsi", "phase1", **{"schedule.phases.phase3.max_epochs": 1, "schedule.run": ["phase1"]})
    assert said(run) == []


def test_terms_whose_weights_were_missing_are_said():
    run = entry("slyym", left_out={"vgg": "VGG's weights are not on this machine; get them."})
    assert said(run) == ["the loss term vgg was left out"]


def test_runs_of_earlier_versions_still_have_their_line():
    """Keys that came later are not theirs, and a schedule that is not valid today is compared as it stands."""
    run = entry("dbsi")
    del run.config["loader"], run.config["focus"], run.config["callbacks"]
    for phase in run.config["schedule"]["phases"].values():
        for key in ("crop", "trainable", "lr_every", "validate_every", "monitor", "lr_path"):
            phase.pop(key)
    run.config["schedule"]["phases"]["phase3"]["monitor"] = "val/ssim"
    assert said(run) == []
    run.config["schedule"]["phases"]["phase1"]["later"] = 5
    run.config["schedule"]["phases"]["phase1"]["max_epochs"] = 3
    assert said(run) == ["phase1: 3 epochs, not 40 epochs"]
    bare = Entry(Path("old"), "phase3", {"model": run.config["model"], "data": EBB})
    assert deviations(bare, RECIPES) == ["no depth weights to start from"]
    assert TABLES[1][1][1].name in paper_table(
        1, [bare], [Line("a", "b", "c", 1, {}, None)], "3 validation images", recipes=RECIPES
    )
