"""Names under which a training logs do not stand for two things."""

import pytest
import torch
from torch import nn

from lensblend.errors import RequestError
from lensblend.training.logged import check_names, logged_names, rates


@pytest.mark.parametrize(
    ("metric", "term"), [("loss", "l1"), ("loss/l1", "l1"), ("psnr", "loss"), ("psnr", "grad_norm")]
)
def test_a_name_that_would_stand_for_two_things_is_refused(metric, term):
    with pytest.raises(RequestError, match="rename it"):
        check_names([metric], [term])


def test_no_name_is_logged_twice():
    check_names(["psnr", "losses"], ["l1", "epoch"])
    names = logged_names(["psnr", "losses"], ["l1", "generator"], ["discriminator"])
    assert len(set(names)) == len(names)
    assert {"val/psnr", "val/loss", "val/loss/l1", "train_epoch/loss", "train_epoch/discriminator"} <= set(names)


def optimizer(*rates):
    return torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates])


@pytest.mark.parametrize(
    ("optimizers", "expected"),
    [
        ([optimizer(0.5)], {"lr": 0.5}),
        ([optimizer(0.5, 0.25)], {"lr": 0.5, "lr/0": 0.5, "lr/1": 0.25}),
        ([optimizer(0.5), optimizer(2.0)], {"lr": 0.5, "lr/network": 0.5, "lr/discriminator": 2.0}),
        (
            [optimizer(0.5, 0.25), optimizer(2.0)],
            {"lr": 0.5, "lr/network/0": 0.5, "lr/network/1": 0.25, "lr/discriminator": 2.0},
        ),
    ],
)
def test_every_group_of_parameters_tells_its_rate(optimizers, expected):
    assert rates(optimizers, ["network", "discriminator"]) == expected
