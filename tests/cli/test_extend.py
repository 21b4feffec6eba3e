"""A phase that is made longer goes on from where it was, as it would have been had it been so long from the start."""

import json

import pytest
import torch
import yaml

from lensblend.training.loggers.metrics_csv import read_rows

SMALL = [
    "debug=smoke",
    "experiment=demo",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "logger=csv",
    "callbacks.panels=null",
    "schedule.every_phase.max_epochs=null",
    "schedule.run=[phase1]",
    "schedule.phases.phase1.max_epochs=2",
]
CONSTANT = "schedule.every_phase.lr_path=constant"
CONSENT = "resume_overrides=[schedule.phases.phase2]"
PHASE = "schedule.phases.phase1"


@pytest.fixture
def train(in_process, one_thread, tmp_path):
    def run(name, *arguments, code=0):
        where = [] if any(str(a).startswith("resume=") for a in arguments) else [f"run_dir={tmp_path / name}"]
        done = in_process("train", *arguments, *where)
        assert done.code == code, done.out + done.err
        return tmp_path / name if code == 0 else done.err

    return run


def weights(run, name="last.ckpt", phase="phase1"):
    return torch.load(run / phase / name, weights_only=True)["state_dict"]


def equal(run, other):
    ours, theirs = weights(run), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def rows(run):
    return [
        {key: value for key, value in row.items() if not key.startswith("speed")}
        for row in read_rows(run / "metrics.csv")
    ]


def rates(run):
    return [float(row["lr"]) for row in read_rows(run / "metrics.csv") if "lr" in row]


def status(run):
    return json.loads((run / "status.json").read_text())


def test_two_and_two_epochs_are_four(train, tmp_path):
    whole = train("whole", *SMALL, CONSTANT, f"{PHASE}.max_epochs=4")
    run = train("run", *SMALL, CONSTANT)
    assert status(run)["state"] == "done"
    best = status(run)["phases"]["phase1"]["best"]
    train("run", f"resume={run}", f"{PHASE}.max_epochs=4")
    assert equal(run, whole)
    assert rows(run) == rows(whole)
    phase = status(run)["phases"]["phase1"]
    assert (phase["state"], phase["epochs"], phase["step"]) == ("done", 4, 8)
    assert phase["best"]["val/psnr"] >= best["val/psnr"]
    (told,) = phase["extended"]
    note = {"max_epochs": 2, "max_steps": None, "epoch": 2, "batch": 0, "batches": 2, "step": 4, "extend": "stretch"}
    assert told.items() >= note.items()
    schedule = yaml.safe_load((run / "config.yaml").read_text())["schedule"]
    assert schedule["extended"] == {"phase1": [note]}
    assert schedule["phases"]["phase1"]["max_epochs"] == 4
    # Neither the same command again nor the plain one makes it longer once more.
    before = (run / "config.yaml").read_text()
    train("run", f"resume={run}", f"{PHASE}.max_epochs=4")
    train("run", f"resume={run}")
    train("run", *SMALL, CONSTANT, f"{PHASE}.max_epochs=4")
    assert (run / "config.yaml").read_text() == before
    said = train("run", f"resume={run}", f"{PHASE}.max_epochs=3", code=2)
    assert "phase1, the last one, can be made longer" in said


def test_steps_end_a_phase_within_an_epoch_and_it_goes_on_there(train):
    whole = train("whole", *SMALL, CONSTANT, f"{PHASE}.max_epochs=null", f"{PHASE}.max_steps=7")
    run = train("run", *SMALL, CONSTANT, f"{PHASE}.max_epochs=null", f"{PHASE}.max_steps=3")
    assert status(run)["phases"]["phase1"]["step"] == 3
    assert "val/psnr" in status(run)["phases"]["phase1"]["best"]
    train("run", f"resume={run}", f"{PHASE}.max_steps=7")
    assert equal(run, whole)
    assert status(run)["phases"]["phase1"]["step"] == status(whole)["phases"]["phase1"]["step"] == 7
    losses = [[row.get("train/loss") for row in read_rows(folder / "metrics.csv")] for folder in (run, whole)]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["stretch", "hold"])
def test_the_rate_is_stretched_or_held(train, rule):
    run = train("run", *SMALL, f"{PHASE}.lr=1e-2", f"{PHASE}.lr_final=1e-3", "schedule.every_phase.lr_path=linear")
    assert rates(run) == pytest.approx([1e-2, 7e-3, 4e-3, 1e-3])
    train("run", f"resume={run}", f"{PHASE}.max_epochs=4", f"schedule.extend={rule}")
    along = [1e-2 - 9e-3 * step / 7 for step in range(4, 8)]
    assert rates(run)[4:] == pytest.approx([1e-3] * 4 if rule == "hold" else along)
    train("run", f"resume={run}", f"{PHASE}.max_epochs=5")
    further = [1e-2 - 9e-3 * step / 9 for step in (8, 9)]
    assert rates(run)[8:] == pytest.approx([1e-3] * 2 if rule == "hold" else further)


@pytest.mark.slow
def test_only_the_last_phase_that_has_begun_is_made_longer_and_a_later_one_can_be_added(train):
    run = train("run", *SMALL)
    train("run", f"resume={run}", "schedule.run=[phase1,phase2]", "schedule.phases.phase2.max_epochs=2", CONSENT)
    assert list(status(run)["phases"]) == ["phase1", "phase2"]
    assert status(run)["phases"]["phase2"]["parent"]["path"] == str(run / "phase1" / "best.ckpt")
    before = (run / "config.yaml").read_text(), (run / "status.json").read_text()
    said = train("run", f"resume={run}", f"{PHASE}.max_epochs=4", code=2)
    assert "none is trained again; phase2, the last one, can be made longer" in said
    for request, why in (
        ("schedule.extend=hold", "`schedule.extend` stays: every phase is finished"),
        ("schedule.phases.phase2.max_epochs=1", "none is trained again; phase2"),
        ("+schedule.extended.phase1=[{step:1}]", "`schedule.extended` is a run's own record"),
    ):
        assert why in train("run", f"resume={run}", request, code=2), request
    assert before[0] == (run / "config.yaml").read_text()
    train("run", f"resume={run}", "schedule.phases.phase2.max_epochs=3")
    assert status(run)["phases"]["phase2"]["epochs"] == 3


@pytest.mark.slow
def test_a_scheduler_of_pytorchs_follows_epochs_and_goes_on_bitwise(train):
    scheduler = "schedule.phases.phase1.scheduler={_target_:torch.optim.lr_scheduler.StepLR,step_size:1,gamma:0.5}"
    whole = train("whole", *SMALL, scheduler, f"{PHASE}.max_epochs=4", f"{PHASE}.lr=1e-2")
    assert rates(whole) == pytest.approx([1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3, 2.5e-3, 1.25e-3, 1.25e-3])
    run = train("run", *SMALL, scheduler, f"{PHASE}.lr=1e-2")
    train("run", f"resume={run}", f"{PHASE}.max_epochs=4")
    assert equal(run, whole)
    assert rates(run) == rates(whole)


@pytest.mark.slow
def test_a_scheduler_that_looks_at_scores_goes_on_bitwise(train):
    node = "{_target_:torch.optim.lr_scheduler.ReduceLROnPlateau,patience:0,factor:0.5,threshold:100.0}"
    whole = train("whole", *SMALL, f"{PHASE}.scheduler={node}", f"{PHASE}.max_epochs=4")
    found = rates(whole)
    # No score is a hundred times the best: the first sets it, each further one halves the rate.
    assert [rate / found[0] for rate in found] == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25])
    run = train("run", *SMALL, f"{PHASE}.scheduler={node}")
    train("run", f"resume={run}", f"{PHASE}.max_epochs=4")
    assert rates(run) == found
    assert equal(run, whole)
