"""A change of a training that goes on is carried out, or refused with the key, both values, why and what to do."""

import copy

import pytest

from lensblend.errors import RequestError
from lensblend.runs.configuration import FREE_KEYS, GROUPS, flat
from lensblend.training.changes import check_changes, lengthened

PHASE = {
    "image_size": [32, 48],
    "batch_size": 2,
    "max_epochs": 4,
    "lr": 1e-3,
    "lr_final": 1e-4,
    "lr_path": "cosine",
    "lr_every": None,
    "crop": None,
    "trainable": None,
    "monitor": "val/psnr",
    "validate_every": 1,
    "loss": {
        "l1": {"weight": 1.0, "compares": "bokeh", "loss": {"_target_": "lensblend.losses.pixel.L1"}},
        "saliency": {"weight": 1.0, "compares": "saliency", "loss": {"_target_": "lensblend.losses.pixel.L1"}},
    },
    "optimizer": {"_target_": "torch.optim.Adam", "betas": [0.9, 0.999], "amsgrad": False},
}
CONFIG = {
    "seed": 0,
    "name": None,
    "init_from": None,
    "ema": 0.99,
    "swa": None,
    "kernels": {"sizes": [25]},
    "backbone": {"width": 1},
    "model": {
        "_target_": "lensblend.networks.depth_blend.DepthBlend",
        "bank": {"sizes": [25]},
        "backbone": {"weights": None},
    },
    "saliency": {"norm": "minmax"},
    "disparity": {"weights": "a"},
    "focus": {"weights": "a"},
    "metrics": {},
    "module": {"_target_": "lensblend.training.restoration.Restoration", "channels_last": True},
    "trainer": {"precision": "32-true"},
    "loader": {"flips": "random", "num_workers": 0},
    "schedule": {
        "run": ["first", "second"],
        "phases": {name: copy.deepcopy(PHASE) for name in ("first", "second", "spare")},
        "every_phase": {"batch_size": None},
        "total_epochs": None,
    },
}
STANDING = {"first": "finished", "second": "begun"}
SECOND = "schedule.phases.second"


def check(path, changes, standing=STANDING, allowed=("schedule", *CONFIG), config=CONFIG):
    requested = copy.deepcopy(config)
    for key, value in changes.items():
        *places, last = key.split(".")
        node = requested
        for place in places:
            node = node.setdefault(place, {})
        node[last] = value
    return check_changes(config, requested, path, allowed, standing)


CARRIED_OUT = {
    "seed": 1,
    "ema": 0.9,
    "trainer.precision": "bf16-mixed",
    "loader.flips": "none",
    "module.channels_last": False,
    "model.bank.sizes": [45],
    "saliency.norm": "none",
    f"{SECOND}.lr": 1e-2,
    f"{SECOND}.lr_final": 1e-5,
    f"{SECOND}.lr_path": "linear",
    f"{SECOND}.batch_size": 1,
    f"{SECOND}.image_size": [64, 64],
    f"{SECOND}.crop": [32, 32],
    f"{SECOND}.validate_every": 2,
    f"{SECOND}.loss.l1.weight": 2.0,
    f"{SECOND}.optimizer.betas": [0.5, 0.9],
    f"{SECOND}.optimizer.weight_decay": 0.1,
}
REFUSED = {
    "name": ("x", "a run keeps the name"),
    "init_from": ("x.ckpt", "it is where the first phase starts"),
    "swa": (0.5, "the phase that has begun keeps what is averaged of its weights"),
    "kernels.sizes": ([45], "`kernels` only fills in `model`"),
    "backbone.width": (2, "`backbone` only fills in `model`"),
    "disparity.weights": ("b", "nothing asks for disparity"),
    "focus.weights": ("b", "nothing asks for focus"),
    "model.backbone.weights": ("x.pth", "the weights come from the run's own checkpoints"),
    "module._target_": (
        "lensblend.training.adversarial.Adversarial",
        "the phase that has begun keeps its kind of module",
    ),
    "schedule.phases.first.lr": (1e-2, "first is finished, and is not trained again"),
    "schedule.phases.first.max_epochs": (24, "first is finished"),
    "schedule.phases.spare.lr": (1e-2, "spare is not in schedule.run"),
    "schedule.every_phase.lr": (1e-2, "first is finished"),
    "schedule.total_epochs": (24, "first is finished"),
    f"{SECOND}.max_epochs": (2, "second has begun and is not made shorter"),
    "schedule.extend": ("hold", "no phase is made longer"),
    f"{SECOND}.trainable": (["x"], "second has begun and keeps the parameters"),
    f"{SECOND}.monitor": ("val/ssim", "second has begun and keeps the score"),
    f"{SECOND}.optimizer._target_": ("torch.optim.SGD", "second has begun and keeps its optimizer"),
    f"{SECOND}.optimizer.amsgrad": (True, "second has begun and keeps its optimizer"),
    f"{SECOND}.optimizer.momentum": (0.9, "second has begun and keeps its optimizer"),
}


@pytest.mark.parametrize("key", CARRIED_OUT)
def test_what_acts_from_now_on_may_change_by_consent(tmp_path, key):
    (line,) = check(tmp_path, {key: CARRIED_OUT[key]})
    assert line.startswith(f"{key}: ")
    with pytest.raises(RequestError, match=rf"{key}: .*or allow the change: 'resume_overrides=\[{key}\]'"):
        check(tmp_path, {key: CARRIED_OUT[key]}, allowed=["name"])


@pytest.mark.parametrize("key", REFUSED)
def test_what_would_not_act_is_refused_whatever_is_allowed(tmp_path, key):
    value, why = REFUSED[key]
    with pytest.raises(RequestError) as refused:
        check(tmp_path, {key: value})
    for part in (f"{key}: ", f", {value!r} now", f"`{key}` stays: {why}", f"`init_from={tmp_path}`"):
        assert part in str(refused.value)
    assert "resume_overrides" not in str(refused.value)


@pytest.mark.parametrize("key", [*CARRIED_OUT, *(key for key in REFUSED if "total" not in key)])
def test_a_run_whose_phases_are_all_finished_changes_nothing(tmp_path, key):
    value = CARRIED_OUT[key] if key in CARRIED_OUT else REFUSED[key][0]
    with pytest.raises(RequestError, match=f"`{key}` stays: every phase is finished"):
        check(tmp_path, {key: value}, dict.fromkeys(["first", "second"], "finished"))


def test_a_phase_that_has_not_begun_takes_any_change(tmp_path):
    change = {
        f"{SECOND}.max_epochs": 24,
        f"{SECOND}.monitor": "val/ssim",
        f"{SECOND}.optimizer._target_": "torch.optim.SGD",
    }
    assert len(check(tmp_path, change, {"first": "begun"})) == 3
    assert len(check(tmp_path, {"ema": None, "swa": 0.5}, {"first": "finished"})) == 2


def test_a_phase_that_has_begun_is_averaged_to_its_end(tmp_path):
    with pytest.raises(RequestError, match=r"`ema` stays: the phase that has begun keeps what is averaged"):
        check(tmp_path, {"ema": None})


def test_what_another_key_replaces_would_not_act(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["schedule"]["every_phase"] = {"lr": 1e-2}
    with pytest.raises(RequestError, match=r"stays: schedule.every_phase or schedule.total_epochs decides `lr`"):
        check(tmp_path, {f"{SECOND}.lr": 1e-5}, config=config)


def test_what_is_composed_anew_may_change_what_it_fills_in(tmp_path):
    assert len(check(tmp_path, {"kernels.sizes": [45], "model.bank.sizes": [45]})) == 2


@pytest.mark.parametrize("key", sorted(set(flat(CONFIG)) | {f"{group}.x" for group in GROUPS}))
def test_every_key_is_free_carried_out_or_refused(tmp_path, key):
    """Nothing differs without a line that says so, or a refusal that names it."""
    if any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS):
        assert check(tmp_path, {key: ["second"]}) == []
        return
    names = {k.rpartition(".")[2]: v[0] if k in REFUSED else v for k, v in {**CARRIED_OUT, **REFUSED}.items()}
    value = {**names, "lr_every": 2}.get(key.rpartition(".")[2], "anew")
    try:
        said = [line.partition(":")[0] for line in check(tmp_path, {key: value})]
    except RequestError as refused:
        said = [key] if f"{key}: " in str(refused) or f"`{key.rpartition('.')[2]}`" in str(refused) else []
    assert said == [key]


@pytest.mark.parametrize(
    ("allowed", "guess"),
    [("schedule.phases.first.lrr", "did you mean `schedule.phases.first.lr`"), ("nothing", "name keys, or what")],
)
def test_what_is_allowed_to_change_is_a_key(tmp_path, allowed, guess):
    with pytest.raises(RequestError, match=f"allows `{allowed}` to change, which is not a key of this run; {guess}"):
        check_changes(CONFIG, CONFIG, tmp_path, ["seed", allowed], {})
    check_changes(CONFIG, CONFIG, tmp_path, ["seed", "schedule.phases.first", "kernels"], {})


@pytest.mark.parametrize(
    ("change", "standing", "longer"),
    [
        ({f"{SECOND}.max_epochs": 5}, STANDING, ["second"]),
        ({f"{SECOND}.max_epochs": 5}, dict.fromkeys(STANDING, "finished"), ["second"]),
        ({f"{SECOND}.max_epochs": 5, "schedule.extend": "hold"}, STANDING, ["second"]),
        ({"schedule.phases.first.max_epochs": 5}, {"first": "finished"}, ["first"]),
        ({"schedule.phases.first.max_epochs": 5}, STANDING, []),
        ({f"{SECOND}.max_steps": 5}, STANDING, []),
        ({f"{SECOND}.max_epochs": 3}, STANDING, []),
        ({f"{SECOND}.lr": 1e-2}, STANDING, []),
        ({f"{SECOND}.max_epochs": 5}, {}, []),
    ],
)
def test_the_last_phase_that_has_begun_may_be_made_longer_without_consent(tmp_path, change, standing, longer):
    requested = copy.deepcopy(CONFIG)
    for key, value in change.items():
        *places, last = key.split(".")
        node = requested
        for place in places:
            node = node[place]
        node[last] = value
    assert lengthened(CONFIG, requested, standing) == longer
    if longer:
        assert len(check_changes(CONFIG, requested, tmp_path, ["name"], standing)) == len(change)


def test_a_scheduler_keeps_its_state_and_what_it_made_of_the_rate(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["schedule"]["phases"]["second"]["scheduler"] = {"_target_": "torch.optim.lr_scheduler.ConstantLR"}
    for key, value in {"lr": 1e-2, "lr_path": "linear", "scheduler": None}.items():
        with pytest.raises(RequestError, match="second has begun and keeps its scheduler"):
            check(tmp_path, {f"{SECOND}.{key}": value}, config=config)
    with pytest.raises(RequestError, match="second has begun and keeps the groups"):
        check(tmp_path, {f"{SECOND}.groups": {"x": {"names": ["x"], "lr_factor": 0.1}}})
