"""Steps whose loss or gradient is no number, in a module small enough to follow by hand."""

import time

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lensblend.errors import RequestError, TrainingError
from lensblend.metrics.fidelity import Psnr
from lensblend.runs.checkpoint_files import read_checkpoint, write_checkpoint
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.loggers.metrics_csv import MetricsCsv, read_rows
from lensblend.training.phase_run import PhaseRun

# Lightning's advice on workers and the like, which the runner silences with its reasons.
pytestmark = pytest.mark.filterwarnings("ignore")


class Batches(torch.utils.data.Dataset):
    """Ten pairs; those in ``bad`` are not numbers."""

    def __init__(self, bad):
        self.bad = bad

    def __len__(self):
        return 10

    def __getitem__(self, index):
        value = torch.full((2,), float("nan") if index in self.bad else 1.0 + index)
        return {"id": f"pair{index}", "photo": value}


class Small(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
        self.weights, self.rates = [], []

    def training_step(self, batch, index):
        self.weights.append(self.network[1].weight.detach().clone())
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return self.network(batch["photo"]).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["lensblend"] = {"network": {}, **checkpoint["lensblend"]}


def fit(folder, policy, bad=(), limit=10, every_steps=None, accumulate=1, module=None, further=(), slow=False, **more):
    torch.manual_seed(0)
    module = module or Small()
    files = AtomicCheckpointIO()
    guard = FiniteGuard(folder / "phase1", policy, limit, before_reading=files.settle)
    keep = KeepLastAndBest(
        folder / "phase1", "val/psnr", Psnr.beats, every_steps=every_steps, before_saving=guard.settle, files=files,
        background=slow,
    )  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[guard, keep, *further],
        plugins=[files],
        logger=MetricsCsv(PhaseRun(folder, "phase1", "group")),
        accumulate_grad_batches=accumulate,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder / "phase1",
        **more,
    )
    trainer.fit(module, DataLoader(Batches(bad), batch_size=2))
    return module


def test_stop_says_what_and_where(tmp_path):
    message = r"phase1, step 2: `photo` of the batch is not finite \(pairs: pair4, pair5\)"
    with pytest.raises(TrainingError, match=message):
        fit(tmp_path, "stop", bad=[5])
    with pytest.raises(TrainingError, match=r"phase1.last\.ckpt holds the state before"):
        fit(tmp_path, "stop", bad=[5], every_steps=1)
    assert read_checkpoint(tmp_path / "phase1" / "last.ckpt")["global_step"] == 2


@pytest.fixture
def late(monkeypatch):
    """Read verdicts as on a GPU, where waiting for them costs time."""
    monkeypatch.setattr("lensblend.training.callbacks.finite_guard.reads_late", lambda device: True)


def test_on_a_gpu_stop_is_one_step_late(late, tmp_path):
    module = Small()
    with pytest.raises(
        TrainingError, match=r"phase1, step 2: `photo` of the batch is not finite \(pairs: pair4, pair5"
    ):
        fit(tmp_path, "stop", bad=[5], module=module)
    assert len(module.weights) == 4  # the batch after the bad one, and none after that
    assert list(tmp_path.glob("phase1/*.ckpt")) == []


def test_on_a_gpu_the_loss_of_a_bad_step_is_named_though_its_weights_are_spoilt(late, tmp_path):
    class Infinite(Small):
        def training_step(self, batch, index):
            return super().training_step(batch, index) * (float("inf") if index == 2 else 1)

    with pytest.raises(TrainingError, match=r"phase1, step 2: the loss is inf \(pairs: pair4, pair5\)"):
        fit(tmp_path, "stop", module=Infinite())


@pytest.mark.parametrize(("bad", "saved"), [(5, 2), (9, 4)])
def test_on_a_gpu_no_spoilt_weights_are_saved(late, tmp_path, bad, saved):
    """Neither between two steps nor after the last one, whose verdict no further step reads."""
    message = rf"step {saved}: `photo`.*phase1.last\.ckpt holds the state before"
    with pytest.raises(TrainingError, match=message):
        fit(tmp_path, "stop", bad=[bad], every_steps=1)
    assert read_checkpoint(tmp_path / "phase1" / "last.ckpt")["global_step"] == saved


def test_on_a_gpu_nobody_else_saves_spoilt_weights(late, tmp_path):
    class Saver(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    with pytest.raises(TrainingError, match="step 2: `photo`"):
        fit(tmp_path, "stop", bad=[5], further=[Saver()])
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["1.ckpt", "2.ckpt"]


def test_on_a_gpu_skip_still_comes_before_the_step(late, tmp_path):
    module = fit(tmp_path, "skip", bad=[5])
    torch.testing.assert_close(module.weights[3], module.weights[2], rtol=0, atol=0)


def test_skip_leaves_weights_moments_and_statistics_as_they_were(tmp_path, capsys):
    whole, gap = fit(tmp_path / "a", "skip"), fit(tmp_path / "b", "skip", bad=[5])
    assert "phase1, step 2" in capsys.readouterr().out
    # The same up to the bad step, unchanged by it, and finite to the end.
    for before in range(3):
        torch.testing.assert_close(gap.weights[before], whole.weights[before], rtol=0, atol=0)
    torch.testing.assert_close(gap.weights[3], gap.weights[2], rtol=0, atol=0)
    assert not torch.equal(gap.weights[4], gap.weights[3])
    assert gap.rates == whole.rates
    assert all(value.isfinite().all() for value in gap.state_dict().values())
    content = read_checkpoint(tmp_path / "b" / "phase1" / "last.ckpt")
    assert content["optimizer_states"][0]["state"][0]["step"] == 4
    assert content["state_dict"]["network.0.num_batches_tracked"] == 4
    rows = {row["step"]: row for row in read_rows(tmp_path / "b" / "metrics.csv")}
    assert rows["2"]["train/not_finite"] == "1"


def test_skip_with_accumulation_leaves_the_whole_step_out(tmp_path):
    module = fit(tmp_path, "skip", bad=[3], accumulate=2)
    # Batches 0 and 1 make the first step, which batch 1 spoils.
    torch.testing.assert_close(module.weights[2], module.weights[0], rtol=0, atol=0)
    assert not torch.equal(module.weights[4], module.weights[2])
    assert module.state_dict()["network.0.num_batches_tracked"] == 3


def test_the_norm_of_the_networks_gradient_is_logged_before_it_is_clipped(tmp_path):
    class Judged(Small):
        """Trains another weight beside the network's, with a large gradient."""

        def __init__(self):
            super().__init__()
            self.judge, self.norms = nn.Parameter(torch.ones(())), []

        def training_step(self, batch, index):
            return super().training_step(batch, index) + 100 * self.judge

        def on_before_optimizer_step(self, optimizer):
            gradients = [p.grad.flatten() for p in self.network.parameters()]
            self.norms.append(torch.cat(gradients).square().sum().sqrt().item())

    module = Judged()
    fit(tmp_path, "stop", module=module, gradient_clip_val=1e-3, log_every_n_steps=1)
    rows = read_rows(tmp_path / "metrics.csv")
    assert [float(row["train/grad_norm"]) for row in rows] == pytest.approx(module.norms, rel=1e-5)
    assert min(module.norms) > 1e-3


def test_roll_back_returns_to_the_last_checkpoint(tmp_path, capsys):
    module = fit(tmp_path, "roll_back", bad=[7], every_steps=2)
    assert "back to the weights of step 2" in capsys.readouterr().out
    torch.testing.assert_close(module.weights[4], module.weights[2], rtol=0, atol=0)
    assert module.rates == pytest.approx([0.1 / (1 + step) for step in range(5)])


def test_roll_back_waits_for_a_checkpoint_that_is_being_written(tmp_path, monkeypatch, capsys):
    def write(checkpoint, path):
        time.sleep(1)
        write_checkpoint(checkpoint, path)

    monkeypatch.setattr("lensblend.training.checkpoint_io.write_checkpoint", write)
    fit(tmp_path, "roll_back", bad=[5], every_steps=2, slow=True)
    assert "back to the weights of step 2" in capsys.readouterr().out


def test_roll_back_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint yet to go back to"):
        fit(tmp_path, "roll_back", bad=[1])


def test_too_many_are_a_stop(tmp_path):
    with pytest.raises(TrainingError, match="This is number 3, the limit is 2"):
        fit(tmp_path, "skip", bad=[1, 3, 5], limit=2)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Broken(FiniteGuard):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            pl_module.network[1].weight.data[0, 0] = float("inf")

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=True,
        callbacks=[Broken(tmp_path), KeepLastAndBest(tmp_path, "val/psnr", Psnr.beats, every_steps=1)],
        default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"1 weights are not finite after step 1 \(first: network.1.weight\)"):
        trainer.fit(Small(), DataLoader(Batches([]), batch_size=2))
    assert list(tmp_path.glob("*.ckpt")) == []


def test_the_count_outlives_a_restart(tmp_path):
    before, after = FiniteGuard(tmp_path, "skip"), FiniteGuard(tmp_path, "skip")
    before.count = 3
    after.load_state_dict(before.state_dict())
    assert after.count == 3
    # So that Lightning finds it in the checkpoints of earlier versions.
    assert before.state_key == "Finite"


@pytest.mark.parametrize(("policy", "limit"), [("ignore", 1), ("skip", 0)])
def test_other_policies_are_refused(tmp_path, policy, limit):
    with pytest.raises(RequestError, match=r"not_finite\."):
        FiniteGuard(tmp_path, policy, limit)
