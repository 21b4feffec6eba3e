"""A network and its discriminator: one step each per batch, and neither without the other."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lensblend.errors import DataError, RequestError
from lensblend.losses.adversarial import FeatureMatching, HingeDiscriminator, HingeGenerator
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.adversarial import Adversarial
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.introduction import introduce
from lensblend.training.learning_rate import LearningRate
from lensblend.training.phases import Phase
from lensblend.training.restoration import Restoration

BATCHES = 4


class Tint(BokehNetwork):
    guidance = ("saliency",)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(4, 3, 1)

    def forward(self, photo, saliency):
        return Rendering(self.layer(torch.cat([photo, saliency], 1)), {})


class Judge(nn.Module):
    """One scale; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.features, self.logits = nn.Conv2d(7, 4, 1), nn.Conv2d(4, 1, 1)
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        features = self.features(images).relu()
        return [[features, self.logits(features)]]


def module(kind=Adversarial, **changes):
    torch.manual_seed(0)
    network = Tint()
    arguments = {
        "network": network,
        "loss": WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}}),
        "metrics": {},
        "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        "learning_rate": LearningRate("linear", 0.1),
    }
    if kind is Adversarial:
        arguments |= {
            "discriminator": Judge(),
            "discriminator_optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.04),
            "discriminator_loss": HingeDiscriminator(),
            "generator_loss": HingeGenerator(),
            "feature_loss": FeatureMatching(),
        }
    return kind(**arguments | changes)


def fit(module, *callbacks, epochs=2, folder=None, **arguments):
    generator = torch.Generator().manual_seed(1)
    samples = [
        {
            "id": str(index),
            "photo": torch.randint(256, (3, 8, 8), generator=generator).byte(),
            "target": torch.randint(128, (3, 8, 8), generator=generator).byte(),
            "saliency": torch.rand(1, 8, 8, generator=generator),
        }
        for index in range(2 * BATCHES)
    ]
    trainer = pl.Trainer(
        max_epochs=epochs,
        logger=False,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"accelerator": "cpu", **arguments},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, DataLoader(samples, batch_size=2))
    return trainer


def test_without_adversarial_weight_the_network_trains_as_it_would_alone():
    alone, beside = module(Restoration), module(generator_weight=0, feature_weight=0)
    fit(alone)
    trainer = fit(beside)
    for ours, theirs in zip(beside.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)
    assert trainer.global_step == 2 * BATCHES


def test_the_discriminator_sees_condition_and_image_and_learns_to_tell_them_apart():
    still = module(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    seen = still.discriminator.seen
    trainer = fit(still, epochs=12)
    target, rendered = seen[0], seen[1]
    assert target.shape == (2, 7, 8, 8)
    assert torch.equal(target[:, :4], rendered[:, :4])
    assert target[:, 4:].max() <= 127 / 255
    judged = trainer.callback_metrics
    assert judged["train/discriminator"] < 1.5  # 2 where it cannot tell
    assert {"train/generator", "train/features", "train/l1", "train/loss", "lr"} <= set(judged)


def test_the_network_learns_to_fool_a_discriminator_that_stays_as_it_is():
    def fooled(steps):
        trained = module(
            loss=WeightedSum({"l1": {"weight": 1e-6, "compares": "bokeh", "loss": L1()}}),
            discriminator_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
            feature_weight=0,
        )
        return fit(trained, epochs=steps).callback_metrics["train/generator"]

    assert fooled(12) < fooled(1)


def test_both_learning_rates_take_the_same_path():
    trainer = fit(module())
    rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    assert rates == pytest.approx([0.001, 0.004])


class Poison(pl.Callback):
    """Make the discriminator's loss infinite in one step."""

    def __init__(self, step):
        self.step, self.before = step, None

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.before = {k: v.clone() for k, v in module.discriminator.state_dict().items()}
            self.network = {k: v.clone() for k, v in module.network.state_dict().items()}
            batch["target"] = batch["target"].float() * float("inf")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step + 1:
            self.after = {k: v.clone() for k, v in module.discriminator.state_dict().items()}
            self.network_after = {k: v.clone() for k, v in module.network.state_dict().items()}


def test_a_step_that_is_not_finite_is_left_out_by_both(tmp_path):
    poison = Poison(3)
    fit(module(), poison, FiniteGuard(tmp_path, "skip"))
    for name, before in poison.before.items():
        assert torch.equal(before, poison.after[name])
    for name, before in poison.network.items():
        assert torch.equal(before, poison.network_after[name])


def test_rolling_back_takes_both_to_the_checkpoint(tmp_path):
    class Save(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 1:
                trainer.save_checkpoint(tmp_path / "last.ckpt")
                self.saved = {k: v.clone() for k, v in module.discriminator.state_dict().items()}

    save, poison = Save(), Poison(3)
    fit(module(record={"network": {}}), save, poison, FiniteGuard(tmp_path, "roll_back"))
    for name, saved in save.saved.items():
        assert torch.equal(saved, poison.after[name])
    assert any(not torch.equal(saved, poison.before[name]) for name, saved in save.saved.items())


def test_a_checkpoint_without_a_discriminator_is_refused():
    with pytest.raises(DataError, match=r"no discriminator like this module's.*init_from"):
        module().on_load_checkpoint({"state_dict": {}})


def test_scaled_gradients_are_refused():
    trained = module()
    trained.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, precision="bf16-mixed")
    trained.trainer.strategy.precision_plugin.precision = "16-mixed"
    with pytest.raises(RequestError, match="use bf16-mixed"):
        trained.on_fit_start()


def test_processes_that_would_wait_for_each_other_are_refused():
    trained = module()
    trained.trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(RequestError, match=r"strategy\.find_unused_parameters=true"):
        trained.on_fit_start()


@pytest.mark.parametrize("name", ["generator_weight", "feature_weight"])
def test_negative_weights_are_refused(name):
    with pytest.raises(RequestError, match=rf"`module.{name}` is 0 or more, but got -1"):
        module(**{name: -1})


def test_the_line_that_introduces_a_phase_names_the_adversarial_losses(capsys):
    """And leaves out what the configuration has switched off."""
    values = {"image_size": [32, 48], "batch_size": 1, "max_epochs": 1, "lr": 1e-4, "lr_final": 1e-4}
    phase = Phase(**values, loss={"vgg": None, "mask": {"weight": 1.0, "compares": "mask", "loss": {}}})
    for kind, said in ((Adversarial, "mask + generator + features"), (Restoration, "mask")):
        introduce("phase1", phase, torch.nn.Linear(2, 3), kind.own_terms, {}, "starts from nothing")
        assert f"phase1: 1 epoch at 32×48 (height×width), batch 1, {said}, learning rate" in capsys.readouterr().out
