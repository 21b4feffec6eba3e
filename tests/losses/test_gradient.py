"""Edge losses against SciPy and NumPy, with their gradients by torch's own check."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lensblend.losses.gradient import GradientL1, SobelL1, SobelMse

RNG = np.random.default_rng(0)
PREDICTED, TRUTH = RNG.random((2, 2, 3, 8, 9), dtype=np.float32)


def responses(photos, axis):
    return np.stack([[ndimage.sobel(plane, axis=axis, mode="nearest") for plane in photo] for photo in photos])


def differences():
    return [responses(PREDICTED, axis) - responses(TRUTH, axis) for axis in (-1, -2)]


def slopes():
    return [np.diff(PREDICTED, axis=axis) - np.diff(TRUTH, axis=axis) for axis in (-1, -2)]


CASES = {
    SobelL1: lambda: np.mean([np.abs(d).mean() for d in differences()]),
    SobelMse: lambda: np.sum([np.square(d).mean() for d in differences()]),
    GradientL1: lambda: np.sum([np.abs(s).mean() for s in slopes()]),
}


@pytest.mark.parametrize("loss", CASES)
def test_value_is_that_of_numpy(loss):
    value = loss()(torch.from_numpy(PREDICTED), torch.from_numpy(TRUTH))
    assert value.item() == pytest.approx(float(CASES[loss]()), rel=1e-5)


@pytest.mark.parametrize("loss", CASES)
def test_only_edges_count(loss):
    photo = torch.from_numpy(PREDICTED)
    assert loss()(photo, photo + 0.25).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(loss, dtype):
    photo = torch.from_numpy(PREDICTED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss()(photo.to(dtype), torch.from_numpy(TRUTH))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(float(CASES[loss]()), rel=0.02)


@pytest.mark.parametrize("loss", CASES)
def test_gradient_lowers_the_loss(loss):
    photo = torch.from_numpy(PREDICTED.copy()).requires_grad_()
    truth = torch.from_numpy(TRUTH)
    before = loss()(photo, truth)
    before.backward()
    with torch.no_grad():
        assert loss()(photo - 1e-3 * photo.grad / photo.grad.norm(), truth) < before
