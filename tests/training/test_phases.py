from pathlib import Path

import pytest
import yaml

from lensblend.errors import RequestError
from lensblend.training.phases import Phase, Schedule, monitored

CHECKOUT = Path(__file__).resolve().parents[2]
PHASE = {"image_size": [384, 512], "batch_size": 8, "max_epochs": 40, "lr": 1e-3, "lr_final": 1e-4, "loss": {"l1": {}}}


def schedule(**changes):
    return {"run": ["coarse", "fine"], "phases": {"coarse": PHASE, "fine": {**PHASE, "batch_size": 2}}, **changes}


def test_every_phase_replaces_values_of_all_phases():
    built = Schedule.from_config(schedule(every_phase={"batch_size": 3, "image_size": [32, 48]}))
    assert [p.batch_size for p in built.phases.values()] == [3, 3]
    assert [p.image_size for p in built.phases.values()] == [[32, 48], [32, 48]]


def test_phases_keep_their_own_values_otherwise():
    built = Schedule.from_config(schedule())
    assert [built.phases[name].batch_size for name in built.run] == [8, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": ["corse"]}, r"'corse'; did you mean `coarse`"),
        ({"run": []}, "lists each phase to train once"),
        ({"run": ["fine", "fine"]}, "lists each phase to train once"),
        (
            {
                "total_epochs": 9,
                "every_phase": {"max_steps": 5},
                "phases": {n: {**PHASE, "max_epochs": None, "max_steps": 9} for n in ("coarse", "fine")},
            },
            "total_epochs` shares out epochs, but coarse has `max_steps` alone",
        ),
        ({"every_phase": {"batchsize": 3}}, r"every_phase.batchsize.*did you mean `batch_size`"),
        ({"every_phase": {"image_size": [384, 512, 3]}}, r"coarse.*\(height, width\).*\[384, 512, 3\]"),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_remedy(changes, message):
    with pytest.raises(RequestError, match=message):
        Schedule.from_config(schedule(**changes))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("max_epochs", 0),
        ("lr", 0.0),
        ("lr_final", -1.0),
        ("lr_path", "cosin"),
        ("monitor", "psnr"),
        ("monitor", "train/loss"),
        ("monitor", "val/"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(key, value):
    with pytest.raises(RequestError, match=f"`{key}`"):
        Phase(**{**PHASE, key: value})


# What conf/debug/smoke.yaml replaces in every phase.
SMOKE = yaml.safe_load((CHECKOUT / "conf" / "debug" / "smoke.yaml").read_text())["schedule"]["every_phase"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", -5),
        ("image_size", [1, 2]),
        ("image_size", [384]),
        ("lr_path", "cosin"),
        ("lr_every", 3),
        ("batch_size", 0),
        ("validate_every", 0),
        ("crop", [1000, 1000]),
        ("crop", [31, 64]),
        ("lr", -1.0),
        ("lr_final", 0.0),
        ("monitor", "psnr"),
        ("trainable", "x"),
        ("loss", {"l1": 5}),
    ],
)
def test_what_is_replaced_is_checked_as_if_it_were_not(key, value):
    phases = {"coarse": {**PHASE, key: value}, "fine": PHASE}
    said = []
    for every in ({}, SMOKE):
        with pytest.raises(RequestError, match=r"schedule\.phases\.coarse") as refused:
            Schedule.from_config(schedule(phases=phases, every_phase=every))
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_a_phase_monitors_a_metric_that_is_there():
    phase = Phase(**{**PHASE, "monitor": "val/own"})
    assert monitored(phase, {"psnr": 1, "own": 2}) == 2
    with pytest.raises(
        RequestError, match=r"'val/own', but .* did you mean `val/owns`\? There are: val/psnr, val/owns"
    ):
        monitored(phase, {"psnr": 1, "owns": 2})
    with pytest.raises(RequestError, match=r"'val/own', but no metric is called so\. There are: none\."):
        monitored(phase, {})
    with pytest.raises(RequestError, match="`monitor` is val/own, but `own` is left out: no weights"):
        monitored(phase, {"psnr": 1}, {"own": "no weights"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_path": "step"}, "`lr_path: step` needs `lr_every`.*give one below `max_epochs` = 40"),
        ({"lr_every": 10}, "`lr_every` belongs to `lr_path: step`, but got 10 with 'cosine'; drop it"),
        ({"lr_path": "step", "lr_every": 0}, "`lr_every` is at least 1 and below `max_epochs` = 40, but got 0"),
        ({"lr_path": "step", "lr_every": 40}, "below `max_epochs` = 40, but got 40; with no drop, use"),
    ],
)
def test_epochs_between_drops_fit_their_path_and_phase(changes, message):
    with pytest.raises(RequestError, match=message):
        Phase(**{**PHASE, **changes})
    assert Phase(**{**PHASE, "lr_path": "step", "lr_every": 39}).lr_every == 39


def test_a_path_for_every_phase_takes_the_place_of_drops():
    phases = {"coarse": {**PHASE, "lr_path": "step", "lr_every": 20}, "fine": PHASE}
    replaced = Schedule.from_config(schedule(phases=phases, every_phase={"lr_path": "linear"})).phases.values()
    assert [(p.lr_path, p.lr_every) for p in replaced] == [("linear", None), ("linear", None)]
    dropping = Schedule.from_config(schedule(every_phase={"lr_path": "step", "lr_every": 5})).phases.values()
    assert [(p.lr_path, p.lr_every) for p in dropping] == [("step", 5), ("step", 5)]


@pytest.mark.parametrize("crop", [[385, 512], [64], [0, 64]])
def test_crops_beyond_the_image_are_refused(crop):
    with pytest.raises(RequestError, match=r"`crop`"):
        Phase(**PHASE, crop=crop)


def test_an_image_size_for_every_phase_replaces_crops():
    phases = {"coarse": {**PHASE, "crop": [128, 128]}}
    built = Schedule.from_config({"run": ["coarse"], "phases": phases, "every_phase": {"image_size": [32, 48]}})
    assert built.phases["coarse"].crop is None
    both = {"image_size": [64, 64], "crop": [32, 32]}
    built = Schedule.from_config({"run": ["coarse"], "phases": phases, "every_phase": both})
    assert built.phases["coarse"].crop == [32, 32]
    assert Schedule.from_config({"run": ["coarse"], "phases": phases}).phases["coarse"].crop == [128, 128]


@pytest.mark.parametrize(
    ("own", "total", "shares"),
    [
        ([40, 20, 10], 70, [40, 20, 10]),
        ([40, 20, 10], 7, [4, 2, 1]),
        ([40, 20, 10], 12, [7, 3, 2]),  # 6.9, 3.4, 1.7
        ([60] * 5, 12, None),  # 2.4 each: which two get three does not matter
        ([1, 98, 1], 4, [1, 2, 1]),
        ([1, 1, 98], 3, [1, 1, 1]),
        ([350], 12, [12]),
    ],
)
def test_phases_share_a_total_of_epochs_in_their_own_proportion(own, total, shares):
    phases = {f"p{i}": {**PHASE, "max_epochs": epochs} for i, epochs in enumerate(own)}
    built = Schedule.from_config({"run": list(phases), "phases": phases, "total_epochs": total})
    found = [built.phases[name].max_epochs for name in built.run]
    assert sum(found) == total
    assert found == shares if shares else set(found) == {2, 3}


def test_only_phases_that_run_share_the_total():
    built = Schedule.from_config(schedule(run=["fine"], total_epochs=5))
    assert [built.phases[name].max_epochs for name in ("coarse", "fine")] == [40, 5]


@pytest.mark.parametrize(("total", "every"), [(12, 4), (4, 1), (2, 1)])
def test_drops_of_the_learning_rate_move_with_the_epochs(total, every):
    phases = {"only": {**PHASE, "max_epochs": 60, "lr_path": "step", "lr_every": 20}}
    built = Schedule.from_config({"run": ["only"], "phases": phases, "total_epochs": total}).phases["only"]
    assert (built.max_epochs, built.lr_path, built.lr_every) == (total, "step", every)
    one = Schedule.from_config({"run": ["only"], "phases": phases, "total_epochs": 1}).phases["only"]
    assert (one.max_epochs, one.lr_path, one.lr_every) == (1, "constant", None)


def test_a_total_that_leaves_a_phase_without_epochs_is_refused():
    with pytest.raises(RequestError, match=r"`schedule.total_epochs` gives each of .* an epoch at least, but got 1"):
        Schedule.from_config(schedule(total_epochs=1))


NAMES = [
    "",
    ".",
    "..",
    "../evil",
    "/abs/evil",
    "a/b",
    "a\\b",
    ".hidden",
    "-rf",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "x" * 300,
    "ü" * 60,
]


@pytest.mark.parametrize("name", [*NAMES, "compare", "panels", "wandb"])
def test_a_phases_name_is_that_of_a_folder_of_its_own(name):
    with pytest.raises(RequestError, match=r"A phase is called"):
        Schedule.from_config({"run": [name], "phases": {name: PHASE}})
    with pytest.raises(RequestError, match=r"A phase is called"):
        Schedule.from_config(schedule(phases={"coarse": PHASE, "fine": PHASE, name: PHASE}))


@pytest.mark.parametrize("name", ["phase1", "fine L1", "Größe", "街", "a.b", "warm_up-2"])
def test_other_names_are_free(name):
    assert Schedule.from_config({"run": [name], "phases": {name: PHASE}}).run == [name]


@pytest.mark.parametrize(
    "change",
    [
        {"lr": "x"},
        {"max_epochs": None},
        {"optimizer": "adam"},
        {"optimizer": [1]},
        {"trainable": [5]},
        {"trainable": "x"},
        {"loss": "l1"},
        {"loss": {"l1": 5}},
        {"image_size": 5},
        {"zz": 1},
        {"monitor": []},
    ],
)
def test_a_value_of_another_type_is_refused_with_the_phase(change):
    with pytest.raises(RequestError, match=r"schedule\.phases\.coarse"):
        Schedule.from_config(schedule(phases={"coarse": {**PHASE, **change}, "fine": PHASE}))
