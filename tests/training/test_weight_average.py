"""The average of a network's weights is PyTorch's own of the same steps; it is what is validated, kept and shipped."""

import copy
import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from lensblend.errors import TrainingError
from lensblend.losses.adversarial import FeatureMatching, HingeDiscriminator, HingeGenerator
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.fidelity import Psnr
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.training.adversarial import Adversarial
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.callbacks.weight_average import TRAINED, WeightAverage
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.restoration import Restoration

EPOCHS, BATCHES = 5, 4


class Normed(BokehNetwork):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
        # One tensor under two names.
        self.again = self.layers[2]

    def forward(self, photo):
        return Rendering(torch.sigmoid(self.layers(photo)), {})


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.logits = nn.Conv2d(6, 4, 1), nn.Conv2d(4, 1, 1)

    def forward(self, images):
        features = self.features(images).relu()
        return [[features, self.logits(features)]]


class Seen(pl.Callback):
    """Keep the network's state at the start, after each step, in each validation and at the end."""

    def __init__(self):
        self.trained, self.validated, self.left = [], {}, None

    def _state(self, module):
        return copy.deepcopy(module.network.state_dict())

    def on_train_start(self, trainer, module):
        self.trained.append(self._state(module))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == len(self.trained):
            self.trained.append(self._state(module))

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.validated[trainer.global_step] = self._state(module)

    def on_validation_end(self, trainer, module):
        # As panels do.
        assert same(self.validated[trainer.global_step], self._state(module))

    def on_fit_end(self, trainer, module):
        self.left = self._state(module)


def same(one, other):
    return all(torch.equal(one[name], value) for name, value in other.items())


def module(kind=Restoration, compile=None):
    torch.manual_seed(0)
    further = {
        "discriminator": Judge(),
        "discriminator_optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.04),
        "discriminator_loss": HingeDiscriminator(),
        "generator_loss": HingeGenerator(),
        "feature_loss": FeatureMatching(),
    }
    torch.manual_seed(1)
    return kind(
        network=Normed(),
        loss=WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}}),
        metrics={"psnr": Psnr()},
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05),
        record={"network": {}, "phase": "phase1", "config": "{}", "parent": {}},
        compile=compile,
        **(further if kind is Adversarial else {}),
    )


def samples(count):
    generator = torch.Generator().manual_seed(count)
    kinds = ("photo", "target")
    return [
        {"id": str(i), **{k: torch.randint(256, (3, 6, 6), generator=generator).byte() for k in kinds}}
        for i in range(count)
    ]


def fit(folder, average, *further, fitted=None, **options):
    seen = Seen()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[seen, *further, *([average] if average else []), KeepLastAndBest(folder, "val/psnr", Psnr.beats)],
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"max_epochs": EPOCHS, **options},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(fitted or module(), DataLoader(samples(2 * BATCHES), batch_size=2), DataLoader(samples(3)))
    return seen


def averages(states, options):
    """The averages that PyTorch's own class makes of a training's states, by the step."""
    network, found = Normed(), {}

    def follow(average, current, updates):
        share = min(options["ema"], (1 + updates) / (10 + updates))
        return share * average + (1 - share) * current

    rule = {"avg_fn": follow} if "ema" in options else {}
    averaged = AveragedModel(network, use_buffers=True, **rule)
    steps = (len(states) - 1) // EPOCHS
    first = options.get("swa", 0) * EPOCHS * steps
    for step, state in enumerate(states):
        network.load_state_dict(state)
        if "ema" in options or (step >= first and step > 0 and step % steps == 0):
            averaged.update_parameters(network)
        found[step] = copy.deepcopy(averaged.module.state_dict()) if averaged.n_averaged else state
    return found


def check(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "trainer"),
    [
        (Adversarial, {"ema": 0.8}, {}),
        (Restoration, {"ema": 0.3}, {"accumulate_grad_batches": 2, "val_check_interval": 2}),
        (Restoration, {"swa": 0.5}, {"val_check_interval": 0.5}),
        (Adversarial, {"swa": 0.0}, {}),
    ],
)
def test_the_average_is_pytorchs_own_of_the_same_steps(tmp_path, kind, options, trainer):
    plain = fit(tmp_path / "plain", None, fitted=module(kind), **trainer)
    seen = fit(tmp_path, WeightAverage(EPOCHS, **options), fitted=module(kind), **trainer)
    # What is trained is what would be trained without it, to the bit.
    assert all(same(ours, theirs) for ours, theirs in zip(seen.trained, plain.trained, strict=True))
    expected = averages(seen.trained, options)
    for step, validated in seen.validated.items():
        check(validated, expected[step])
    last, best = (read_checkpoint(tmp_path / name) for name in ("last.ckpt", "best.ckpt"))
    check(last["state_dict"], expected[len(seen.trained) - 1])
    check(seen.left, last["state_dict"])
    assert same(last[TRAINED], seen.trained[-1])
    assert same(best["state_dict"], seen.validated[best["global_step"]])
    assert not same(last[TRAINED], last["state_dict"])
    if kind is Adversarial:
        assert same(last["discriminator"], read_checkpoint(tmp_path / "plain" / "last.ckpt")["discriminator"])


def test_counters_are_the_networks_own(tmp_path):
    fit(tmp_path, WeightAverage(EPOCHS, ema=0.9))
    state = read_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    assert state["layers.1.num_batches_tracked"] == EPOCHS * BATCHES


def test_until_the_first_end_that_is_averaged_there_is_the_network_alone(tmp_path):
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.should_stop = True

    fit(tmp_path, WeightAverage(EPOCHS, swa=0.9), Stop())
    assert TRAINED not in read_checkpoint(tmp_path / "last.ckpt")


def test_a_compiled_network_is_scored_with_the_average_that_is_saved(tmp_path):
    fit(tmp_path, WeightAverage(EPOCHS, ema=0.9), fitted=module(compile="eager"), max_epochs=1)
    content = read_checkpoint(tmp_path / "best.ckpt")
    plain = Normed().eval()
    plain.load_state_dict(content["state_dict"])
    pairs = [(sample["photo"][None] / 255, sample["target"][None] / 255) for sample in samples(3)]
    with torch.no_grad():
        errors = [((255 * plain(photo).bokeh).round() - 255 * target).square().mean() for photo, target in pairs]
    scored = content["callbacks"]["KeepLastAndBest"]["best"]
    assert scored == pytest.approx(float(sum(10 * torch.log10(255**2 / error) for error in errors) / 3), abs=1e-3)


class Spoil(pl.Callback):
    """Make the loss of a step infinite."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step:
            batch["target"] = batch["target"].float() * float("inf")


def test_rolling_back_takes_the_average_along(tmp_path):
    average = WeightAverage(EPOCHS, ema=0.9)
    # The spoilt step goes back to the checkpoint after four steps; it counts, and the average follows it.
    guard = FiniteGuard(tmp_path, "roll_back", average=average)
    seen = fit(tmp_path, average, Spoil(6), guard, limit_val_batches=0, max_epochs=2)
    assert same(seen.trained[7], seen.trained[4])
    assert not same(seen.trained[6], seen.trained[4])
    average_then = averages(seen.trained[:5], {"ema": 0.9})[4]
    last = read_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    for name in ("layers.0.weight", "layers.1.running_mean", "layers.2.bias"):
        expected = average_then[name]
        for step in (7, 8):
            share = min(0.9, (1 + step) / (10 + step))
            expected = share * expected + (1 - share) * seen.trained[step][name]
        torch.testing.assert_close(last[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"swa": 0.2}])
def test_neither_weights_nor_an_average_that_are_not_finite_are_saved(tmp_path, options):
    """An average of epochs' ends stays finite where the weights do not."""

    class Break(pl.Callback):
        def on_validation_start(self, trainer, module):
            if trainer.global_step == 3 * BATCHES:
                with torch.no_grad():
                    module.network.layers[0].weight[0] = float("nan")

    with pytest.raises(TrainingError, match=r"weights are not finite after step 12 .*and are not saved"):
        fit(tmp_path, WeightAverage(EPOCHS, **options), Break())
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 2 * BATCHES
