"""Which parameters are trained otherwise, by hand on a small network, and that an optimizer takes it so."""

from functools import partial

import pytest
import torch
from torch import nn

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.nn.rendering import BokehNetwork
from lensblend.training.optimizing import check_optimizing
from lensblend.training.parameter_groups import check_group, parameter_groups
from lensblend.training.phases import Phase
from lensblend.training.restoration import Restoration


class Small(BokehNetwork):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, photo):
        raise NotImplementedError


def names(network, groups):
    """Options and the names of what has them."""
    by_identity = {id(parameter): name for name, parameter in network.named_parameters()}
    return [
        ({key: value for key, value in group.items() if key != "params"}, [by_identity[id(p)] for p in group["params"]])
        for group in parameter_groups(network, groups)
    ]


NORMS = ["backbone.1.weight", "backbone.1.bias", "backbone.2.weight", "backbone.2.bias"]


def test_groups_act_together_on_what_is_in_several():
    groups = {
        "slow": {"names": ["backbone"], "lr_factor": 0.1},
        "undecayed": {"kinds": ["norm", "bias"], "weight_decay": 0.0},
    }
    assert names(Small(), groups) == [
        ({"name": "rest"}, ["head.weight"]),
        ({"name": "slow", "lr_factor": 0.1}, ["backbone.0.weight"]),
        ({"name": "slow+undecayed", "lr_factor": 0.1, "weight_decay": 0.0}, ["backbone.0.bias", *NORMS]),
        ({"name": "undecayed", "weight_decay": 0.0}, ["head.bias"]),
    ]


@pytest.mark.parametrize(
    ("node", "members"),
    [
        ({"names": ["head"]}, ["head.weight", "head.bias"]),
        ({"names": ["*.bias"]}, ["backbone.0.bias", "backbone.1.bias", "backbone.2.bias", "head.bias"]),
        ({"names": ["backbone.1"]}, NORMS[:2]),
        ({"names": ["backbone.1.weight"]}, NORMS[:1]),
        ({"kinds": ["norm"]}, NORMS),
        ({"kinds": ["bias"]}, ["backbone.0.bias", "head.bias"]),
    ],
)
def test_names_are_beginnings_or_patterns_and_kinds_are_those_of_the_layers(node, members):
    assert names(Small(), {"group": {**node, "lr_factor": 2.0}})[-1] == ({"name": "group", "lr_factor": 2.0}, members)


def test_the_later_group_decides_what_both_say_and_what_is_frozen_is_in_none():
    network = Small()
    network.head.weight.requires_grad_(False)
    groups = {"all": {"names": ["head", "backbone"], "lr_factor": 0.5}, "head": {"names": ["head"], "lr_factor": 2.0}}
    assert names(network, groups)[-1] == ({"name": "all+head", "lr_factor": 2.0}, ["head.bias"])


def test_an_optimizer_takes_them_with_rates_of_their_own(tmp_path):
    module = Restoration(
        Small(),
        WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}}),
        {},
        partial(torch.optim.AdamW, lr=0.4, weight_decay=0.1),
        groups={"slow": {"names": ["backbone"], "lr_factor": 0.1, "weight_decay": 0.0}},
    )
    head, slow = module.network_optimizer().param_groups
    assert (head["lr"], head["weight_decay"], slow["lr"], slow["weight_decay"]) == (0.4, 0.1, pytest.approx(0.04), 0.0)
    assert "lr_factor" not in slow


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (3, "`groups.g` is a group of keys"),
        ({"names": "head", "lr_factor": 1.0}, "`groups.g.names` is a list of words, but got 'head'"),
        ({"kinds": ["norms"], "lr_factor": 1.0}, "did you mean 'norm'"),
        ({"lr_factor": 1.0}, "says of no parameter that it is in it"),
        ({"names": ["head"]}, "would have no effect"),
        ({"names": ["head"], "lr": 1.0}, "give `lr_factor`, times it"),
        ({"names": ["head"], "weight_decy": 1.0}, "did you mean `weight_decay`"),
        ({"names": ["head"], "lr_factor": 0}, "is positive, but got 0"),
        ({"names": ["head"], "lr_factor": True}, "is positive, but got True"),
    ],
)
def test_a_wrong_group_is_refused_with_its_place(group, message):
    with pytest.raises(RequestError, match=message):
        check_group("g", group, torch.optim.AdamW([torch.zeros(1)]).defaults)
    phase = Phase([32, 32], 1, 4, 1e-3, 1e-4, {}, groups={"g": group}, optimizer={"_target_": "torch.optim.AdamW"})
    with pytest.raises(RequestError, match=f"schedule.phases.p: .*{message}"):
        check_optimizing(phase, "schedule.phases.p", True)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"names": ["hed"]}, "has 'hed', which no parameter of Small is called; did you mean `head`"),
        ({"names": ["head.1"]}, "'head.1', which no parameter"),
    ],
)
def test_a_name_of_nothing_is_refused(node, message):
    with pytest.raises(RequestError, match=message):
        parameter_groups(Small(), {"g": {**node, "lr_factor": 2.0}})


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"_target_": "torch.optim.Adam"}, "it takes a learning-rate scheduler"),
        ({"_target_": "torch.optim.lr_scheduler.StepLR"}, "step_size"),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "interval": "day"}, "did you mean"),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 0}, "cannot train a network so"),
        ({"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "interval": "step"}, "use epoch"),
    ],
)
def test_a_wrong_scheduler_is_refused_with_its_place(scheduler, message):
    phase = Phase([32, 32], 1, 4, 1e-3, 1e-4, {}, scheduler=scheduler)
    with pytest.raises(RequestError, match=rf"`schedule.phases.p.scheduler.*{message}"):
        check_optimizing(phase, "schedule.phases.p", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup": -1.0}, "`warmup` is a whole number of steps"),
        ({"warmup": 2.5}, "or below 1 a share of the phase's, but got 2.5"),
        ({"warmup": 9.0, "max_steps": 9}, "`warmup` is 9 steps of `max_steps` = 9"),
        ({"warmup": 9.0, "scheduler": {"_target_": "x"}}, "`scheduler` sets the learning rate by itself"),
        ({"max_steps": 0}, "`max_steps` is at least 1, but got 0"),
        ({"max_epochs": None}, "would never end; give one"),
    ],
)
def test_a_wrong_length_or_warm_up_is_refused(changes, message):
    with pytest.raises(RequestError, match=message):
        Phase(
            **{
                "image_size": [32, 32],
                "batch_size": 1,
                "max_epochs": 4,
                "lr": 1e-3,
                "lr_final": 1e-4,
                "loss": {},
                **changes,
            }
        )
