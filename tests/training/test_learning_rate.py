"""Learning rates by step against PyTorch's own schedulers, alone and in a training."""

import warnings
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, PolynomialLR, StepLR

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.learning_rate import LR_PATHS, lr_progress
from lensblend.training.phases import Phase
from lensblend.training.restoration import Restoration

BATCHES = 6


def rates(scheduler, steps, lr=1.0):
    """What a scheduler of PyTorch's sets for each of so many steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = scheduler(optimizer)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("path", "ratio", "scheduler"),
    [
        ("polynomial", 0.0, partial(PolynomialLR, total_iters=19, power=0.9)),
        ("cosine", 0.1, partial(CosineAnnealingLR, T_max=19, eta_min=0.1)),
        ("exponential", 0.1, partial(ExponentialLR, gamma=0.1 ** (1 / 19))),
        ("linear", 0.1, partial(LinearLR, start_factor=1.0, end_factor=0.1, total_iters=19)),
    ],
)
def test_a_path_is_that_of_pytorchs_scheduler(path, ratio, scheduler):
    ours = [LR_PATHS[path](ratio, lr_progress(step, 20)) for step in range(20)]
    np.testing.assert_allclose(ours, rates(scheduler, 20), atol=1e-12)


@pytest.mark.parametrize("path", ["polynomial", "cosine", "exponential", "linear"])
def test_a_path_ends_at_the_last_learning_rate_and_stays_there(path):
    assert [LR_PATHS[path](0.01, lr_progress(step, 7)) for step in (0, 6, 7, 100)] == pytest.approx([1] + [0.01] * 3)


def test_half_way_along_the_polynomial():
    assert LR_PATHS["polynomial"](0.2, 0.5) == pytest.approx(0.2 + 0.8 * 0.535887, abs=1e-6)  # 2^-0.9


@pytest.mark.parametrize(
    ("epochs", "every", "first", "last", "gamma"),
    [
        (30, 20, 2e-3, 2e-4, 0.1),  # SCRN
        (100, 10, 1e-4, 1e-4 / 2**9, 0.5),  # the predictive filter of islab-zju
        (7, 3, 1.0, 0.25, 0.5),
    ],
)
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 11])
def test_drops_are_those_of_pytorchs_scheduler(epochs, every, first, last, gamma, steps_per_epoch):
    steps, drop_every = epochs * steps_per_epoch, every * steps_per_epoch
    ours = [first * LR_PATHS["step"](last / first, lr_progress(s, steps, drop_every)) for s in range(steps)]
    theirs = rates(partial(StepLR, step_size=drop_every, gamma=gamma), steps, first)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert ours[-1] == pytest.approx(last, rel=1e-9)
    assert lr_progress(steps, steps, drop_every) == lr_progress(9 * steps, steps, drop_every) == 1


def test_a_new_path_is_one_entry(monkeypatch):
    monkeypatch.setitem(LR_PATHS, "late", lambda ratio, progress: 1.0 if progress < 1 else ratio)
    phase = Phase([32, 32], 1, 4, 1e-3, 1e-4, {}, lr_path="late")
    module = Restoration(Brighter(), loss(), {}, partial(torch.optim.SGD, lr=0.4), lr_path=phase.lr_path, lr_ratio=0.5)
    module._trainer = Mock(
        spec=pl.Trainer, train_dataloader=[], max_epochs=1, num_training_batches=3, accumulate_grad_batches=1
    )
    (factor,) = module.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas
    assert [factor(step) for step in range(3)] == [1.0, 1.0, 0.5]


def test_an_unknown_path_is_refused_by_phase_and_module():
    with pytest.raises(RequestError, match=r"`lr_path` is one of .*, but got 'cosin'; did you mean 'cosine'"):
        Phase([32, 32], 1, 4, 1e-3, 1e-4, {}, lr_path="cosin")
    with pytest.raises(RequestError, match=r"`lr_path` is one of .*, but got 'cosin'; did you mean 'cosine'"):
        Restoration(Brighter(), loss(), {}, partial(torch.optim.SGD, lr=0.4), lr_path="cosin")


class Brighter(BokehNetwork):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, photo):
        return Rendering(photo * self.gain, {})


def loss():
    return WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}})


class Rates(pl.Callback):
    """Keep the rate that each optimizer step is made with."""

    def __init__(self):
        self.found = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.found.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(("accumulate", "steps_per_epoch"), [(1, 6), (4, 2)])
def test_a_training_drops_its_rate_exactly_between_epochs(tmp_path, accumulate, steps_per_epoch):
    module = Restoration(
        Brighter(),
        loss(),
        {},
        partial(torch.optim.SGD, lr=0.4),
        lr_path="step",
        lr_ratio=0.25,
        lr_every=2,
    )
    photo = torch.rand(3, 4, 4)
    batches = torch.utils.data.DataLoader([{"photo": photo, "target": photo}] * BATCHES)
    seen = Rates()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=5,
        accumulate_grad_batches=accumulate,
        callbacks=[seen],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, batches)
    by_epoch = [0.4, 0.4, 0.2, 0.2, 0.1]
    assert seen.found == pytest.approx([rate for rate in by_epoch for _ in range(steps_per_epoch)])
