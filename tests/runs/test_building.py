"""What a phase trains and scores with, and what of it is left out."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.runs.building import build_loss, freeze_all_but
from lensblend.training.restoration import Restoration

TERM = {"weight": 1.0, "compares": "bokeh", "loss": {"_target_": "lensblend.losses.pixel.L1"}}
# A loss that needs weights.
MISSING = {"_target_": "lensblend.losses.perceptual.VggFeatures"}


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))


def test_a_term_without_weights_is_left_out_loudly(capsys):
    loss, left_out = build_loss({"l1": TERM, "vgg": {**TERM, "loss": MISSING}, "none": None})
    assert list(loss.weights) == ["l1"]
    assert "are not on this machine" in left_out["vgg"]
    assert "The loss term `vgg` IS OFF in this training" in capsys.readouterr().out


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(RequestError, match="at least one term"):
        build_loss({"vgg": {**TERM, "loss": MISSING}})


class TwoParts(BokehNetwork):
    """Renders through a part with running statistics and one without."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.first_too = nn.Conv2d(3, 3, 1)

    def forward(self, photo, coordinates=None):
        self.seen = coordinates
        return Rendering(self.first_too(self.first(photo)), {})


def test_only_the_named_part_is_left_trainable():
    network = TwoParts()
    freeze_all_but(network, ["first"])
    assert {n for n, p in network.named_parameters() if p.requires_grad} == {
        "first.0.weight", "first.0.bias", "first.1.weight", "first.1.bias",
    }  # fmt: skip
    freeze_all_but(network, ["first.1.weight"])
    assert {n for n, p in network.named_parameters() if p.requires_grad} == {"first.1.weight"}


def test_none_trains_everything_and_unknown_names_are_refused():
    network = TwoParts()
    freeze_all_but(network, None)
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(RequestError, match=r"'frist'.*did you mean `first`"):
        freeze_all_but(network, ["frist"])


def fit(network, **batch):
    module = Restoration(network, WeightedSum({"l1": {**TERM, "loss": L1()}}), {}, lambda p: torch.optim.SGD(p, lr=0.1))
    sample = {"photo": torch.rand(3, 8, 8), "target": torch.rand(3, 8, 8), **batch}
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    sample = {k: (v * 255).byte() if k in ("photo", "target") else v for k, v in sample.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, torch.utils.data.DataLoader([sample] * 4, batch_size=2))
    return module


def test_what_is_frozen_keeps_weights_and_statistics():
    network = TwoParts()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    freeze_all_but(network, ["first_too"])
    module = fit(network)
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"first_too.weight", "first_too.bias"}
    assert module.network.first_too.training
    assert not module.eval().train().network.first[1].training


def test_coordinates_reach_the_networks_that_take_them():
    network = TwoParts()
    fit(network, coordinates=torch.rand(2, 8, 8))
    assert network.seen is None
    network.takes_coordinates = True
    fit(network, coordinates=torch.full((2, 8, 8), 0.25))
    assert torch.equal(network.seen, torch.full((2, 2, 8, 8), 0.25))
