"""Checkpoints that a thread writes hold what was to be saved, in order, and no failure is lost."""

import threading

import pytest
import torch

from lensblend.errors import StorageError
from lensblend.training import checkpoint_io
from lensblend.training.checkpoint_io import AtomicCheckpointIO


@pytest.fixture
def gate(monkeypatch):
    """Let no checkpoint be written before the gate is opened; return it, and what is written."""
    opened, written = threading.Event(), []

    def write(checkpoint, path):
        assert opened.wait(60)
        if path.name == "bad.ckpt":
            raise StorageError("no room")
        written.append((path.name, checkpoint["weights"].tolist(), threading.current_thread().name))

    monkeypatch.setattr(checkpoint_io, "write_checkpoint", write)
    return opened, written


def test_training_goes_on_while_the_state_before_is_written(tmp_path, gate):
    opened, written = gate
    files, weights, followed = AtomicCheckpointIO(background=True), torch.ones(2), []
    files.save_checkpoint({"weights": weights}, tmp_path / "last.ckpt")
    files.then(lambda: followed.append(len(written)))
    weights.zero_()
    files.settle(is_awaited=False)
    assert (written, followed) == ([], [])
    opened.set()
    files.settle()
    assert written == [("last.ckpt", [1.0, 1.0], "checkpoint_0")]
    assert followed == [1]
    files.close()


def test_without_a_background_a_save_is_done_when_it_returns(tmp_path, gate):
    opened, written = gate
    opened.set()
    files, followed = AtomicCheckpointIO(), []
    files.save_checkpoint({"weights": torch.ones(1)}, tmp_path / "last.ckpt")
    files.then(lambda: followed.append(len(written)))
    assert (written, followed) == ([("last.ckpt", [1.0], "MainThread")], [1])
    files.close()


@pytest.mark.parametrize("meets", ["settle", "save", "load", "a step"])
def test_a_failure_meets_whoever_comes_next_and_nothing_follows_it(tmp_path, gate, meets):
    opened, written = gate
    opened.set()
    files, followed = AtomicCheckpointIO(background=True), []
    files.save_checkpoint({"weights": torch.ones(1)}, tmp_path / "bad.ckpt")
    files.then(lambda: followed.append(1))
    files._writer.submit(lambda: None).result()
    asked = {
        "settle": files.settle,
        "save": lambda: files.save_checkpoint({"weights": torch.ones(1)}, tmp_path / "last.ckpt"),
        "load": lambda: files.load_checkpoint(tmp_path / "last.ckpt"),
        "a step": lambda: files.settle(is_awaited=False),
    }
    with pytest.raises(StorageError, match="no room"):
        asked[meets]()
    assert (written, followed) == ([], [])
    files.settle()  # said once
    files.close()


def test_where_a_training_has_failed_already_the_other_failure_is_said(tmp_path, gate, capsys):
    opened, _ = gate
    opened.set()
    files = AtomicCheckpointIO(background=True)
    files.save_checkpoint({"weights": torch.ones(1)}, tmp_path / "bad.ckpt")
    files.close()
    assert "no room" in capsys.readouterr().out
