from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lensblend.errors import RequestError
from lensblend.metrics.per_image import PerImageMetric
from lensblend.metrics.saliency import FMeasure, Iou, MeanAbsoluteError


def absolute_error(saliency: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(np.abs(saliency - truth)))


def best_f(saliency: np.ndarray, truth: np.ndarray) -> float:
    """From precision and recall, threshold by threshold, as the measure is defined."""
    mask, best = truth >= 0.5, 0.0
    for k in range(1, 256):
        found = saliency >= k / 255
        hits = np.sum(found & mask)
        if hits:
            precision, recall = hits / np.sum(found), hits / np.sum(mask)
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return best


def overlap(saliency: np.ndarray, truth: np.ndarray) -> float:
    found, mask = saliency >= 0.5, truth >= 0.5
    return float(np.sum(found & mask) / np.sum(found | mask))


ORACLES = {MeanAbsoluteError: absolute_error, FMeasure: best_f, Iou: overlap}


def maps(count: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and soft truths (count, h, w), from nearly right to nearly noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:30, :41]
    distance = np.stack([np.hypot(rows - 15, columns - 5 - 7 * i) - 4 - 2 * i for i in range(count)])
    noise = rng.normal(size=distance.shape) * np.arange(1, count + 1)[:, None, None]
    return noise - distance / 3 - 1, np.clip(0.5 - distance / 5, 0, 1)


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array)[:, None].double() for array in arrays]


def expected(metric: type, logits: np.ndarray, truth: np.ndarray) -> list[float]:
    return [ORACLES[metric](1 / (1 + np.exp(-x)), t) for x, t in zip(logits, truth, strict=True)]


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_the_definition(metric: type, seed: int) -> None:
    logits, truth = maps(seed=seed)
    values = metric().per_image(*tensors(logits, truth))
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values, expected(metric, logits, truth), rtol=0, atol=1e-12)


def test_values_by_hand() -> None:
    """Saliency 1, 0.6, 0.4, 0 on truths 1, 0, 1, 0: of two pixels found, one is right."""
    saliency = torch.tensor([1.0, 0.6, 0.4, 0.0], dtype=torch.float64).view(1, 1, 2, 2)
    truth = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 2, 2)
    batch = saliency.logit(), truth
    assert MeanAbsoluteError().per_image(*batch).item() == pytest.approx((0 + 0.6 + 0.6 + 0) / 4)
    assert Iou().per_image(*batch).item() == pytest.approx(1 / 3)
    # Precision and recall at the three cuts: 1 and 1/2, 1/2 and 1/2, 2/3 and 1; the first gives the best F.
    assert FMeasure().per_image(*batch).item() == pytest.approx(1.3 * 0.5 / (0.3 + 0.5))


def test_there_are_255_thresholds() -> None:
    """Saliency below 1/255 is not found at all, and of two values between thresholds neither without the other."""
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)

    def best(*levels: float) -> float:
        saliency = torch.tensor(levels, dtype=torch.float64).view(1, 1, 1, 2) / 255
        return FMeasure().per_image(saliency.logit(), mask).item()

    assert best(0.9, 0.0) == 0
    assert best(1.1, 0.0) == 1
    assert best(254.9, 254.1) == pytest.approx(1.3 * 0.5 / (0.15 + 1))
    assert best(254.1, 253.9) == 1
    assert best(255, 254.9) == 1


@pytest.mark.parametrize("metric", [FMeasure, Iou])
def test_soft_truths_are_foreground_from_one_half_on(metric: type) -> None:
    logits = torch.tensor([9.0, 9.0, -9.0, -9.0]).view(1, 1, 2, 2)
    truth = torch.tensor([0.5, 128 / 255, 127 / 255, 0.0]).view(1, 1, 2, 2)
    assert metric().per_image(logits, truth).item() == 1


def test_undecided_pixels_are_foreground() -> None:
    assert Iou().per_image(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item() == 1


@pytest.mark.parametrize(("metric", "value"), [(MeanAbsoluteError, 0.0), (FMeasure, 0.0), (Iou, 1.0)])
def test_empty_masks(metric: type, value: float) -> None:
    empty = torch.zeros(1, 1, 8, 8)
    assert metric().per_image(empty - 900, empty).item() == value
    assert metric().per_image(empty + 900, empty).item() == (1 if metric is MeanAbsoluteError else 0)


@pytest.mark.parametrize("metric", ORACLES)
def test_the_metric_is_the_mean_of_images_whatever_the_batches(metric: type) -> None:
    logits, truth = maps(count=7)
    mean = np.mean(expected(metric, logits, truth))
    for sizes in ([7], [1] * 7, [4, 3], [2, 5]):
        one = metric()
        for x, t in zip(*(tensor.split(sizes) for tensor in tensors(logits, truth)), strict=True):
            one.update(x, t)
        assert one.compute().item() == pytest.approx(mean, abs=1e-12), sizes


@pytest.mark.parametrize("metric", ORACLES)
def test_processes_add_up_to_one(metric: type) -> None:
    """Torchmetrics merges states as it reduces them over processes; the shares are unequal on purpose."""
    logits, truth = tensors(*maps(count=7))
    whole, first, second = metric(), metric(), metric()
    whole.update(logits, truth)
    first.update(logits[:5], truth[:5])
    second.update(logits[5:], truth[5:])
    first.merge_state(second)
    assert first.compute().item() == pytest.approx(whole.compute().item(), abs=1e-12)


@pytest.mark.parametrize("metric", ORACLES)
def test_a_nan_is_not_hidden(metric: type) -> None:
    logits, truth = tensors(*maps(count=2))
    logits[1, 0, 8, 8] = torch.nan
    assert metric().per_image(logits, truth).isnan().tolist() == [False, True]


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(metric: type, dtype: torch.dtype) -> None:
    """What a network gives in single precision is scored in double."""
    logits, truth = (array.astype(np.float32) for array in maps())
    with torch.autocast("cpu", dtype=dtype):
        values = metric().per_image(*(torch.from_numpy(array)[:, None] for array in (logits, truth)))
    exact = expected(metric, logits.astype(np.float64), truth.astype(np.float64))
    np.testing.assert_allclose(values, exact, rtol=0, atol=1e-12)


def test_certain_logits_are_scored() -> None:
    logits = torch.tensor([torch.inf, -torch.inf, 900.0, -900.0]).view(1, 1, 2, 2)
    truth = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 2, 2)
    assert [metric().per_image(logits, truth).item() for metric in ORACLES] == [0, 1, 1]


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize(
    ("logits", "truth", "message"),
    [
        (torch.zeros(1, 1, 4, 4), torch.zeros(2, 1, 4, 4), r"\(1, 1, 4, 4\) and \(2, 1, 4, 4\); bring both"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), r"maps \(b, 1, h, w\), but got \(1, 3, 4, 4\)"),
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), r"but got \(1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4).bool(), r"torch.float32 and torch.bool; convert a mask"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 255.0), r"values from 255 to 255; divide"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), -0.1), r"from -0.1"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), torch.nan), r"from nan to nan"),
    ],
)
def test_maps_that_would_give_a_wrong_number_are_refused(
    metric: type, logits: Tensor, truth: Tensor, message: str
) -> None:
    # The undecorated method is what a training runs: the test run checks shapes on top.
    per_image = metric.per_image
    while hasattr(per_image, "__wrapped__"):
        per_image = per_image.__wrapped__
    with pytest.raises(RequestError, match=message):
        per_image(metric(), logits, truth)


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize(("value", "message"), [(torch.nan, "nan to nan"), (2.0, "0 to 2"), (-0.1, "-0.1 to 0")])
def test_truths_out_of_reach_are_refused_with_the_mean(
    metric: type, value: float, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lensblend.metrics.per_image._at_hand", lambda tensor: False)
    one = metric()
    truth = torch.zeros(2, 1, 4, 4)
    truth[1, 0, 2, 2] = value
    for batch in (truth[:1], truth, truth[:1]):
        one.update(torch.zeros_like(batch), batch)
    with pytest.raises(RequestError, match=rf"saliency is in \[0, 1\], but got values from {message}; divide"):
        one.compute()


def test_every_metric_has_a_name_of_its_own_a_direction_and_what_it_is_on() -> None:
    assert {metric.name: (metric.higher_is_better, metric.compares) for metric in ORACLES} == {
        "mae": (False, "saliency_logits"),
        "f_measure": (True, "saliency_logits"),
        "iou": (True, "saliency_logits"),
    }
    assert PerImageMetric.compares == "bokeh"
