from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from lensblend.errors import RequestError
from lensblend.metrics.depth import OrdinalAccuracy, SiRmse

METRICS = [SiRmse, OrdinalAccuracy]


def ranks(seed: int = 0) -> np.ndarray:
    """Return a log depth whose pixels all differ by more than the tolerance."""
    return 0.03 * np.random.default_rng(seed).permutation(30 * 40).reshape(1, 1, 30, 40)


def score(metric: type, predicted: np.ndarray, truth: np.ndarray) -> list[float]:
    return metric().per_image(torch.from_numpy(predicted), torch.from_numpy(truth)).tolist()


@pytest.mark.parametrize("offset", [0.0, 40.0])
def test_si_rmse_is_the_root_of_the_scale_invariant_error(offset: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 1, 20, 30))
    predicted = truth + offset + rng.normal(0.2, [[[[0.1]]], [[[0.5]]], [[[2.0]]]], truth.shape)
    errors = predicted - truth
    expected = [np.sqrt(np.mean(r**2) - np.mean(r) ** 2) for r in errors]
    assert score(SiRmse, predicted, truth) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("noise", [1.0, 5.0, 12.0, 40.0])
def test_ordinal_accuracy_estimates_the_share_of_all_pairs(noise: float) -> None:
    """Kendall's tau is the share of concordant pairs minus that of the others; 4096 of all pairs are sampled."""
    truth = ranks()
    predicted = truth + np.random.default_rng(1).normal(0, noise, truth.shape)
    expected = (kendalltau(predicted.ravel(), truth.ravel()).statistic + 1) / 2
    assert score(OrdinalAccuracy, predicted, truth) == pytest.approx([expected], abs=0.03)


def test_order_is_all_that_counts() -> None:
    truth = ranks()
    assert score(OrdinalAccuracy, np.expm1(truth / 9) - 3, truth) == [1.0]
    assert score(OrdinalAccuracy, -truth, truth) == [0.0]
    assert score(OrdinalAccuracy, np.zeros_like(truth), truth) == [0.0]


def test_pairs_that_are_truly_as_far_do_not_count() -> None:
    truth = np.zeros((1, 1, 30, 40))
    truth[..., 20:] = 1
    predicted = truth + np.random.default_rng(0).uniform(-0.4, 0.4, truth.shape)
    assert score(OrdinalAccuracy, predicted, truth) == [1.0]
    truth += np.random.default_rng(1).uniform(-0.009, 0.009, truth.shape)
    assert score(OrdinalAccuracy, predicted, truth) == [1.0]
    assert score(OrdinalAccuracy, predicted, np.zeros_like(truth)) == [1.0]


def test_equal_maps_are_perfect() -> None:
    truth = ranks()
    assert score(SiRmse, truth, truth) == [0.0]
    assert score(OrdinalAccuracy, truth, truth) == [1.0]


@pytest.mark.parametrize("metric", METRICS)
def test_the_metric_is_the_mean_of_images_whatever_the_batches(metric: type) -> None:
    torch.manual_seed(0)
    truth = 3 * torch.rand(5, 1, 24, 32)
    predicted = truth + torch.linspace(0.1, 2, 5).view(5, 1, 1, 1) * torch.randn_like(truth)
    expected = metric().per_image(predicted, truth).mean().item()
    for sizes in ([5], [1] * 5, [2, 3]):
        one = metric()
        for x, y in zip(predicted.split(sizes), truth.split(sizes), strict=True):
            one.update(x, y)
        assert one.compute().item() == pytest.approx(expected, abs=1e-12), sizes


@pytest.mark.parametrize("metric", METRICS)
def test_a_nan_is_not_hidden(metric: type) -> None:
    predicted = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    truth = predicted.flip(0)
    predicted[1, 0, 8, 8] = torch.nan
    assert metric().per_image(predicted, truth).isnan().tolist() == [False, True]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(metric: type, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    predicted, truth = torch.rand(2, 2, 1, 24, 32)
    expected = metric().per_image(predicted, truth)
    with torch.autocast("cpu", dtype=dtype):
        found = metric().per_image(predicted, truth)
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (torch.zeros(1, 1, 8, 8), torch.zeros(2, 1, 8, 8), r"\(1, 1, 8, 8\) and torch.float32 \(2, 1, 8, 8\); predict"),
        (torch.zeros(1, 1, 8, 7), torch.zeros(1, 1, 8, 8), r"\(1, 1, 8, 7\) and"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), r"of equal shape \(b, 1, h, w\), but got"),
        (torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), r"got torch.float32 \(1, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8).byte(), torch.zeros(1, 1, 8, 8), "got torch.uint8"),
    ],
)
def test_maps_that_would_give_a_wrong_number_are_refused(
    metric: type, predicted: torch.Tensor, truth: torch.Tensor, message: str
) -> None:
    # The undecorated method is what a training runs: the test run checks shapes on top.
    prepare = metric.prepare
    while hasattr(prepare, "__wrapped__"):
        prepare = prepare.__wrapped__
    with pytest.raises(RequestError, match=message):
        prepare(metric(), predicted, truth)


def test_every_metric_says_what_it_scores_its_name_and_its_direction() -> None:
    found = {metric.name: (metric.compares, metric().higher_is_better) for metric in METRICS}
    assert found == {"si_rmse": ("log_depth", False), "ordinal": ("log_depth", True)}
