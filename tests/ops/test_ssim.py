from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lensblend.errors import RequestError
from lensblend.ops.ssim import gaussian_window, ms_ssim, ssim, uniform_window

WINDOW = gaussian_window(11, 1.5)


def batch(images: np.ndarray) -> torch.Tensor:
    """(b, h, w, c) to (b, c, h, w)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def smooth_pair(height: int = 48, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Slow gradients that differ by a ripple of two levels in 255."""
    rows, columns = np.mgrid[:height, :width]
    photo = 0.6 + 0.3 * rows / height + 0.05 * columns / width
    ripple = photo + 2 / 255 * np.sin(columns / 3)
    return (np.stack([np.stack([image, image * 0.9, image * 0.8], -1)]) for image in (photo, ripple))


def textbook_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang's five filtered images with a border of zeros, by 2-D convolutions in float64."""
    taps = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)

    def mean(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, taps @ taps.T, mode="same", boundary="fill", fillvalue=0)

    values = []
    for a, b in zip(np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0), strict=True):
        mu_a, mu_b = mean(a), mean(b)
        var_a, var_b, cov = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2, mean(a * b) - mu_a * mu_b
        luminance = (2 * mu_a * mu_b + 1e-4) / (mu_a**2 + mu_b**2 + 1e-4)
        values.append(luminance * (2 * cov + 9e-4) / (var_a + var_b + 9e-4))
    return float(np.mean(values))


def test_gaussian_window_is_opencvs() -> None:
    np.testing.assert_allclose(WINDOW, cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)[:, 0], atol=1e-15)


def test_uniform_window_sums_to_one() -> None:
    assert len(uniform_window(7)) == 7
    assert sum(uniform_window(7)) == pytest.approx(1, abs=1e-15)


# Heights around the strips of 32 rows (plus the window), wide and narrow, one channel and several.
@pytest.mark.parametrize("shape", [(11, 11, 3), (42, 19, 1), (43, 30, 3), (75, 64, 2), (150, 12, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_valid_border_is_scikit_images(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rng = np.random.default_rng(sum(shape))
    x = rng.random((2, *shape))
    y = np.clip(x + rng.normal(0, 0.2, x.shape), 0, 1)
    ours = ssim(batch(x), batch(y), WINDOW, dtype=dtype)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = [structural_similarity(a, b, channel_axis=2, data_range=1.0, **options) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("window", [3, 7, 9])
def test_uniform_window_and_sample_covariance_are_scikit_images(window: int) -> None:
    rng = np.random.default_rng(window)
    x, y = rng.integers(0, 256, (2, 1, 50, 41, 3)).astype(np.float64)
    options = {"data_range": 255.0, "dtype": torch.float64}
    ours = ssim(batch(x), batch(y), uniform_window(window), sample_covariance=True, **options)
    theirs = structural_similarity(x[0], y[0], win_size=window, channel_axis=2, data_range=255.0)
    assert ours.item() == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("size", [(5, 7), (24, 40), (60, 33)])
def test_zero_border_is_the_textbook_with_zeros_around(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((1, *size, 3))
    y = np.clip(x + rng.normal(0, 0.1, x.shape), 0, 1)
    ours = ssim(batch(x), batch(y), WINDOW, border="zero", dtype=torch.float64)
    assert ours.item() == pytest.approx(textbook_ssim(x[0], y[0]), abs=1e-12)


@pytest.mark.parametrize("border", ["valid", "zero"])
def test_gradient_is_that_of_finite_differences(border: str) -> None:
    torch.manual_seed(0)
    x, y = torch.rand(2, 1, 2, 5, 4, dtype=torch.float64)
    x.requires_grad_()
    y.requires_grad_()

    def value(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ssim(a, b, (0.2, 0.5, 0.3), border=border, dtype=torch.float64)  # not symmetric on purpose

    assert torch.autograd.gradcheck(value, (x, y))
    assert torch.autograd.gradgradcheck(value, (x, y), nondet_tol=1e-12)


def test_a_gradient_does_not_change_the_value() -> None:
    x, y = torch.rand(2, 2, 3, 90, 40, generator=torch.Generator().manual_seed(0))
    tracked = ssim(x.clone().requires_grad_(), y, WINDOW)
    torch.testing.assert_close(ssim(x, y, WINDOW), tracked.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_flat_photos_follow_the_closed_form(dtype: torch.dtype, tolerance: float) -> None:
    x, y = torch.full((1, 3, 40, 40), 1.0), torch.full((1, 3, 40, 40), 0.9)
    expected = (2 * 0.9 + 1e-4) / (1 + 0.81 + 1e-4)
    assert ssim(x, y, WINDOW, dtype=dtype).item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("border", ["valid", "zero"])
def test_smooth_photos_keep_their_value_under_autocast(dtype: torch.dtype, border: str) -> None:
    x, y = smooth_pair()
    if border == "zero":
        expected = textbook_ssim(x[0], y[0])
    else:
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = structural_similarity(x[0], y[0], channel_axis=2, data_range=1.0, **options)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        ours = ssim(batch(x).float(), batch(y).float(), WINDOW, border=border)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(expected, abs=1e-4)


def test_half_precision_photos_are_compared_in_float32() -> None:
    x, y = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    ours = ssim(x, y, WINDOW)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(ssim(x.double(), y.double(), WINDOW, dtype=torch.float64).item(), abs=1e-6)


def test_photos_below_the_window_are_refused() -> None:
    with pytest.raises(RequestError, match=r"11×11 pixels.*\(10, 40\); use larger"):
        ssim(torch.rand(1, 3, 10, 40), torch.rand(1, 3, 10, 40), WINDOW)


def textbook_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang's product over five scales, in float64: filters by SciPy, halving and the coarsest scale by scikit-image."""
    taps = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    value = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        means = []
        for a, b in zip(np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0), strict=True):
            mu_a, mu_b, aa, bb, ab = (
                convolve2d(image, taps @ taps.T, mode="valid") for image in (a, b, a * a, b * b, a * b)
            )
            means.append(np.mean((2 * (ab - mu_a * mu_b) + 9e-4) / (aa - mu_a**2 + bb - mu_b**2 + 9e-4)))
        value *= np.mean(means) ** weight
        even = tuple(slice(side // 2 * 2) for side in x.shape[:2])
        x, y = (downscale_local_mean(image[even], (2, 2, 1)) for image in (x, y))
    return float(value * structural_similarity(x, y, channel_axis=2, **options) ** 0.1333)


def distorted_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos with detail at every scale, and noisy, brighter versions, (2, h, w, 3)."""
    rng = np.random.default_rng(height)
    noise = rng.random((2, height, width, 3))
    x = np.stack([sum(cv2.GaussianBlur(image, (0, 0), s) * s for s in (1, 4, 16)) / 21 for image in noise])
    strength = np.reshape([0.02, 0.1], (2, 1, 1, 1))
    return x, np.clip(x * 0.9 + 0.08 + rng.normal(0, 1, x.shape) * strength, 0, 1)


@pytest.mark.parametrize("size", [(176, 176), (191, 242), (256, 333)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_five_scales_are_the_textbooks(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    x, y = distorted_pair(*size)
    ours = ms_ssim(batch(x), batch(y), WINDOW, dtype=dtype)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, [textbook_ms_ssim(a, b) for a, b in zip(x, y, strict=True)], atol=tolerance)


def test_five_scales_are_nearly_torchmetrics() -> None:
    x, y = map(batch, distorted_pair(256, 384))
    theirs = multiscale_structural_similarity_index_measure(y, x, data_range=1.0, reduction="none")
    # Its coarsest index is also averaged over mirrored borders.
    np.testing.assert_allclose(ms_ssim(y, x, WINDOW, dtype=torch.float64), theirs, atol=2e-3)


def test_the_gradient_through_five_scales_is_that_of_finite_differences() -> None:
    x, y = torch.rand(2, 1, 1, 48, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    window = (0.2, 0.5, 0.3)
    (gradient,) = torch.autograd.grad(ms_ssim(x, 0.5 * (x + y), window, dtype=torch.float64).sum(), x)
    step = torch.zeros_like(x)
    for row, column in ((0, 0), (20, 31), (47, 49)):
        step.zero_()[..., row, column] = 1e-5
        above, below = (ms_ssim(p, 0.5 * (p + y), window, dtype=torch.float64) for p in (x + step, x - step))
        assert gradient[..., row, column].item() == pytest.approx(((above - below) / 2e-5).item(), rel=1e-5, abs=1e-9)
