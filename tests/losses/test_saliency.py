from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage.metrics import structural_similarity

from lensblend.losses.saliency import BinaryCrossEntropy, MaskSsim, SoftIou
from lensblend.runs.building import build_loss

CONF = Path(__file__).parents[2] / "conf/loss"
Arrays = tuple[np.ndarray, np.ndarray]


def maps(seed: int = 0, soft: bool = False) -> Arrays:
    """Logits (2, h, w) that half agree with their truth: a large and a small disk, the large one at the border."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :53]
    distance = np.stack([np.hypot(rows - 30, columns - 45) - 15, np.hypot(rows - 12, columns - 9) - 4])
    truth = np.clip(0.5 - distance / 6, 0, 1) if soft else (distance < 0).astype(float)
    return rng.normal(-distance / 4, 2.0), truth


def tensors(logits: np.ndarray, truth: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(x)[:, None].float() for x in (logits, truth)]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def cross_entropy(logits: np.ndarray, truth: np.ndarray) -> float:
    saliency = sigmoid(logits)
    return float(np.mean(-truth * np.log(saliency) - (1 - truth) * np.log(1 - saliency)))


def dissimilarity(logits: np.ndarray, truth: np.ndarray) -> float:
    """One minus scikit-image's index over all pixels of maps that lie in a sea of zeros."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    values = []
    for pair in zip(sigmoid(logits), truth, strict=True):
        index = structural_similarity(*(np.pad(image, 20) for image in pair), **options)[1]
        values.append(1 - index[20:-20, 20:-20].mean())
    return float(np.mean(values))


def no_overlap(logits: np.ndarray, truth: np.ndarray) -> float:
    values = []
    for saliency, mask in zip(sigmoid(logits), truth, strict=True):
        values.append(1 - np.sum(saliency * mask) / np.sum(saliency + mask - saliency * mask))
    return float(np.mean(values))


ORACLES = {BinaryCrossEntropy: cross_entropy, MaskSsim: dissimilarity, SoftIou: no_overlap}


@pytest.mark.parametrize("loss", ORACLES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_the_definition(loss: type, soft: bool, seed: int) -> None:
    logits, truth = maps(seed, soft)
    assert loss()(*tensors(logits, truth)).item() == pytest.approx(ORACLES[loss](logits, truth), abs=3e-6)


def test_overlap_is_each_images_own() -> None:
    """Pooled over the batch, the small disk would hardly count."""
    logits, truth = maps()
    pooled = no_overlap(logits.reshape(1, -1), truth.reshape(1, -1))
    assert abs(SoftIou()(*tensors(logits, truth)).item() - pooled) > 0.05


@pytest.mark.parametrize("loss", ORACLES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(loss: type, dtype: torch.dtype) -> None:
    logits, truth = maps()
    with torch.autocast("cpu", dtype=dtype):
        value = loss()(*tensors(logits, truth))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(ORACLES[loss](logits, truth), abs=3e-6)


@pytest.mark.parametrize("loss", ORACLES)
def test_half_precision_is_raised_before_it_is_compared(loss: type) -> None:
    logits, truth = (tensor.bfloat16() for tensor in tensors(*maps(soft=True)))
    value = loss()(logits, truth)
    assert value.dtype == torch.float32
    exact = ORACLES[loss](logits[:, 0].double().numpy(), truth[:, 0].double().numpy())
    assert value.item() == pytest.approx(exact, abs=3e-6)


@pytest.mark.parametrize("loss", ORACLES)
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("size", [0.0, 30.0, 500.0])
def test_certain_logits_give_finite_values_and_gradients(loss: type, empty: bool, size: float) -> None:
    _, truth = tensors(*maps())
    truth = 0 * truth if empty else truth
    for sign in (-1.0, 1.0):
        logits = torch.full_like(truth, sign * size).requires_grad_()
        value = loss()(logits, truth)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


def test_an_empty_mask_overlaps_with_nothing() -> None:
    empty = torch.zeros(1, 1, 32, 32)
    for size in (-500.0, 0.0, 500.0):
        assert SoftIou()(torch.full_like(empty, size), empty).item() == 1


def test_certain_mistakes_keep_their_gradient() -> None:
    logits = torch.full((1, 1, 8, 8), -200.0).requires_grad_()
    loss = BinaryCrossEntropy()(logits, torch.ones(1, 1, 8, 8))
    loss.backward()
    assert loss.item() == pytest.approx(200)
    assert logits.grad.sum().item() == pytest.approx(-1)


@pytest.mark.parametrize("loss", ORACLES)
def test_the_truth_is_the_best_that_can_be_said(loss: type) -> None:
    _, truth = tensors(*maps())
    logits = 100 * (2 * truth - 1)
    assert loss()(logits, truth).item() == pytest.approx(0, abs=1e-6)
    assert loss()(-logits, truth).item() > 0.9


@pytest.mark.parametrize("loss", ORACLES)
def test_gradient_leads_to_the_mask(loss: type) -> None:
    logits, truth = tensors(*maps())
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    objective = loss()
    for _ in range(60):
        optimizer.zero_grad()
        objective(logits, truth).backward()
        optimizer.step()
    assert ((logits > 0) == (truth > 0.5)).float().mean() > 0.97


def test_the_configured_sides_add_up_all_maps() -> None:
    loss = build_loss(yaml.safe_load((CONF / "saliency_sides.yaml").read_text()))[0]
    truth = maps()[1]
    sides = [maps(seed)[0] for seed in range(8)]
    total, values = loss(
        {"side_logits": [tensors(side, truth)[0] for side in sides]}, {"side_logits": tensors(truth, truth)[1]}
    )
    expected = [sum(oracle(side, truth) for side in sides) for oracle in ORACLES.values()]
    assert [values[name].item() for name in ("bce", "ssim", "iou")] == pytest.approx(expected, abs=3e-5)
    assert total.item() == pytest.approx(sum(expected), abs=1e-4)


def test_the_configured_edges_count_as_much_as_the_saliency() -> None:
    loss = build_loss(yaml.safe_load((CONF / "saliency.yaml").read_text()))[0]
    (logits, mask), (edge_logits, edges) = maps(0), maps(1, soft=True)
    total, values = loss(
        {"saliency_logits": tensors(logits, mask)[0], "edge_logits": tensors(edge_logits, edges)[0]},
        {"saliency_logits": tensors(logits, mask)[1], "edge_logits": tensors(edge_logits, edges)[1]},
    )
    expected = [cross_entropy(logits, mask), cross_entropy(edge_logits, edges)]
    assert [values[name].item() for name in ("bce", "edge_bce")] == pytest.approx(expected, abs=3e-6)
    assert total.item() == pytest.approx(sum(expected), abs=6e-6)
