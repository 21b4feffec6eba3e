import csv

import pytest

from lensblend.training.loggers.metrics_csv import MetricsCsv
from lensblend.training.phase_run import PhaseRun


def rows(run_dir, name="metrics.csv"):
    with (run_dir / name).open(newline="") as file:
        return list(csv.DictReader(file))


def logger(run_dir, phase="phase1", first_step=0):
    return MetricsCsv(PhaseRun(run_dir, phase, "group", first_step=first_step))


def test_values_of_one_step_share_a_row(tmp_path):
    log = logger(tmp_path)
    log.log_metrics({"train/loss": 0.5, "epoch": 0}, 3)
    log.log_metrics({"val/psnr": 20.0, "epoch": 0}, 3)
    log.save()
    assert rows(tmp_path) == [{"phase": "phase1", "epoch": "0", "step": "3", "train/loss": "0.5", "val/psnr": "20"}]


def test_phases_follow_each_other_in_one_file(tmp_path):
    for phase in ("phase1", "phase2"):
        log = logger(tmp_path, phase)
        log.log_metrics({"train/loss": 0.5, "epoch": 0}, 0)
        log.finalize("success")
    assert [r["phase"] for r in rows(tmp_path)] == ["phase1", "phase2"]


def test_a_restart_drops_the_rows_of_steps_that_are_done_again(tmp_path):
    first = logger(tmp_path)
    for step in range(6):
        first.log_metrics({"train/loss": float(step), "epoch": step // 3}, step)
    first.save()
    again = logger(tmp_path, first_step=3)
    for step in range(3, 6):
        again.log_metrics({"train/loss": 10.0 + step, "epoch": 1}, step)
    again.save()
    assert [r["step"] for r in rows(tmp_path)] == ["0", "1", "2", "3", "4", "5"]
    assert [float(r["train/loss"]) for r in rows(tmp_path)] == [0, 1, 2, 13, 14, 15]


def test_how_fast_it_was_stands_in_a_file_of_its_own(tmp_path):
    """What a repeated training repeats is in the other, bit by bit."""
    log = logger(tmp_path)
    log.log_metrics({"train/loss": 0.5, "epoch": 0}, 3)
    log.log_metrics({"speed/images_per_s": 7.5, "epoch": 0}, 3)
    log.save()
    assert rows(tmp_path) == [{"phase": "phase1", "epoch": "0", "step": "3", "train/loss": "0.5"}]
    assert rows(tmp_path, "speed.csv") == [{"phase": "phase1", "epoch": "0", "step": "3", "speed/images_per_s": "7.5"}]
    again = logger(tmp_path, first_step=3)
    again.log_metrics({"speed/images_per_s": 8.0, "epoch": 0}, 3)
    again.save()
    assert [row["speed/images_per_s"] for row in rows(tmp_path, "speed.csv")] == ["8"]
    assert len(rows(tmp_path)) == 1  # nothing was logged for it


@pytest.mark.parametrize("new", ["val/lpips", "train/a"])
def test_a_new_column_keeps_the_old_rows(tmp_path, new):
    log = logger(tmp_path)
    log.log_metrics({"train/loss": 1.0}, 0)
    log.log_metrics({new: 2.0}, 1)
    log.save()
    assert rows(tmp_path)[0]["train/loss"] == "1"
    assert rows(tmp_path)[1][new] == "2"
