from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

from lensblend.errors import RequestError
from lensblend.losses.structural import Dssim, MsSsim, NegativeSsim


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two photos and noisy copies, (2, h, w, 3)."""
    rng = np.random.default_rng(seed)
    x = np.stack([cv2.GaussianBlur(rng.random((40, 52, 3)), (0, 0), sigma) for sigma in (1, 3)])
    return x, np.clip(x + rng.normal(0, [[[[0.05]]], [[[0.2]]]], x.shape), 0, 1)


def tensors(*images: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(image).permute(0, 3, 1, 2).float() for image in images]


def zero_padded(x: np.ndarray, y: np.ndarray) -> float:
    """Wang's index where the filters see zeros outside, by SciPy, in float64."""
    taps = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)[:, 0]

    def mean(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, taps, 1, mode="constant"), taps, 2, mode="constant")

    mu_x, mu_y = mean(x), mean(y)
    luminance = (2 * mu_x * mu_y + 1e-4) / (mu_x**2 + mu_y**2 + 1e-4)
    contrast = (2 * (mean(x * y) - mu_x * mu_y) + 9e-4) / (mean(x * x) - mu_x**2 + mean(y * y) - mu_y**2 + 9e-4)
    return float(np.mean(luminance * contrast))


def test_default_is_minus_ssim_with_a_border_of_zeros() -> None:
    x, y = pair()
    assert NegativeSsim()(*tensors(x, y)).item() == pytest.approx(-zero_padded(x, y), abs=2e-6)


def test_valid_border_is_minus_scikit_images() -> None:
    x, y = pair()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = np.mean([structural_similarity(a, b, channel_axis=2, **options) for a, b in zip(x, y, strict=True)])
    assert NegativeSsim(border="valid")(*tensors(x, y)).item() == pytest.approx(-theirs, abs=2e-6)


def test_gradient_leads_to_the_target() -> None:
    x, y = (photo[:1] for photo in tensors(*pair()))
    x.requires_grad_()
    loss = NegativeSsim()
    optimizer = torch.optim.Adam([x], lr=0.01)
    start = (x.detach() - y).abs().mean()
    for _ in range(25):
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    assert loss(x, y).item() < -0.97
    assert (x.detach() - y).abs().mean() < 0.5 * start


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_smooth_photos_keep_their_value_under_autocast(dtype: torch.dtype) -> None:
    columns = np.linspace(0.5, 0.9, 64)
    x = np.broadcast_to(columns[None, None, :, None], (1, 48, 64, 3)).copy()
    y = x + 0.004 * np.sin(np.arange(64))[None, None, :, None]
    with torch.autocast("cpu", dtype=dtype):
        value = NegativeSsim()(*tensors(x, y))
    assert value.item() == pytest.approx(-zero_padded(x, y), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"border": "reflect"}, "one of valid, zero, but got 'reflect'"),
        ({"kernel_size": 10}, "odd and at least 3, but got 10; use 11"),
        ({"kernel_size": 1}, "got 1"),
        ({"sigma": 0.0}, "positive, in pixels, but got 0.0"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        NegativeSsim(**arguments)


@pytest.mark.parametrize("border", ["zero", "valid"])
def test_dssim_is_one_minus_ssim_and_has_its_gradient(border: str) -> None:
    x, y = tensors(*pair())
    x.requires_grad_()
    loss, negative = Dssim(border=border)(x, y), NegativeSsim(border=border)(x, y)
    assert loss.item() == pytest.approx(1 + negative.item(), abs=1e-7)
    torch.testing.assert_close(*(torch.autograd.grad(value, x)[0] for value in (loss, negative)))


def test_dssim_is_one_minus_scikit_images() -> None:
    x, y = pair()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = np.mean([structural_similarity(a, b, channel_axis=2, **options) for a, b in zip(x, y, strict=True)])
    assert Dssim(border="valid")(*tensors(x, y)).item() == pytest.approx(1 - theirs, abs=2e-6)


def blurred_pair(height: int = 180, width: int = 230) -> tuple[np.ndarray, np.ndarray]:
    """Two photos and versions that are blurred and brighter."""
    rng = np.random.default_rng(0)
    x = np.stack([cv2.GaussianBlur(rng.random((height, width, 3)), (0, 0), sigma) for sigma in (1, 4)])
    return x, np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) * 0.8 + 0.1 for image in x])


def test_ms_ssim_is_the_mean_over_images_and_leads_to_the_target() -> None:
    x, y = tensors(*blurred_pair())
    each = [MsSsim()(x[i : i + 1], y[i : i + 1]).item() for i in range(2)]
    assert each[0] != pytest.approx(each[1], abs=0.01)
    assert MsSsim()(x, y).item() == pytest.approx(np.mean(each), abs=1e-6)
    x.requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        MsSsim()(x, y).backward()
        optimizer.step()
    assert MsSsim()(x, y).item() < 0.5 * np.mean(each)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ms_ssim_is_computed_in_float32_under_autocast(dtype: torch.dtype) -> None:
    x, y = tensors(*blurred_pair())
    expected = MsSsim()(x, y)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(MsSsim()(x, y), expected)


def test_opposite_photos_have_a_finite_loss_and_gradient() -> None:
    blocks = np.random.default_rng(0).random((1, 32, 32, 3)).repeat(8, axis=1).repeat(8, axis=2)
    x = tensors(blocks)[0].requires_grad_()
    loss = MsSsim()(x, 1 - x.detach())
    loss.backward()
    assert 0.99 < loss.item() <= 1
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_detail_of_opposite_sign_leaves_a_gradient_at_coarser_scales() -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.random((192, 192, 3)), (0, 0), 12)
    detail = rng.normal(0, 0.1, smooth.shape)
    x, y = tensors(*(np.stack([0.5 + 20 * (smooth - 0.5) + sign * detail]) for sign in (1, -1)))
    loss = MsSsim()(x.requires_grad_(), y)
    loss.backward()
    assert loss.item() < 0.999
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.any()


@pytest.mark.parametrize("size", [(175, 176), (176, 175), (32, 48)])
def test_photos_too_small_for_five_scales_are_refused(size: tuple[int, int]) -> None:
    MsSsim()(torch.rand(1, 3, 176, 176), torch.rand(1, 3, 176, 176))
    message = rf"5 scales are at least 176×176 pixels, but got \(height, width\) \({size[0]}, {size[1]}\); use larger"
    with pytest.raises(RequestError, match=message):
        MsSsim()(torch.rand(1, 3, *size), torch.rand(1, 3, *size))
