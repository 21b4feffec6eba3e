"""What a training asks of the device, and how several processes agree, without a GPU: only its rules are followed."""

import inspect
import signal

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lensblend.data import pairs
from lensblend.data.embedded import Embedded
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.agreement import Agreement, take_over_signals
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.callbacks.progress import PlainProgress
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.interruption import Interruption
from lensblend.training.restoration import Restoration

pytestmark = pytest.mark.filterwarnings("ignore")


class Gain(BokehNetwork):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, photo):
        return Rendering(photo * self.gain, {})


class Some(pairs.Source):
    def __init__(self, count):
        self._pairs = Embedded(image_size=[32, 48], train=count, val=1)

    def split(self, name):
        return self._pairs.split(name)


def questions(folder, monkeypatch, count):
    """Return where a training of so many steps asks a tensor for a number, outside of its optimizer."""
    seen = []

    def ask(kind):
        plain = getattr(torch.Tensor, kind)

        def asked(tensor):
            file = inspect.stack()[1].filename
            if "/torch/" not in file:
                seen.append(file.rpartition("site-packages/")[2])
            return plain(tensor)

        return asked

    keep = KeepLastAndBest(folder, "val/psnr", lambda a, b: a > b)
    module = Restoration(
        Gain(),
        WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}}),
        {},
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        record={"phase": "phase1", "network": {}},
    )
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, log_every_n_steps=1, limit_val_batches=0,
        callbacks=[FiniteGuard(folder), keep, PlainProgress(1e9)], plugins=[AtomicCheckpointIO()],
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=folder,
    )  # fmt: skip
    with monkeypatch.context() as patch:
        for kind in ("item", "__bool__", "__float__", "__int__", "tolist"):
            patch.setattr(torch.Tensor, kind, ask(kind))
        trainer.fit(module, datamodule=PairsDataModule(Some(count), (32, 48), 1))
    return seen


def test_a_step_asks_the_device_for_nothing_but_the_verdict_on_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr("lensblend.training.callbacks.finite_guard.reads_late", lambda device: True)
    few, many = (questions(tmp_path / str(count), monkeypatch, count) for count in (3, 5))
    further = list(many)
    for file in few:
        further.remove(file)
    assert [file.rpartition("/")[2] for file in further] == ["late.py"] * 2


class OneOfTwo(pl.Trainer):
    """One of two processes, whose other one asks for what is in ``other``."""

    world_size = 2

    def __init__(self):
        super().__init__(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
        self.other = []

    def reduce(self, value, operation):
        value.fill_(max(int(value), self.other.pop(0) if self.other else 0))


@pytest.fixture
def trainer(monkeypatch):
    trainer = OneOfTwo()
    monkeypatch.setattr("torch.distributed.all_reduce", trainer.reduce)
    return trainer


@pytest.fixture
def late(monkeypatch):
    monkeypatch.setattr("lensblend.training.agreement.reads_late", lambda device: True)


def test_processes_on_cpus_agree_at_once(trainer):
    trainer.other += [0, 7, 1]
    agreement = Agreement()
    assert [agreement.of(trainer, request) for request in (0, 1, 3)] == [0, 7, 3]


def test_processes_on_gpus_agree_one_call_later(trainer, late):
    trainer.other += [0, 7, 1]
    agreement = Agreement()
    assert [agreement.of(trainer, request) for request in (0, 1, 3, 0)] == [0, 0, 7, 3]


def test_what_was_asked_for_before_an_answer_is_not_answered_again(trainer, late):
    agreement, answers = Agreement(), []
    for request in (1, 1, 0, 0, 0):
        answers.append(agreement.of(trainer, request))
        if answers[-1]:
            agreement.forget()
    assert answers == [0, 1, 0, 0, 0]


def test_a_single_process_decides_alone(late):
    assert Agreement().of(pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), 5) == 5


def test_on_gpus_lightnings_own_round_of_each_step_is_left_out_and_its_signal_kept(trainer, late):
    trainer._signal_connector.received_sigterm = True
    asked = []
    loop = trainer.fit_loop.epoch_loop
    assert callable(loop._broadcast_sigterm_tensor)  # the name is Lightning's own
    loop._broadcast_sigterm_tensor = lambda: asked.append("Lightning")
    interruption = Interruption()
    take_over_signals(trainer, interruption)
    loop._broadcast_sigterm_tensor()
    assert asked == []
    assert interruption.received == signal.SIGTERM
    assert not trainer.received_sigterm
