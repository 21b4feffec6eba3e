"""What a training of few steps leaves behind: each epoch's mean training loss, and a profiler's report."""

import itertools

import numpy as np
import pytest
import yaml

from lensblend.training.loggers.metrics_csv import read_rows


def test_every_epoch_logs_a_training_loss_and_the_profiler_reports(in_process, tmp_path, monkeypatch):
    # A machine that has SLURM: Lightning's advice to use it would be an error here.
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(srun.parent), prepend=":")
    arguments = ["experiment=demo", "debug=smoke", "schedule.run=[phase1]", "schedule.every_phase.max_epochs=2"]
    options = ["trainer.log_every_n_steps=10", "+trainer.profiler=simple", "callbacks.panels=null", "--print-config"]
    done = in_process("train", *arguments, *options, "seed=7", f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.code == 0, done.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert yaml.safe_load(done.out.partition("Training in")[0]).items() <= config.items()
    assert "print_config" not in config
    said = "experiment=demo, debug=smoke, schedule.run=[phase1], schedule.every_phase.max_epochs=2, "
    assert f"Differs from the defaults: {said}+trainer.profiler=simple, seed=7\n" in done.out
    rows = [row for row in read_rows(tmp_path / "run" / "metrics.csv") if "train/loss" in row]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    report = (tmp_path / "run" / "phase1" / "fit-profile.txt").read_text()
    assert "run_training_epoch" in report
    end = done.out.partition("FIT Profiler Report")[2]
    assert "run_training_epoch" in end
    count = len(report.strip().splitlines())
    assert f"phase1: all {count} lines of the profile are in {tmp_path / 'run' / 'phase1' / 'fit-profile.txt'}" in end


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
