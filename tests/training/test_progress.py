import sys

from lensblend.training.callbacks.progress import PlainProgress, Progress, TerminalProgress


def test_a_terminal_gets_a_bar_and_a_file_plain_lines(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(Progress(), TerminalProgress)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert isinstance(Progress(), PlainProgress)


def test_plain_lines_tell_phase_epoch_step_and_scores(in_process, tmp_path):
    small = ["debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "schedule.run=[phase1]"]
    done = in_process("train", *small, f"run_dir={tmp_path / 'run'}", "schedule.every_phase.max_epochs=2")
    (line,) = [line for line in done.out.splitlines() if line.startswith("phase1 · epoch 2/2")]
    assert "step 4/4" in line
    assert "val/psnr" in line
    assert "train/loss" in line
