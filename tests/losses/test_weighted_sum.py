from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.structural import NegativeSsim
from lensblend.losses.weighted_sum import WeightedSum


class Recorder(nn.Module):
    """A mean squared error that remembers what it was given."""

    def forward(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        self.grad_enabled = torch.is_grad_enabled()
        self.autocast = torch.is_autocast_enabled("cpu")
        self.dtypes = predicted.dtype, truth.dtype
        return (predicted - truth).square().mean()


def term(weight: float = 1.0, compares: str = "bokeh", loss: nn.Module | None = None) -> dict:
    return {"weight": weight, "compares": compares, "loss": loss or L1()}


def photos(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    predicted, target = torch.rand(2, *(shape or (2, 3, 16, 24)), generator=torch.Generator().manual_seed(0))
    return predicted.requires_grad_(), target


def test_total_and_gradient_are_weighted_sums() -> None:
    predicted, target = photos()
    total, values = WeightedSum({"l1": term(0.5), "mse": term(3, loss=Recorder())})(
        {"bokeh": predicted}, {"bokeh": target}
    )
    total.backward()
    difference = (predicted - target).detach().double().numpy()
    l1, mse = np.abs(difference).mean(), (difference**2).mean()
    assert total.item() == pytest.approx(0.5 * l1 + 3 * mse, abs=1e-6)
    assert {name: value.item() for name, value in values.items()} == pytest.approx({"l1": l1, "mse": mse}, abs=1e-6)
    assert not any(value.requires_grad for value in values.values())
    expected = (0.5 * np.sign(difference) + 3 * 2 * difference) / difference.size
    np.testing.assert_allclose(predicted.grad, expected, atol=1e-8)


def test_weight_zero_is_logged_but_not_trained() -> None:
    predicted, target = photos()
    recorder = Recorder()
    total, values = WeightedSum({"l1": term(), "mse": term(0, loss=recorder)})({"bokeh": predicted}, {"bokeh": target})
    assert not recorder.grad_enabled
    assert values["mse"].item() == pytest.approx((predicted - target).square().mean().item())
    assert total.item() == pytest.approx(values["l1"].item())
    assert torch.is_grad_enabled()


def test_no_gradient_is_kept_in_validation() -> None:
    predicted, target = photos()
    recorder = Recorder()
    with torch.no_grad():
        total, _ = WeightedSum({"mse": term(loss=recorder)})({"bokeh": predicted}, {"bokeh": target})
    assert not recorder.grad_enabled
    assert not total.requires_grad


def test_on_picks_the_same_key_on_both_sides() -> None:
    predicted = {"bokeh": torch.zeros(1, 3, 4, 4), "mask": torch.full((1, 1, 4, 4), 0.75)}
    truth = {"bokeh": torch.zeros(1, 3, 4, 4), "mask": torch.ones(1, 1, 4, 4, dtype=torch.bool)}
    total, values = WeightedSum({"l1": term(), "mask": term(2, compares="mask")})(predicted, truth)
    assert values["l1"].item() == 0
    assert total.item() == pytest.approx(2 * 0.25)


def test_pyramid_compares_every_level_with_the_target_reduced_by_area() -> None:
    target = np.random.default_rng(0).random((48, 72, 3)).astype(np.float32)
    sizes = [(24, 36), (12, 18), (16, 24)]
    reduced = [cv2.resize(target, (width, height), interpolation=cv2.INTER_AREA) for height, width in sizes]
    levels = [torch.full((1, 3, *size), 0.25) for size in sizes]
    truth = {"bokeh": torch.from_numpy(target).permute(2, 0, 1)[None]}
    total, values = WeightedSum({"coarse": term(2, compares="pyramid")})(
        {"bokeh": truth["bokeh"], "pyramid": levels}, truth
    )
    expected = sum(np.abs(0.25 - image).mean() for image in reduced)
    assert values["coarse"].item() == pytest.approx(expected, abs=1e-6)
    assert total.item() == pytest.approx(2 * expected, abs=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_terms_are_computed_in_float32_under_autocast(dtype: torch.dtype) -> None:
    predicted, target = photos()
    recorder = Recorder()
    with torch.autocast("cpu", dtype=dtype):
        total, _ = WeightedSum({"mse": term(loss=recorder)})({"bokeh": predicted.to(dtype)}, {"bokeh": target})
    assert recorder.dtypes == (torch.float32, torch.float32)
    assert not recorder.autocast
    assert total.dtype == torch.float32


def test_losses_are_registered_so_that_they_move_with_the_module() -> None:
    loss = WeightedSum({"head": term(loss=nn.Sequential(nn.Linear(1, 1))), "ssim": term(0, loss=NegativeSsim())})
    assert len(list(loss.parameters())) == 2


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ({"bokeh": 1}, {"bokeh": 1, "mask": 1}, r"`m` compares `mask`, but the network returns only \['bokeh'\]"),
        ({"bokeh": 1, "mask": 1}, {"bokeh": 1}, r"`m` compares `mask`, but the data carries only \['bokeh'\]"),
        ({"mask": 1}, {"bokeh": 1, "mask": None}, r"the data carries only \['bokeh'\]"),
        ({"mask": 1}, {"mask": 2}, r"`mask` is \(1, 3, 8, 8\) from the network and \(1, 3, 16, 16\)"),
        ({"mask": []}, {"mask": 1}, r"`m` compares `mask`, but the network returned none"),
    ],
)
def test_what_cannot_be_compared_is_named(predicted: dict, truth: dict, message: str) -> None:
    def fill(value: object) -> object:
        return torch.zeros(1, 3, 8 * value, 8 * value) if isinstance(value, int) else value

    loss = WeightedSum({"m": term(compares="mask")})
    with pytest.raises(RequestError, match=message):
        loss({k: fill(v) for k, v in predicted.items()}, {k: fill(v) for k, v in truth.items()})


def test_a_pyramid_level_larger_than_the_target_is_refused() -> None:
    loss = WeightedSum({"p": term(compares="pyramid")})
    with pytest.raises(RequestError, match=r"`pyramid` is \(1, 3, 16, 16\)"):
        loss({"pyramid": [torch.zeros(1, 3, 16, 16)]}, {"bokeh": torch.zeros(1, 3, 8, 8)})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, r"at least one term, but got the weights \{\}"),
        ({"l1": term(0), "ssim": term(0.0)}, r"weights \{'l1': 0, 'ssim': 0.0\}; make one positive"),
        ({"l1": term(-1)}, "at least 0 .*, but got -1"),
        ({"l1": term(math.nan)}, "finite.*but got nan"),
        ({"l1": term(math.inf)}, "finite.*but got inf"),
        ({"l1": term("1")}, "but got '1'"),
        ({"l1": term(True)}, "but got True"),
        ({"l1": {"weight": 1, "loss": L1()}}, r"`weight`, `compares` and `loss`, but got \['loss', 'weight'\]"),
        ({"l1": term() | {"scale": 2}}, r"but got \['compares', 'loss', 'scale', 'weight'\]"),
        ({"l1": {"weight": 1, "compares": "bokeh", "loss": {"a": 1}}}, "`l1` is a module, but got {'a': 1}"),
        ({"a.b": term()}, "no dot, but got 'a.b'"),
    ],
)
def test_wrong_terms_are_refused(terms: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        WeightedSum(terms)


def test_decay_weighs_coarser_levels_less():
    levels = [torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 1, 1)]
    truth = {"bokeh": torch.ones(1, 3, 8, 8)}

    def value(**decay):
        term = {"weight": 1.0, "compares": "pyramid", "loss": nn.L1Loss(), **decay}
        return WeightedSum({"l1": term})({"pyramid": levels}, truth)[0].item()

    assert value() == 3
    assert value(decay=0.5) == 0.5 + 0.25 + 0.125


@pytest.mark.parametrize(("compares", "decay"), [("bokeh", 0.5), ("pyramid", 0), ("pyramid", -1.0), ("pyramid", True)])
def test_impossible_decays_are_refused(compares, decay):
    with pytest.raises(RequestError, match="`decay` of term `l1`"):
        WeightedSum({"l1": {"weight": 1.0, "compares": compares, "loss": nn.L1Loss(), "decay": decay}})
