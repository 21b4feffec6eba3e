"""Learning rates by step against PyTorch's own schedulers, alone and in a training."""

import warnings
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, PolynomialLR, SequentialLR, StepLR

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.learning_rate import LR_PATHS, Extension, LearningRate, Length, lr_progress
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
    way = LearningRate(phase.lr_path, 0.5)
    module = Restoration(Brighter(), loss(), {}, partial(torch.optim.SGD, lr=0.4), learning_rate=way)
    module._trainer = Mock(
        spec=pl.Trainer, train_dataloader=[], max_epochs=1, num_training_batches=3, accumulate_grad_batches=1
    )
    (factor,) = module.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas
    assert [factor(step) for step in range(3)] == [1.0, 1.0, 0.5]


def test_an_unknown_path_is_refused_by_phase_and_module():
    with pytest.raises(RequestError, match=r"`lr_path` is one of .*, but got 'cosin'; did you mean 'cosine'"):
        Phase([32, 32], 1, 4, 1e-3, 1e-4, {}, lr_path="cosin")
    with pytest.raises(RequestError, match=r"`lr_path` is one of .*, but got 'cosin'; did you mean 'cosine'"):
        LearningRate("cosin")


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
        learning_rate=LearningRate("step", 0.25, 2),
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


@pytest.mark.parametrize(("warmup", "steps"), [(4.0, 4), (0.25, 5), (0.0, 0)])
def test_a_warm_up_is_pytorchs_before_its_cosine(warmup, steps):
    """Equal parts up to the first rate, which the first step after them has; the path runs through what is left."""

    def theirs(optimizer):
        rest = CosineAnnealingLR(optimizer, T_max=20 - steps - 1, eta_min=0.1)
        if not steps:
            return rest
        rising = LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
        return SequentialLR(optimizer, [rising, rest], milestones=[steps])

    way = LearningRate("cosine", 0.1, warmup=warmup)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = rates(theirs, 20)
    np.testing.assert_allclose([way.factor(step, 5, Length(4)) for step in range(20)], expected, atol=1e-12)


def test_drops_stay_where_they_are_after_a_warm_up():
    way = LearningRate("step", 0.25, every=2, warmup=3.0)
    found = [way.factor(step, 2, Length(6)) for step in range(12)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def extension(rule, epochs=2.0, steps=8, before=None):
    return Extension(before or Length(2), epochs, steps, rule)


@pytest.mark.parametrize("per_epoch", [4, 1, 7])
def test_a_longer_phase_takes_up_the_path_of_its_new_length_or_holds_its_last_rate(per_epoch):
    """By hand: linear from 1 to 0.2 through two epochs, then made five long; the path of five at its place, or 0.2."""
    places = range(2 * per_epoch, 5 * per_epoch)
    stretched = LearningRate("linear", 0.2, extensions=(extension("stretch"),))
    along = [1 - 0.8 * place / (5 * per_epoch - 1) for place in places]
    assert [stretched.factor(place, per_epoch, Length(5)) for place in places] == pytest.approx(along)
    held = LearningRate("linear", 0.2, extensions=(extension("hold"),))
    assert [held.factor(place, per_epoch, Length(5)) for place in places] == pytest.approx([0.2] * len(places))
    first = [1 - 0.8 * place / max(2 * per_epoch - 1, 1) for place in range(2 * per_epoch)]
    for way in (stretched, held):
        assert [way.factor(place, per_epoch, Length(5)) for place in range(2 * per_epoch)] == pytest.approx(first)


def test_extensions_follow_each_other():
    """Held from the second epoch on, taken up again by the path of six from the fourth."""
    way = LearningRate("linear", 0.0, extensions=(extension("hold"), extension("stretch", 4.0, 16, Length(4))))
    found = [way.factor(place, 1, Length(6)) for place in range(6)]
    assert found == pytest.approx([1, 0, 0, 0, 1 - 4 / 5, 0])


def test_steps_that_end_a_phase_before_its_epochs_do_are_the_way():
    way = LearningRate("linear", 0.0, extensions=(extension("stretch", 1.5, 6, Length(None, 6)),))
    assert [way.factor(place, 4, Length(9, 11)) for place in (0, 5, 6, 10)] == pytest.approx([1, 0, 1 - 6 / 10, 0])
