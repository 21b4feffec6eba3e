from __future__ import annotations

import numpy as np
import pytest
import torch

from lensblend.losses.pixel import L1, Mse


def test_is_the_mean_absolute_error_and_its_gradient_a_sign() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 2, 3, 5, 4)).astype(np.float32)
    predicted = torch.from_numpy(x).requires_grad_()
    value = L1()(predicted, torch.from_numpy(y))
    value.backward()
    assert value.item() == pytest.approx(np.abs(x - y).mean(), abs=1e-7)
    np.testing.assert_allclose(predicted.grad, np.sign(x - y) / x.size, rtol=1e-6)


def test_mse_is_the_mean_squared_error() -> None:
    x, y = np.random.default_rng(0).random((2, 2, 3, 5, 4)).astype(np.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = Mse()(torch.from_numpy(x), torch.from_numpy(y))
    assert value.item() == pytest.approx(np.square(x - y).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_renderings_are_averaged_in_float32(dtype: torch.dtype) -> None:
    rendered = torch.full((1, 3, 64, 64), 0.501, dtype=dtype)
    target = torch.full((1, 3, 64, 64), 0.5)
    with torch.autocast("cpu", dtype=dtype):
        value = L1()(rendered, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(float(rendered[0, 0, 0, 0]) - 0.5, abs=1e-9)
