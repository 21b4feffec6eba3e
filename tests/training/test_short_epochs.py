"""What a training of few steps leaves behind: a training loss for every epoch, and a profiler's report."""

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
