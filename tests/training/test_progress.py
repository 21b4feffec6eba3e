import sys

import pytorch_lightning as pl
import torch

from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.runs.messages import heard_by
from lensblend.runs.provenance import read_provenance
from lensblend.training.callbacks.progress import PlainProgress, Progress, TerminalProgress


def test_a_terminal_gets_a_bar_and_a_file_plain_lines(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(Progress(), TerminalProgress)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert isinstance(Progress(), PlainProgress)


def test_the_bar_reads_the_loss_now_and_then_and_at_the_end_of_an_epoch(monkeypatch):
    """Reading it at each step would let a GPU wait."""
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1000, **options)
    bar, module, shown, noted = TerminalProgress(), pl.LightningModule(), [], []
    clock = iter([0.0, 0.1, 0.6, 0.7])
    monkeypatch.setattr("lensblend.training.callbacks.progress.time.monotonic", lambda: next(clock))
    trainer._logger_connector._progress_bar_metrics["val/psnr"] = 20.0
    for step in range(4):
        trainer._logger_connector._callback_metrics["train/loss"] = torch.tensor(float(step))
        if step == 3:
            monkeypatch.setattr(bar, "_update_metrics", lambda *_: None)
            monkeypatch.setattr(bar, "refresh", lambda: None)
            with heard_by(noted.append):
                bar.on_train_epoch_end(trainer, module)
        shown.append(bar.get_metrics(trainer, module))
    assert shown == [{"train/loss": loss, "val/psnr": 20.0} for loss in (0.0, 0.0, 2.0, 3.0)]
    assert [line.partition(" · ")[2] for line in noted] == ["epoch 1/1000 · step 0 · train/loss 3"]  # for the log


def test_plain_lines_tell_phase_epoch_step_and_scores(in_process, tmp_path):
    small = ["debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "schedule.run=[phase1]"]
    done = in_process("train", *small, f"run_dir={tmp_path / 'run'}", "schedule.every_phase.max_epochs=2")
    (line,) = [line for line in done.out.splitlines() if line.startswith("phase1 · epoch 2/2")]
    assert "step 4/4" in line
    assert "val/psnr" in line
    assert "train/loss" in line
    kept = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert [text for text in kept if text.endswith(line)]
    (start,) = read_provenance(tmp_path / "run" / "provenance.json")["starts"]
    assert start["command"].startswith("lensblend train debug=smoke +backbone.width_divisor=16")
    commits = read_checkpoint(tmp_path / "run" / "phase1" / "best.ckpt")["lensblend"]["commits"]
    assert commits.get("lensblend", "").removesuffix("-dirty") == (start["code"]["lensblend"].get("commit") or "")
