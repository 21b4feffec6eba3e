"""What a training of few steps leaves behind: each epoch's mean training loss, and a profiler's report."""

import itertools

import numpy as np
import pytest
import torch

from lensblend.training.epoch_means import EpochMeans
from lensblend.training.loggers.metrics_csv import read_rows


def test_every_epoch_logs_a_training_loss_and_the_profiler_reports(in_process, tmp_path):
    arguments = ["experiment=demo", "debug=smoke", "schedule.run=[phase1]", "schedule.every_phase.max_epochs=2"]
    options = ["trainer.log_every_n_steps=10", "+trainer.profiler=simple", "callbacks.panels=null"]
    done = in_process("train", *arguments, *options, f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.code == 0, done.err
    rows = [row for row in read_rows(tmp_path / "run" / "metrics.csv") if "train/loss" in row]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    report = (tmp_path / "run" / "phase1" / "fit-profile.txt").read_text()
    assert "run_training_epoch" in report


def test_a_short_epoch_logs_the_mean_over_its_pairs(in_process, tmp_path):
    small = [
        "experiment=demo",
        "debug=smoke",
        "schedule.run=[phase1]",
        "+backbone.width_divisor=16",
        "metrics.lpips=null",
    ]
    small += ["schedule.every_phase.max_epochs=2", "callbacks.panels=null", "loader.limit_train=5", "data.train=6"]
    rows = {}
    for every in (1, 10):
        folder = tmp_path / str(every)
        done = in_process("train", *small, f"trainer.log_every_n_steps={every}", f"run_dir={folder}", cwd=tmp_path)
        assert done.code == 0, done.err
        rows[every] = [row for row in read_rows(folder / "metrics.csv") if "train/loss" in row]
    assert [row["step"] for row in rows[10]] == ["2", "5"]
    sizes = [2, 2, 1]
    for key, (epoch, row) in itertools.product(("train/loss", "train/l1"), enumerate(rows[10])):
        steps = [float(one[key]) for one in rows[1][3 * epoch : 3 * epoch + 3]]
        assert float(row[key]) == pytest.approx(np.average(steps, weights=sizes), rel=1e-5)
        assert np.std(steps) > 0


def test_a_mean_leaves_out_what_is_not_finite_and_goes_on_where_it_was_kept():
    means = EpochMeans()
    for value, count in ((1.0, 2), (float("nan"), 2), (4.0, 1)):
        told = means.add({"loss": torch.tensor(value)}, count)
    assert told["loss"] == 2.0
    again = EpochMeans()
    again.restore({**means.state(), "damaged": [1.0], "odd": "x"})
    assert again.add({"loss": torch.tensor(6.0)}, 1)["loss"] == 3.0
    again.begin()
    assert torch.isnan(again.add({"loss": torch.tensor(float("nan"))}, 1)["loss"])
