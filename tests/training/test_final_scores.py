"""The numbers that a phase is compared by are right, and measuring them changes nothing."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from lensblend.data import pairs
from lensblend.data.pairs import Pair
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.fidelity import Psnr
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.training.callbacks.final_scores import TIMED, FinalScores
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.loggers.phase_logger import PhaseLogger
from lensblend.training.restoration import Restoration

pytestmark = pytest.mark.filterwarnings("ignore")


class Pairs(pairs.Pairs):
    """Noise."""

    ids = ("a", "b", "c", "d", "e", "f", "g")

    def load(self, index, epoch=0):
        return Pair(self.ids[index], *np.random.default_rng(index).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8))


class Source(pairs.Source):
    def split(self, name):
        return Pairs()


class Changing(BokehNetwork):
    """Draws a random number and counts in every call, whatever its mode."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))
        self.calls = []

    def forward(self, photo):
        self.calls.append((tuple(photo.shape), self.training, torch.is_grad_enabled(), torch.rand(1).item()))
        return Rendering(torch.sigmoid(self.layers(photo)), {})


class Table(PhaseLogger, CSVLogger):
    """A logger that asks for the numbers."""

    takes_numbers = True

    def log_numbers(self, numbers, device, step):
        self.said = (dict(numbers), device, step)


class Watch(pl.Callback):
    def __init__(self):
        self.seen = []

    def on_fit_end(self, trainer, module):
        state = {k: v.clone() for k, v in module.network.state_dict().items()}
        self.seen.append((torch.get_rng_state(), state, module.training, len(module.network.calls)))


def fit(folder, logger):
    torch.manual_seed(0)
    before, after = Watch(), Watch()
    keep = KeepLastAndBest(folder, "val/psnr", Psnr.beats)
    network = Changing()
    # A step far too long, so that the scores fall after the first epoch.
    optimizer = lambda parameters: torch.optim.SGD(parameters, lr=50.0)  # noqa: E731
    loss = WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}})
    record = {"phase": "phase1", "network": {}}
    module = Restoration(network, loss, {"psnr": Psnr()}, optimizer, record=record)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        logger=logger,
        callbacks=[before, FinalScores(keep), after, keep],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=PairsDataModule(Source(), (8, 12), 2, seed=0, num_workers=0))
    return keep, before.seen[0], after.seen[0], network.calls


def test_the_best_checkpoints_scores_the_parameters_and_the_latency_are_told(tmp_path):
    table = Table(tmp_path)
    keep, before, after, calls = fit(tmp_path, table)
    numbers, device, step = table.said
    assert numbers["psnr"] == keep.best > keep.scores["val/psnr"]
    assert numbers["parameters"] == (3 * 8 * 9 + 8) + 2 * 8 + (8 * 3 + 3)
    assert numbers["latency_s"] > 0
    assert (device, step) == ("cpu", 15)
    # One photo at the phase's size, in evaluation mode, a few times.
    measured = calls[before[3] : after[3]]
    assert [call[:3] for call in measured] == [((1, 3, 8, 12), False, False)] * (1 + TIMED)
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] < 3


def test_measuring_leaves_random_numbers_weights_and_mode_alone(tmp_path):
    _, before, after, _ = fit(tmp_path, Table(tmp_path))
    assert torch.equal(before[0], after[0])
    assert all(torch.equal(value, after[1][name]) for name, value in before[1].items())
    assert before[2] == after[2]


class Silent(PhaseLogger, CSVLogger):
    """A logger of a phase that does not ask for the numbers."""


@pytest.mark.parametrize("kind", [CSVLogger, Silent])
def test_nothing_is_measured_for_loggers_that_do_not_ask(tmp_path, kind):
    _, before, after, _ = fit(tmp_path, kind(tmp_path))
    assert after[3] == before[3]


def test_the_best_scores_outlive_a_restart_with_their_checkpoint_only(tmp_path):
    keep = KeepLastAndBest(tmp_path, "val/psnr", Psnr.beats)
    keep.best, keep.scores, keep.best_scores = 30.0, {"val/psnr": 20.0}, {"val/psnr": 30.0, "val/ssim": 0.9}
    (tmp_path / "best.ckpt").touch()
    again = KeepLastAndBest(tmp_path, "val/psnr", Psnr.beats)
    again.load_state_dict(keep.state_dict())
    assert again.best_scores == keep.best_scores
    (tmp_path / "best.ckpt").unlink()
    again.load_state_dict(keep.state_dict())
    assert again.best_scores == {}
    again.load_state_dict({"best": None, "scores": {}})  # as earlier versions wrote it
    assert again.best_scores == {}
