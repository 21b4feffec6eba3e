"""W&B offline runs are read back from the files that W&B wrote, by two readers."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning.utilities import rank_zero_only

from hostile_names import NAMES
from lensblend.errors import RequestError, TrainingError
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.runs.checkpoints import load_network
from lensblend.runs.configuration import flat
from lensblend.training.loggers.phase_logger import check_loggers, panel_key
from lensblend.training.loggers.wandb_run import PhaseWandbLogger
from lensblend.training.phase_run import Identity, PhaseRun
from lensblend.training.restoration import Restoration
from reliability.offline_runs import read_runs

PHASES = ("phase1", "phase2", "phase3")
SMALL = ["debug=smoke", "experiment=demo", "+backbone.width_divisor=16", "metrics.lpips=null", "logger=wandb"]
KEY = "0123456789abcdef0123456789abcdef01234567"


def finished(folder, count):
    """Read the runs that this process has finished, as soon as W&B's own process has written their ends."""
    end = time.monotonic() + 60
    while len(runs := [run for run in read_runs(folder) if run.exit_code is not None]) < count:
        assert time.monotonic() < end, f"{folder} holds {len(runs)} finished runs"
        time.sleep(0.05)
    return runs


@pytest.fixture(scope="module")
def runs(trained):
    """What each run's file says, by job type."""
    found = {run.job_type: run for run in read_runs(trained)}
    assert len(found) == len(list(trained.glob("wandb/offline-run-*/*.wandb"))) == len(PHASES)
    return found


def test_each_phase_is_one_run_of_the_trainings_group(runs, trained):
    assert sorted(runs) == list(PHASES)
    chosen = "gaussian_25_45_75 · hourglass · demo · backbone.width_divisor=8"
    assert {r.group for r in runs.values()} == {f"{chosen}: {trained.parent.name}/{trained.name}"}
    assert len({r.id for r in runs.values()}) == 3
    for phase, run in runs.items():
        assert run.id == (trained / phase / "wandb_id").read_text().strip()
        assert run.name == f"{chosen} / {phase}"
        assert run.exit_code == 0


def test_tags_and_choices_name_what_was_combined(runs):
    for run in runs.values():
        assert {"gaussian_25_45_75", "hourglass", "dbsi_three_phase", "embedded", "demo"} <= set(run.tags)
        chosen = {"kernels": "gaussian_25_45_75", "backbone": "hourglass", "schedule": "dbsi_three_phase"}
        assert chosen.items() <= run.config["choices"].items()
        assert not any("." in group for group in run.config["choices"])
        assert "sweep" not in run.config


def test_the_whole_configuration_is_logged(runs, trained):
    config = flat(yaml.safe_load((trained / "config.yaml").read_text()))
    commits = read_checkpoint(trained / "phase1" / "best.ckpt")["lensblend"]["commits"]
    for run in runs.values():
        assert config.items() <= flat(run.config).items()
        assert run.config.get("commits", {}) == commits


def test_every_value_of_metrics_csv_is_in_the_history(runs, trained):
    with (trained / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for phase, run in runs.items():
        for key in ("lr", "train/loss", "val/psnr", "val/ssim", "val/ssim_wang"):
            expected = [(int(r["step"]), float(r[key])) for r in rows if r["phase"] == phase and r[key]]
            assert expected
            assert run.series(key) == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_scores_are_drawn_over_steps_and_summarised_by_their_best(runs):
    for run in runs.values():
        assert run.metrics["val/psnr"] == {"summary": ["max", "last"], "hidden": False, "step": "trainer/global_step"}
        assert run.metrics["val/lpips"]["summary"] == ["min", "last"]
        assert run.metrics["*"]["step"] == "trainer/global_step"
        assert run.summary["val/psnr"]["max"] == max(value for _, value in run.series("val/psnr"))


def test_a_phase_ends_with_the_numbers_that_it_is_compared_by(runs, trained):
    status = json.loads((trained / "status.json").read_text())["phases"]
    for phase, run in runs.items():
        scores = {name.removeprefix("val/"): value for name, value in status[phase]["scores"].items()}
        assert {"psnr", "ssim", "ssim_wang"} <= scores.keys()
        assert scores.items() <= run.summary.items()
        assert run.summary["parameters"] == sum(p.numel() for p in load_network(trained).network.parameters())
        assert 0 < run.summary["latency_s"] < 60
        assert run.summary["device"] == "cpu"
        # Once: one value is drawn as a bar a run.
        assert len(run.series("psnr")) == len(run.series("latency_s")) == 1


def test_a_pair_has_the_same_key_in_every_phase_and_its_picture_is_there(runs):
    keys = []
    for run in runs.values():
        panels = {k: v for row in run.history for k, v in row.items() if k.startswith("panels/")}
        for key, panel in panels.items():
            assert key == f"panels/{panel['caption']}"
            assert hashlib.sha256((run.files / panel["path"]).read_bytes()).hexdigest() == panel["sha256"]
            # Not before training: with the validation after the second of two steps.
            assert [step for step, _ in run.series(key)] == [step for step, _ in run.series("val/psnr")] == [1]
        keys.append(set(panels))
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == 2


def test_a_final_table_holds_pictures_and_scores_by_id(runs, trained, picture):
    tables = []
    for run in runs.values():
        assert [step for step, _ in run.series("final")] == [1]
        first, second = table = run.table("final")
        columns = ["id", "photo", "target", "bokeh", "error"]
        weights = ["weight photo", "weight gaussian 25", "weight gaussian 45", "weight gaussian 75"]
        assert list(first) == list(second) == [*columns, *weights, "psnr", "ssim", "ssim_wang"]
        for row in table:
            photo, target, bokeh, error = (picture(row[c]).astype(float) for c in columns[1:])
            assert photo.shape == (32, 48, 3)
            assert np.abs(error - np.clip(np.abs(bokeh - target).mean(-1) * 255 / 64, 0, 255)).max() <= 0.5
            # The weights sum to one, each rounded to a level; the score is that of these pixels.
            assert np.abs(sum(picture(row[c]).astype(float) for c in weights) - 255).max() <= 2
            assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((bokeh - target) ** 2)), abs=1e-6)
            # With the run: `wandb sync` needs them.
            assert row["photo"].is_relative_to(trained / "wandb")
        tables.append([row["id"] for row in table])
    assert tables[0] == tables[1] == tables[2]
    assert len(set(tables[0])) == 2


def test_another_reader_reads_the_same(runs):
    run = runs["phase2"]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run.path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    said = {kind: [r[kind] for r in records if r["type"] == kind] for kind in ("run", "history", "exit")}
    assert (said["run"][0]["run_id"], said["run"][0]["run_group"]) == (run.id, run.group)
    assert flat({**said["run"][0]["config"]["update"], "_wandb": None}) == flat({**run.config, "_wandb": None})
    assert [flat(row["item"]) for row in said["history"]] == [flat(row) for row in run.history]
    assert [end["exit_code"] for end in said["exit"]] == [0]


def test_a_job_of_a_sweep_says_so(in_process, tmp_path):
    run_dir = tmp_path / "sweep" / "3"
    sweep = [f"hydra.run.dir={run_dir}", f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra.job.num=3"]
    # As Hydra leaves it: what all jobs were given does not tell them apart.
    common = [*SMALL, "schedule.run=[phase1]", "kernels=gaussian_75,disk_variance", "seed=0,1"]
    run_dir.mkdir(parents=True)
    (tmp_path / "sweep" / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": common}}}))
    done = in_process("train", *SMALL, "kernels=gaussian_75", "seed=1", "schedule.run=[phase1]", *sweep)
    assert done.code == 0, done.err
    (run,) = finished(run_dir, 1)
    assert (run.config["sweep"], run.config["job"]) == (f"{tmp_path.name}/sweep", 3)
    assert f"sweep {tmp_path.name}/sweep" in run.tags
    assert run.name == "gaussian_75 · hourglass · demo · seed=1 / phase1"
    # Going on with `resume` the groups are not chosen again, and the run remains what it was.
    done = in_process("train", f"resume={run_dir}", "schedule.run=[phase1,phase2]")
    assert done.code == 0, done.err
    first, second = finished(run_dir, 2)
    assert (first.tags, first.group) == (second.tags, second.group)
    assert first.config["choices"] == second.config["choices"]
    assert second.name == f"{first.name.removesuffix('phase1')}phase2"


@pytest.mark.parametrize(("exit_code", "preempted"), [(143, True), (1, False)])
def test_a_run_that_a_signal_stopped_is_closed_as_such_and_found_again(tmp_path, exit_code, preempted):
    for _ in range(2):
        PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "group")).finish(exit_code)
    first, second = finished(tmp_path, 2)
    assert first.id == second.id == (tmp_path / "phase1" / "wandb_id").read_text().strip()
    assert [run.exit_code for run in (first, second)] == [exit_code] * 2
    assert [run.preempting for run in (first, second)] == [preempted] * 2


def test_own_tags_and_those_of_the_environment_are_added_to_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_TAGS", "lab,hourglass")
    phase_run = PhaseRun(tmp_path, "phase1", "group", Identity("x", ["hourglass", "demo"]))
    PhaseWandbLogger(phase_run, tags=["night"], notes="With the new lens.").finish(0)
    (run,) = finished(tmp_path, 1)
    assert sorted(run.tags) == ["demo", "hourglass", "lab", "night"]
    assert run.notes == "With the new lens."


@pytest.mark.parametrize(("asked", "kept"), [("best", ["best"]), ("all", ["best", "last"]), (False, [])])
def test_checkpoints_are_versions_of_an_artifact(tmp_path, asked, kept):
    logger = PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "group"), log_model=asked)
    for name in ("best", "last"):
        (tmp_path / "phase1" / f"{name}.ckpt").write_text(name)
    logger.finish(0)
    (run,) = finished(tmp_path, 1)
    assert len(run.versions) == len(kept)
    for name, kind, aliases, files in run.versions:
        (file,) = files.values()
        held = file.read_text()
        assert held in kept
        assert sorted(aliases) == sorted([held, "latest", "phase1"])  # W&B's own word for the newest
        assert (name, kind, list(files)) == (f"phase1-{run.id}", "model", [f"{held}.ckpt"])
        assert file.is_relative_to(tmp_path / "wandb")  # `wandb sync` needs it


def test_a_checkpoint_that_holds_a_secret_is_not_kept(tmp_path):
    phase_run = PhaseRun(tmp_path, "phase1", "group", config={"data": {"password": "open sesame"}})
    with pytest.raises(
        RequestError, match=r"`logger.wandb.log_model=best` would upload checkpoints, whose configuration"
    ):
        PhaseWandbLogger(phase_run, log_model="best")


@pytest.mark.parametrize("watched", ["gradients", "all"])
def test_gradients_are_watched(tmp_path, watched):
    logger = PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "group"), watch=watched)
    network = torch.nn.Linear(2, 1)
    trained = type("Module", (), {"network": network, "trainer": type("Trainer", (), {"log_every_n_steps": 1})})
    logger.log_graph(trained)
    network(torch.ones(3, 2)).sum().backward()
    logger.log_metrics({"train/loss": 1.0}, 0)
    assert network.weight._backward_hooks
    logger.finish(0)
    assert not network.weight._backward_hooks  # the next phase trains the same network in another run
    (run,) = finished(tmp_path, 1)
    drawn = {key for row in run.history for key in row}
    assert "gradients/weight" in drawn
    assert ("parameters/weight" in drawn) == (watched == "all")


def test_what_cannot_be_kept_or_watched_is_refused_before_anything_is_trained():
    node = {"_target_": "lensblend.training.loggers.wandb_run.PhaseWandbLogger", "_partial_": True}
    for given, said in (
        ({"log_model": "last"}, "`logger.wandb.log_model` is best or all, or false, but got 'last'"),
        ({"log_model": True}, "is best or all, or false, but got True"),
        ({"watch": "weights"}, "`logger.wandb.watch` is gradients or parameters or all, or null, but got 'weights'"),
        ({"tags": ["x" * 65]}, "has 1 to 64 letters, but got 'xxx"),
    ):
        with pytest.raises(RequestError, match=re.escape(said)):
            check_loggers({"wandb": {**node, **given}})
    check_loggers({"wandb": {**node, "log_model": "all", "watch": "all", "tags": ["x" * 64]}, "none": None})


@pytest.mark.parametrize("alert", [True, False])
def test_users_are_told_of_a_phase_that_failed_where_they_want_to_be(in_process, monkeypatch, tmp_path, alert):
    def failing(*_):
        raise TrainingError("phase1, step 0: the loss is nan. Lower the learning rate.")

    monkeypatch.setattr(Restoration, "training_step", failing)
    more = [f"logger.wandb.alert={str(alert).lower()}", "schedule.run=[phase1]", f"run_dir={tmp_path / 'run'}"]
    assert in_process("train", *SMALL, *more).code == 1
    (run,) = finished(tmp_path / "run", 1)
    expected = ("run, phase1 failed", "phase1, step 0: the loss is nan. Lower the learning rate.", "ERROR")
    assert run.alerts == ([expected] if alert else [])
    assert run.exit_code == 1


def test_no_secret_reaches_a_file_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_not-for-others")
    monkeypatch.setattr(sys, "argv", ["lensblend train", "+data.password=open sesame", "seed=1"])
    config = {"data": {"password": "open sesame", "root": f"/sets/{KEY}"}, "name": "hf_not-for-others", "seed": 1}
    identity = Identity("hf_not-for-others", ["hf_not-for-others", "hourglass"], {"data": KEY})
    logger = PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "of hf_not-for-others", identity, config))
    logger.log_metrics({"train/loss": 1.0}, 0)
    logger.finish(0)
    (run,) = finished(tmp_path, 1)
    assert run.config["data"] == {"password": "(redacted)", "root": "/sets/(redacted)"}
    assert (run.config["seed"], run.tags) == (1, ["(redacted)", "hourglass"])
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    for secret in (KEY, "hf_not-for-others", "open sesame"):
        assert not any(secret.encode() in content for content in files)


def test_a_name_that_is_too_long_keeps_its_phase(tmp_path):
    PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "g" * 200, Identity("x" * 200))).finish(0)
    (run,) = finished(tmp_path, 1)
    assert len(run.name) == len(run.group) == 128
    assert run.name.endswith("x… / phase1")


def test_only_the_first_of_several_processes_chooses_the_id(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "group"))
    assert not list(tmp_path.rglob("wandb_id"))


def test_every_name_has_a_key_of_its_own():
    names = [*NAMES.values(), "街", "港", "猫", "a.b", "a b", "a_b", "A_b", "x" * 300, "x" * 301]
    keys = [panel_key(name) for name in dict.fromkeys(names)]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"panels/[\w-]+", key) and len(key.encode()) < 160 for key in keys)
    assert {panel_key("street_01"), panel_key("街")} == {"panels/street_01", "panels/街"}


def test_pictures_of_any_names_arrive(tmp_path):
    logger = PhaseWandbLogger(PhaseRun(tmp_path, "phase1", "group"))
    rows = {name: {"photo": np.zeros((8, 8, 3), np.uint8)} for name in NAMES.values()}
    logger.log_panels(rows, 0)
    logger.log_final(rows, {name: {"psnr": 1.0} for name in rows}, 0)
    logger.finish(0)
    (run,) = finished(tmp_path, 1)
    panels = {key for row in run.history for key in row if key.startswith("panels/")}
    assert panels == {panel_key(name) for name in rows}
    pictures = list((tmp_path / "wandb").rglob("media/images/panels/*.png"))
    assert len(pictures) == len(rows)


def test_a_copied_run_leaves_the_originals_alone(tmp_path, capsys):
    def start(folder):
        PhaseWandbLogger(PhaseRun(folder, "phase1", "group")).finish(0)
        return (folder / "phase1" / "wandb_id").read_text()

    first = start(tmp_path / "run")
    assert start(tmp_path / "run") == first
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    capsys.readouterr()
    own = start(tmp_path / "copy")
    assert own != first
    assert f"is a copy of {tmp_path / 'run' / 'phase1'}" in capsys.readouterr().out
    assert (start(tmp_path / "copy"), start(tmp_path / "run")) == (own, first)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert start(tmp_path / "moved") == first
    # What an earlier version began says nothing of its place.
    (tmp_path / "moved" / "phase1" / "wandb_place.json").unlink()
    assert start(tmp_path / "moved") == first
