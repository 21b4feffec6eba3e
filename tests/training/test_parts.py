"""Where a training's time goes: each part is found where it is spent, and nothing is counted twice."""

import json
import time as real_time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lensblend.data import pairs
from lensblend.data.pairs import Pair
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.fidelity import Psnr
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.callbacks.parts import FILE, PARTS, STEP, Parts, StepClock, loader_seconds
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.restoration import Restoration

pytestmark = pytest.mark.filterwarnings("ignore")
PAUSE = 0.125


class Clock:
    """Time that passes only where something pauses."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("lensblend.training.callbacks.parts.time", clock)
    monkeypatch.setitem(globals(), "time", clock)
    return clock


time = Clock()


class Pairs(pairs.Pairs):
    """Noise."""

    ids = ("a", "b", "c", "d", "e", "f")
    pause = 0.0

    def load(self, index, epoch=0):
        time.sleep(self.pause)
        return Pair(self.ids[index], *np.random.default_rng(index).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8))


class Source(pairs.Source):
    def __init__(self, pause):
        self.pairs = Pairs()
        self.pairs.pause = pause

    def split(self, name):
        return self.pairs


class Slow(torch.autograd.Function):
    """Takes its time on the way back."""

    @staticmethod
    def forward(ctx, tensor, pause):
        ctx.pause = pause
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(ctx.pause)
        return gradient, None


class Network(BokehNetwork):
    def __init__(self, pauses):
        super().__init__()
        self.layer, self.pauses = nn.Conv2d(3, 3, 1), pauses

    def forward(self, photo):
        time.sleep(self.pauses.get("forward", 0.0))
        return Rendering(Slow.apply(torch.sigmoid(self.layer(photo)), self.pauses.get("backward", 0.0)), {})


class Sgd(torch.optim.SGD):
    pause = 0.0

    def step(self, closure=None):
        loss = super().step(closure)
        time.sleep(self.pause)
        return loss


class Module(Restoration):
    pause = 0.0

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        time.sleep(self.pause if self.trainer.training else 0.0)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class Pausing(pl.Callback):
    def __init__(self, pauses):
        self.pauses = pauses

    def on_train_batch_end(self, *_):
        time.sleep(self.pauses.get("logging", 0.0))

    def on_validation_end(self, *_):
        time.sleep(self.pauses.get("validation", 0.0))


def split(folder, pauses):
    """Train three steps in which one part pauses, and return what was found."""
    loss = WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}})
    optimizer = type("Paused", (Sgd,), {"pause": pauses.get("optimizer", 0.0)})
    module = Module(Network(pauses), loss, {"psnr": Psnr()}, lambda parameters: optimizer(parameters, lr=0.1))
    module.pause = pauses.get("transfer", 0.0)
    # Two pairs are a batch.
    data = PairsDataModule(Source(pauses.get("data", 0.0) / 2), (32, 48), batch_size=2, val_batch_size=6)
    trainer = pl.Trainer(
        max_epochs=1,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[Parts(2), Pausing(pauses)],
    )
    trainer.fit(module, data)
    return json.loads((folder / FILE).read_text())


@pytest.mark.parametrize("part", [*PARTS, "validation"])
def test_a_pause_is_found_where_it_is_and_nowhere_else(tmp_path, part, one_thread):
    found = split(tmp_path, {part: PAUSE})
    assert (found["steps"], found["batch"]) == (2, 2)
    assert {name: found[name] for name in PARTS} == {name: PAUSE * (name == part) for name in PARTS}
    assert found["step"] == found["first"] == PAUSE * (part in PARTS)
    assert found["loader"] == PAUSE * (part == "data")
    # A validation is one batch of all six pairs.
    assert found["validation"] == {"forward": PAUSE, "data": 3 * PAUSE, "validation": PAUSE}.get(part, 0.0)


def test_parts_add_up_to_the_step_on_a_real_clock(tmp_path, one_thread, monkeypatch):
    monkeypatch.setattr("lensblend.training.callbacks.parts.time", real_time)
    clocks = []
    made = StepClock.__init__
    monkeypatch.setattr(StepClock, "__init__", lambda self, device: clocks.append(self) or made(self, device))
    split(tmp_path, {})
    (clock,) = clocks
    assert len(clock.steps) == 3
    assert len(clock.validations) == 1
    for step in clock.steps:
        assert sum(step[part] for part in PARTS) == pytest.approx(step[STEP])


def test_within_an_action_another_is_not_counted_twice(monkeypatch):
    now = iter([0.0, 1.0, 2.0, 4.0, 10.0, 12.0, 20.0, 21.0])
    clock = StepClock(torch.device("cpu"))
    monkeypatch.setattr(clock, "_now", lambda: next(now))
    for what, action in (
        ("start", "[Loop].train_dataloader_next"),
        ("stop", "[Loop].train_dataloader_next"),
        ("start", "[LightningModule]M.optimizer_step"),
        ("start", "[Strategy]S.training_step"),
        ("stop", "[Strategy]S.training_step"),
        ("stop", "[LightningModule]M.optimizer_step"),
        ("start", "[Callback]C.on_validation_start"),
        ("start", "[Callback]C.on_train_epoch_end"),
    ):
        getattr(clock, what)(action)
    expected = {"data": 1.0, "transfer": 0.0, "forward": 6.0, "backward": 0.0, "optimizer": 4.0, "logging": 9.0}
    assert clock.steps == [{**expected, "step": 20.0}]
    assert clock.validations == [1.0]
    assert clock.found() == {"steps": 1, "first": 20.0, "step": 20.0, **expected, "validation": 1.0}


def test_an_untrained_phase_has_no_step():
    found = StepClock(torch.device("cpu")).found()
    assert found["steps"] == 0
    assert found["step"] is None


def test_the_loaders_first_batch_counts_only_where_it_is_alone():
    def slow_start(count):
        time.sleep(PAUSE)
        yield from range(count)

    assert loader_seconds(slow_start(5), 3) == 0.0
    assert loader_seconds(slow_start(1), 3) == PAUSE
    assert loader_seconds([], 3) is None
