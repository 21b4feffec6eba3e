"""`lensblend train` from end to end: the smoke form of the demo, read back from the files that it left."""

import csv
import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lensblend.metrics.per_image import PerImageMetric

PHASES = ["phase1", "phase2", "phase3"]
SMALL = ["debug=smoke", "experiment=demo", "+backbone.width_divisor=16", "metrics.lpips=null", "logger=csv"]


def status(run_dir):
    return json.loads((run_dir / "status.json").read_text())


def test_a_run_leaves_what_the_readme_lists(trained, picture):
    for phase in PHASES:
        for name in ("best.ckpt", "last.ckpt"):
            content = torch.load(trained / phase / name, weights_only=True)
            assert content["lensblend"]["phase"] == phase
        (panel,) = (trained / "panels").glob(f"{phase}-*.png")
        assert picture(panel).shape[1] > 1000
    assert yaml.safe_load((trained / "config.yaml").read_text())["kernels"]["scale"] == 0.125
    state = status(trained)
    assert (state["state"], state["exit_code"], list(state["phases"])) == ("done", 0, PHASES)


def test_metrics_csv_has_every_step_of_every_phase(trained):
    with (trained / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["phase"], r["step"]) for r in rows] == [(p, s) for p in PHASES for s in ("0", "1")]
    assert all(float(r["train/loss"]) == float(r["train/l1"]) for r in rows if r["phase"] != "phase3")
    assert all(float(r["train/loss"]) == float(r["train/negative_ssim"]) < 0 for r in rows if r["phase"] == "phase3")
    # The demo's learning rates: the first of phase 1 and the last of phase 3.
    assert float(rows[0]["lr"]) == pytest.approx(1e-3)
    assert float(rows[-1]["lr"]) == pytest.approx(3e-5)
    assert all(r["val/psnr"] for r in rows if r["step"] == "1")


def test_panels_show_pictures_not_black(trained, picture):
    (panel,) = (trained / "panels").glob("phase1-*.png")
    photo = picture(panel)[30:190, 10:250]
    assert photo.min() < 60
    assert photo.max() > 200
    assert len(np.unique(photo.reshape(-1, 3), axis=0)) > 100


@pytest.mark.slow
def test_the_same_command_again_skips_finished_phases(in_process, tmp_path):
    run_dir = tmp_path / "run"
    assert in_process("train", *SMALL, f"run_dir={run_dir}", "schedule.run=[phase1]").code == 0
    first = (run_dir / "phase1" / "best.ckpt").read_bytes()
    done = in_process("train", *SMALL, f"run_dir={run_dir}", "schedule.run=[phase1,phase2]")
    assert done.code == 0, done.err
    assert "phase1: done before, skipped" in done.out
    assert "phase1/best.ckpt" in done.out.split("phase2:")[1]
    assert (run_dir / "phase1" / "best.ckpt").read_bytes() == first
    assert list(status(run_dir)["phases"]) == ["phase1", "phase2"]


def test_another_configuration_in_the_same_folder_is_refused(in_process, tmp_path):
    run_dir = tmp_path / "run"
    assert in_process("train", *SMALL, f"run_dir={run_dir}", "schedule.run=[phase1]").code == 0
    done = in_process("train", *SMALL, f"run_dir={run_dir}", "schedule.run=[phase1]", "seed=5", "kernels.family=box")
    assert done.code == 2
    assert "seed: 0 then, 5 now" in done.err
    assert "kernels.family: 'gaussian' then, 'box' now" in done.err
    assert "`seed` stays: every phase is finished, and none is trained again" in done.err
    assert f"`init_from={run_dir}`" in done.err
    assert status(run_dir)["state"] == "done"


def test_a_request_that_failed_does_not_bar_its_folder(in_process, tmp_path):
    run_dir = tmp_path / "run"
    arguments = [*SMALL, f"run_dir={run_dir}", "schedule.run=[phase1]"]
    assert in_process("train", *arguments, "kernels.sizes=[25,44]").code == 2
    assert in_process("train", *arguments, "init_from=README.md").code != 0
    assert status(run_dir)["state"] == "failed"
    assert in_process("train", *arguments).code == 0


@pytest.mark.slow
def test_init_from_starts_from_the_weights_of_another_run(in_process, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert in_process("train", *SMALL, f"run_dir={first}", "schedule.run=[phase1]").code == 0
    arguments = [
        *SMALL,
        "schedule.run=[phase1]",
        "schedule.every_phase.lr=1e-12",
        "schedule.every_phase.lr_final=1e-12",
    ]
    done = in_process("train", *arguments, f"run_dir={second}", f"init_from={first}")
    assert done.code == 0, done.err
    assert f"starts from {first}/phase1/best.ckpt" in done.out
    ours, theirs = (torch.load(r / "phase1" / "best.ckpt", weights_only=True)["state_dict"] for r in (second, first))
    torch.testing.assert_close(ours["head.weight"], theirs["head.weight"], atol=1e-9, rtol=0)


@pytest.mark.slow
def test_the_seed_alone_decides_what_is_learned(in_process, tmp_path):
    weights = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        arguments = [*SMALL, "schedule.run=[phase1]", f"seed={seed}", f"run_dir={tmp_path / name}"]
        assert in_process("train", *arguments).code == 0
        weights[name] = torch.load(tmp_path / name / "phase1" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])
    assert not torch.equal(weights["a"]["head.weight"], weights["c"]["head.weight"])


def test_without_validation_pairs_best_is_last(in_process, tmp_path):
    run_dir = tmp_path / "run"
    done = in_process("train", *SMALL, f"run_dir={run_dir}", "schedule.run=[phase1,phase2]", "data.val=0")
    assert done.code == 0, done.err
    assert "144 training and 0 validation pairs" in done.out
    assert done.out.count("validation is skipped, and `best` is `last`") == 1
    assert (run_dir / "phase1" / "best.ckpt").read_bytes() == (run_dir / "phase1" / "last.ckpt").read_bytes()
    assert list((run_dir / "panels").glob("phase1-*.png"))


def test_a_folder_of_pairs_trains_and_its_test_pairs_are_scored_once(in_process, tmp_path):
    for name in ("photos", "targets", "test_photos", "test_targets"):
        (tmp_path / name).mkdir()
        for index in range(3):
            colour = (80 * index, 40, 120 if name.endswith("photos") else 130)
            stem = f"{name[:4]}{index}" if "test" in name else index
            Image.new("RGB", (60, 44), colour).save(tmp_path / name / f"{stem}.png")
    data = ["data=folder", f"data.photos={tmp_path / 'photos'}", f"data.targets={tmp_path / 'targets'}"]
    data += [f"+data.test_{kind}={tmp_path / f'test_{kind}'}" for kind in ("photos", "targets")]
    small = [s for s in SMALL if s != "experiment=demo"]
    command = ["train", *small, *data, f"run_dir={tmp_path / 'run'}", "schedule.run=[phase1]", "ema=0.9"]
    done = in_process(*command)
    assert done.code == 0, done.err
    assert "moving average of the weights (0.9)" in done.out
    assert "Scoring " in done.out
    # As many as of the validation pairs, in the smoke form.
    scored = status(tmp_path / "run")["test"]
    assert (scored["phase"], scored["count"]) == ("phase1", 2)
    evaluated = in_process(
        "evaluate", f"checkpoint={tmp_path / 'run'}", "split=test", "limit=2", f"output={tmp_path / 'scores'}"
    )
    assert evaluated.code == 0, evaluated.err
    theirs = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert {name: theirs[name] for name in ("psnr", "ssim")} == {name: scored[name] for name in ("psnr", "ssim")}
    again = in_process(*command)
    assert again.code == 0, again.err
    assert "Scoring " not in again.out
    changed = in_process("train", f"resume={tmp_path / 'run'}", "ema=0.5", "resume_overrides=[ema]")
    assert changed.code == 2
    assert "`ema` stays: every phase is finished" in changed.err
    last = torch.load(tmp_path / "run" / "phase1" / "last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "run" / "phase1" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(best[name], value) for name, value in last["state_dict"].items())
    assert any(not torch.equal(best[name], value) for name, value in last["current_model_state"].items())
    start = [f"init_from={tmp_path / 'run'}", "init_from.strict=false", "schedule.run=[phase1]"]
    other = in_process("train", *SMALL, *start, "kernels=gaussian_75", f"run_dir={tmp_path / 'other'}")
    assert other.code == 0, other.err
    assert "Not from " in other.out
    assert "2 of " in other.out.partition("Not from ")[2]
    begun = yaml.safe_load((tmp_path / "other" / "config.yaml").read_text())
    assert begun["init_from"] == {"path": str(tmp_path / "run"), "strict": False}
    assert "ema" not in begun


@pytest.mark.slow
def test_two_processes_train_and_validate_without_padding(lensblend, tmp_path):
    run_dir = tmp_path / "run"
    arguments = [*SMALL, "schedule.run=[phase1]", "loader.limit_train=8", "loader.limit_val=3"]
    done = lensblend("train", *arguments, "trainer=ddp_cpu", "trainer.log_every_n_steps=1", f"run_dir={run_dir}/ddp")
    assert done.code == 0, done.err
    assert status(run_dir / "ddp")["phases"]["phase1"]["step"] == 2
    assert (run_dir / "ddp" / "phase1" / "best.ckpt").is_file()


@pytest.mark.slow
def test_a_multirun_gives_every_job_its_folder(lensblend, tmp_path):
    arguments = [*SMALL, "schedule.run=[phase1]", f"hydra.sweep.dir={tmp_path}"]
    done = lensblend("train", "--multirun", *arguments, "kernels=gaussian_25_45_75,gaussian_75", cwd=tmp_path)
    assert done.code == 0, done.err
    sizes = [yaml.safe_load((tmp_path / job / "config.yaml").read_text())["kernels"]["sizes"] for job in "01"]
    assert sizes == [[25, 45, 75], [75]]
    assert all(status(tmp_path / job)["state"] == "done" for job in "01")


class Own(PerImageMetric):
    """Known values of three validations, of which the smallest is the best."""

    name, heading, convention, decimals = "own", "Own", "as written here", 1
    higher_is_better = False
    __module__ = "lensblend.metrics.own"

    def __init__(self):
        super().__init__()
        self.values = iter([3.0, 1.0, 2.0])

    def score(self, bokeh, target):
        return bokeh.mean(dim=(1, 2, 3))

    def compute(self):
        return torch.tensor(next(self.values))


def test_any_metric_can_choose_the_best_checkpoint_and_says_itself_what_is_better(in_process, tmp_path, monkeypatch):
    module = ModuleType(Own.__module__)
    module.Own = Own
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monitored = ("schedule.run=[phase1]", "schedule.every_phase.monitor=val/own", "schedule.every_phase.max_epochs=3")
    request = (*SMALL, "+metrics.own._target_=lensblend.metrics.own.Own", "callbacks.panels=null", *monitored)
    done = in_process("train", *request, f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert status(tmp_path / "run")["phases"]["phase1"]["best"] == {"val/own": 1.0}
    assert torch.load(tmp_path / "run" / "phase1" / "best.ckpt", weights_only=True)["epoch"] == 1
