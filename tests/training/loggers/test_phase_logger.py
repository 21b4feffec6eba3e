"""Ours are told what a phase is compared by; Lightning's own work beside them, each start in a place of its own."""

import csv
import io
import os
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger

from lensblend.errors import DataError, RequestError
from lensblend.training.loggers.metrics_csv import MetricsCsv
from lensblend.training.loggers.phase_logger import PhaseLogger, build_loggers, check_loggers
from lensblend.training.loggers.wandb_run import PhaseWandbLogger
from lensblend.training.phase_run import PhaseRun
from lensblend.training.restoration import Restoration

CHECKOUT = Path(__file__).resolve().parents[3]
OURS = {"_target_": "lensblend.training.loggers.metrics_csv.MetricsCsv", "_partial_": True}
LIGHTNINGS = {"_target_": "pytorch_lightning.loggers.CSVLogger"}
SMALL = ["experiment=demo", "debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "callbacks.panels=null"]
BESIDE = "+logger.table._target_=pytorch_lightning.loggers.CSVLogger"


def phase(folder, name="phase1", step=0):
    return PhaseRun(folder / "sweep" / "7", name, "7: a sweep", config={"seed": 3, "token": "x"}, first_step=step)


def rows(run_dir, phase, start=0):
    with (run_dir / phase / "table" / f"from-step-{start}" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_ours_get_the_phase_and_lightnings_a_place_and_the_configuration(tmp_path):
    ours, theirs = build_loggers({"csv": OURS, "none": None, "table": LIGHTNINGS}, phase(tmp_path, step=12))
    assert isinstance(ours, MetricsCsv)
    assert isinstance(ours, PhaseLogger)
    assert type(theirs) is CSVLogger
    folder = tmp_path / "sweep" / "7" / "phase1" / "table" / "from-step-12"
    theirs.log_metrics({"val/psnr": 1.0}, 12)
    theirs.save()
    assert yaml.safe_load((folder / "hparams.yaml").read_text()) == {"seed": 3, "token": "(redacted)"}
    assert "val/psnr" in (folder / "metrics.csv").read_text()


def test_in_a_folder_of_the_users_own_phases_of_all_runs_have_places_of_their_own(tmp_path):
    node = {**LIGHTNINGS, "save_dir": str(tmp_path / "logs")}
    places = {build_loggers({"table": node}, phase(tmp_path, n))[0].log_dir for n in ("phase1", "phase2")}
    assert places == {str(tmp_path / "logs" / "sweep" / "7" / n / "from-step-0") for n in ("phase1", "phase2")}
    (named,) = build_loggers({"table": {**node, "name": "mine", "version": "v2"}}, phase(tmp_path))
    assert named.log_dir == str(tmp_path / "logs" / "mine" / "v2")


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("package", "theirs"), [("mlflow", "MLFlowLogger"), ("tensorboard", "TensorBoardLogger")])
def test_a_package_that_is_missing_is_named_before_anything_is_trained(monkeypatch, package, theirs, ours):
    monkeypatch.setattr("lensblend.training.loggers.phase_logger.find_spec", lambda name: None)
    kind = {"mlflow": "mlflow_run.PhaseMlflowLogger", "tensorboard": "tensorboard_run.PhaseTensorBoardLogger"}[package]
    target = f"lensblend.training.loggers.{kind}" if ours else f"pytorch_lightning.loggers.{theirs}"
    said = rf"`logger.it` needs {package}, which is not installed here: pip install 'lensblend\[{package}\]'"
    with pytest.raises(RequestError, match=said):
        check_loggers({"csv": OURS, "it": {"_target_": target, "_partial_": ours}})


def test_mlflow_has_a_run_per_phase_that_goes_on_and_a_copy_has_its_own(tmp_path, capsys):
    import mlflow

    node = {"_target_": "lensblend.training.loggers.mlflow_run.PhaseMlflowLogger", "_partial_": True}
    first = phase(tmp_path)
    (logger,) = build_loggers({"mlflow": node}, first)
    logger.log_metrics({"val/psnr": 20.0, "epoch": 0}, 3)
    logger.log_panels({"a pair": {"photo": np.zeros((8, 8, 3), np.uint8)}}, 3)
    logger.log_numbers({"psnr": 21.0, "latency_s": 0.5}, "cpu", 3)
    logger.finish(143)
    client = mlflow.MlflowClient(f"sqlite:///{first.run_dir / 'mlflow.db'}")
    run = client.get_run(logger.run_id)
    assert run.info.status == "KILLED"
    assert run.data.metrics == {"val/psnr": 20.0, "psnr": 21.0, "latency_s": 0.5, "epoch": 0.0}
    assert run.data.params == {"seed": "3", "token": "(redacted)"}
    assert client.get_experiment(run.info.experiment_id).name == first.group
    assert list(first.run_dir.rglob("images/*.png"))
    (again,) = build_loggers({"mlflow": node}, phase(tmp_path, step=4))
    again.log_metrics({"val/psnr": 22.0}, 7)
    again.finish(0)
    assert again.run_id == logger.run_id
    assert [(point.step, point.value) for point in client.get_metric_history(again.run_id, "val/psnr")] == [
        (3, 20.0), (7, 22.0),
    ]  # fmt: skip
    assert client.get_run(again.run_id).info.status == "FINISHED"
    (second,) = build_loggers({"mlflow": node}, phase(tmp_path, "phase2"))
    shutil.copytree(tmp_path / "sweep", tmp_path / "copy" / "sweep")
    (copied,) = build_loggers({"mlflow": node}, phase(tmp_path / "copy"))
    assert len({again.run_id, second.run_id, copied.run_id}) == 3
    before = list(tmp_path.rglob("*.png"))
    assert "was begun in another folder: pictures are not added" in capsys.readouterr().out
    copied.log_panels({"a pair": {"photo": np.zeros((8, 8, 3), np.uint8)}}, 3)
    assert list(tmp_path.rglob("*.png")) == before  # neither in the original nor anywhere else


@pytest.mark.parametrize("link", ["phase1/table", "phase1/table/from-step-0", "phase1/table/from-step-0/hparams.yaml"])
def test_a_link_in_the_runs_folder_is_not_written_through(tmp_path, link):
    path, elsewhere = phase(tmp_path).run_dir / link, tmp_path / "elsewhere"
    path.parent.mkdir(parents=True)
    elsewhere.write_text("kept") if path.suffix else elsewhere.mkdir()
    path.symlink_to(elsewhere)
    with pytest.raises(DataError, match="link"):
        build_loggers({"table": LIGHTNINGS}, phase(tmp_path))
    assert not any(elsewhere.iterdir()) if elsewhere.is_dir() else elsewhere.read_text() == "kept"


def test_only_loggers_that_take_numbers_make_the_training_measure_them():
    assert not MetricsCsv.takes_numbers
    assert PhaseWandbLogger.takes_numbers


def test_the_logger_of_the_documentation_is_one(tmp_path, capsys):
    text = (CHECKOUT / "docs" / "loggers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"Any": Any, "Mapping": Mapping, "PhaseLogger": PhaseLogger, "PhaseRun": PhaseRun}
    exec(code, names)
    logger = names["Printed"](phase_run=phase(tmp_path), digits=1)
    logger.log_metrics({"val/psnr": 20.04}, 3)
    logger.log_panels({}, 3)
    logger.finish(0)
    assert capsys.readouterr().out == "phase1 3 {'val/psnr': 20.0}\n"


@pytest.fixture(scope="module")
def run_dir(lensblend, tmp_path_factory):
    """A training of two phases that logs to Lightning's CSV beside ours."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    done = lensblend("train", *SMALL, "schedule.run=[phase1,phase2]", BESIDE, f"run_dir={folder}")
    assert done.code == 0, done.err
    return folder


@pytest.mark.slow
def test_phases_do_not_overwrite_each_other(run_dir):
    with (run_dir / "metrics.csv").open(encoding="utf-8") as file:
        ours = list(csv.DictReader(file))
    for name in ("phase1", "phase2"):
        losses = [float(row["train/loss"]) for row in rows(run_dir, name) if row["train/loss"]]
        assert losses == pytest.approx([float(r["train/loss"]) for r in ours if r["phase"] == name and r["train/loss"]])
        assert any(row["val/psnr"] for row in rows(run_dir, name))


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_what_was_logged_before(in_process, monkeypatch, tmp_path):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        step = Restoration.training_step

        def stopped(self, *arguments):
            if self.trainer.global_step == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, *arguments)

        patch.setattr(Restoration, "training_step", stopped)
        more = ["schedule.run=[phase1]", "schedule.every_phase.max_epochs=2"]
        assert in_process("train", *SMALL, *more, BESIDE, f"run_dir={folder}").code == 143
    done = in_process("train", f"resume={folder}")
    assert done.code == 0, done.err
    assert [row["step"] for row in rows(folder, "phase1") if row["train/loss"]] == ["0", "1"]
    assert [row["step"] for row in rows(folder, "phase1", 2) if row["train/loss"]] == ["2", "3"]


@pytest.mark.parametrize(
    ("key", "place"),
    [("save_dir", "/elsewhere"), ("name", "../../x"), ("version", "/x"), ("tracking_uri", "file:/elsewhere")],
)
@pytest.mark.slow
def test_a_run_that_goes_on_writes_elsewhere_by_the_users_word_alone(in_process, run_dir, tmp_path, key, place):
    folder = shutil.copytree(run_dir, tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["logger"]["table"][key] = place
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    done = in_process("train", f"resume={folder}")
    assert done.code == 2
    assert f"`logger.table.{key}` in {folder / 'config.yaml'} is '{place}', outside the run's folder" in done.err


def test_tensorboard_files_hold_what_was_logged_and_pictured(in_process, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    some = [*SMALL[:-1], "schedule.run=[phase1]", "logger=[tensorboard,csv]"]
    lightnings = "+logger.tb._target_=pytorch_lightning.loggers.TensorBoardLogger"
    done = in_process("train", *some, lightnings, f"run_dir={tmp_path}")
    assert done.code == 0, done.err
    folders = [tmp_path / "phase1" / key / "from-step-0" for key in ("tb", "tensorboard")]
    theirs, events = (EventAccumulator(str(folder)).Reload() for folder in folders)
    assert set(theirs.Tags()["scalars"]) - {"hp_metric"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1]
    compared = {"psnr", "ssim", "ssim_wang", "parameters", "latency_s"}
    assert compared <= set(events.Tags()["scalars"])
    pictures = events.Tags()["images"]
    assert len(pictures) == 2
    for key in pictures:
        (event,) = events.Images(key)
        assert (event.step, event.height) == (1, PIL.Image.open(io.BytesIO(event.encoded_image_string)).height)
    assert {"speed/images_per_s", "speed/data_share"} <= set(events.Tags()["scalars"])
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        ours = [float(row["val/psnr"]) for row in csv.DictReader(file) if row["val/psnr"]]
    assert [event.value for event in events.Scalars("val/psnr")] == pytest.approx(ours)
