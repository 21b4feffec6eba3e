from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.losses.depth import GradientMatching, Ordinal, ScaleInvariant
from lensblend.ops.depth import pixel_pairs

CONF = Path(__file__).parents[2] / "conf/loss"
LOSSES = [ScaleInvariant, GradientMatching, Ordinal]


def maps(seed: int = 0, size: tuple[int, int] = (21, 34)) -> tuple[np.ndarray, np.ndarray]:
    """Return two float32 maps of log depths of two images, the truth with equal and with ordered pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (2, 1, *size)) / 2
    return (truth + rng.normal(0.3, [[[[0.2]]], [[[1.0]]]], truth.shape)).astype(np.float32), truth.astype(np.float32)


def value(loss: nn.Module, predicted: np.ndarray, truth: np.ndarray) -> float:
    return loss(torch.from_numpy(predicted), torch.from_numpy(truth)).item()


def scale_invariant(predicted: np.ndarray, truth: np.ndarray) -> float:
    errors = np.float64(predicted) - truth
    return float(np.mean([np.mean(r**2) - np.mean(r) ** 2 for r in errors]))


def gradient(predicted: np.ndarray, truth: np.ndarray) -> float:
    total = 0.0
    for step in (1, 2, 4, 8):
        error = (np.float64(predicted) - truth)[:, :, ::step, ::step]
        total += np.abs(error[..., 1:] - error[..., :-1]).mean()
        total += np.abs(error[..., 1:, :] - error[..., :-1, :]).mean()
    return total


def ordinal(predicted: np.ndarray, truth: np.ndarray, pairs: int, tolerance: float) -> float:
    costs = []
    positions = pixel_pairs(truth.shape[-2:], pairs).T.tolist()
    for z, t in zip(predicted.reshape(2, -1), truth.reshape(2, -1), strict=True):
        for i, j in positions:
            delta = float(z[i]) - float(z[j])
            if abs(t[i] - t[j]) <= tolerance:
                costs.append(delta**2)
            else:
                costs.append(math.log(1 + math.exp(-delta if t[i] > t[j] else delta)))
    return float(np.mean(costs))


@pytest.mark.parametrize("seed", range(3))
def test_values_are_the_formulas(seed: int) -> None:
    predicted, truth = maps(seed)
    assert value(ScaleInvariant(), predicted, truth) == pytest.approx(scale_invariant(predicted, truth), rel=1e-5)
    assert value(GradientMatching(), predicted, truth) == pytest.approx(gradient(predicted, truth), rel=1e-5)
    assert value(Ordinal(), predicted, truth) == pytest.approx(ordinal(predicted, truth, 1024, 0.02), rel=1e-5)
    assert value(Ordinal(77, 0.6), predicted, truth) == pytest.approx(ordinal(predicted, truth, 77, 0.6), rel=1e-5)


def test_scale_invariant_is_a_variance_in_each_image_not_over_the_batch() -> None:
    truth = np.zeros((2, 1, 8, 8), np.float32)
    predicted = truth + np.float32([0, 5]).reshape(2, 1, 1, 1)
    assert value(ScaleInvariant(), predicted, truth) == 0
    predicted[0, 0, :4] += 1  # half the pixels one too far: a variance of 1/4 in the first image
    assert value(ScaleInvariant(), predicted, truth) == pytest.approx(0.25 / 2, rel=1e-6)


def test_scale_invariant_has_the_gradient_of_a_variance() -> None:
    predicted, truth = maps()
    leaf = torch.from_numpy(predicted).requires_grad_()
    ScaleInvariant()(leaf, torch.from_numpy(truth)).backward()
    error = np.float64(predicted) - truth
    expected = 2 * (error - error.mean(axis=(1, 2, 3), keepdims=True)) / error.size
    np.testing.assert_allclose(leaf.grad, expected, atol=1e-8)


def test_a_slope_counts_once_for_every_pixel_it_spans() -> None:
    truth = np.zeros((1, 1, 32, 40), np.float32)
    columns = np.float32(0.25) * np.arange(40, dtype=np.float32)
    assert value(GradientMatching(), truth + columns, truth) == pytest.approx(0.25 * (1 + 2 + 4 + 8), rel=1e-6)
    rows = np.float32(0.5) * np.arange(32, dtype=np.float32)[:, None]
    assert value(GradientMatching(), truth - rows, truth) == pytest.approx(0.5 * (1 + 2 + 4 + 8), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_constant_added_to_the_prediction_changes_nothing(loss: type) -> None:
    predicted, truth = maps()
    expected = value(loss(), predicted, truth)
    assert value(loss(), predicted + np.float32(2.5), truth) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [ScaleInvariant, GradientMatching])
def test_another_scale_does_change_it(loss: type) -> None:
    truth = maps()[1]
    assert value(loss(), truth, truth) == 0
    assert value(loss(), 2 * truth, truth) > 0.1


def test_the_right_order_costs_less_than_none_and_none_less_than_the_reverse() -> None:
    truth = np.random.default_rng(0).permutation(400).reshape(1, 1, 20, 20).astype(np.float32)
    flat = np.zeros_like(truth)
    right, none, reverse = (value(Ordinal(), z, truth) for z in (truth, flat, -truth))
    assert right < 0.05
    assert none == pytest.approx(math.log(2), rel=1e-6)
    assert reverse > 100


def test_equally_far_pixels_are_drawn_together() -> None:
    predicted, truth = torch.from_numpy(maps()[0]).requires_grad_(), torch.zeros(2, 1, 21, 34)
    optimizer = torch.optim.SGD([predicted], lr=200.0)
    before = predicted.detach().std()
    for _ in range(20):
        optimizer.zero_grad()
        Ordinal()(predicted, truth).backward()
        optimizer.step()
    assert predicted.std() < 0.7 * before


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_descent_leads_to_the_order_of_the_truth(loss: type) -> None:
    truth = torch.from_numpy(np.sort(np.random.default_rng(0).random((1, 1, 16, 16)).astype(np.float32), axis=-1) * 3)
    predicted = torch.zeros_like(truth, requires_grad=True)
    optimizer = torch.optim.Adam([predicted], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss()(predicted, truth).backward()
        optimizer.step()
    assert np.corrcoef(predicted.detach().flatten(), truth.flatten())[0, 1] > 0.9


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_a_pure_function(loss: type) -> None:
    predicted, truth = maps()
    torch.manual_seed(1)
    first = value(loss(), predicted, truth)
    state = torch.get_rng_state()
    assert value(loss(), predicted, truth) == first
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(loss: type, dtype: torch.dtype) -> None:
    predicted, truth = (torch.from_numpy(log_depth) for log_depth in maps())
    rounded = predicted.to(dtype)
    expected = loss()(rounded.float(), truth).item()
    with torch.autocast("cpu", dtype=dtype):
        found = loss()(rounded, truth)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_sides_without_a_slope_at_the_coarsest_scale_are_refused() -> None:
    def zeros(*size: int) -> Tensor:
        return torch.zeros(1, 1, *size)

    with pytest.raises(RequestError, match=r"Sides of 9 pixels or more .* got 8 × 40"):
        GradientMatching()(zeros(8, 40), zeros(8, 40))
    assert GradientMatching()(zeros(9, 9), zeros(9, 9)).item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 0}, "1 or more, but got 0; use 1024"),
        ({"tolerance": -0.1}, "0 or more, but got -0.1; use 0.02"),
        ({"tolerance": math.nan}, "but got nan"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Ordinal(**arguments)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("depth", {"ScaleInvariant": 1.0, "GradientMatching": 0.5, "Ordinal": 0.1}),
        ("saliency_and_depth", {"BinaryCrossEntropy": 0.1, "ScaleInvariant": 0.1, "GradientMatching": 0.05}),
    ],
)
def test_the_configured_terms_have_their_weights_and_compare_what_they_are_made_for(name: str, expected: dict) -> None:
    content = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    terms = {term["loss"]["_target_"].rpartition(".")[2]: term for term in content.values()}
    assert {target: term["weight"] for target, term in terms.items()} == expected
    for target, term in terms.items():
        assert term["compares"] == ("saliency_logits" if target == "BinaryCrossEntropy" else "log_depth")
