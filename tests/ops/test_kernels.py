import math

import cv2
import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.ops import kernels


def moment(kernel):
    """Standard deviation along one axis, by a plain NumPy sum."""
    profile = np.asarray(kernel) if kernel.ndim == 1 else np.asarray(kernel).sum(axis=1)
    at = np.arange(len(profile)) - len(profile) // 2
    return math.sqrt((profile * at**2).sum())


@pytest.mark.parametrize(("kernel_size", "sigma"), [(5, 1.1), (25, 4.1), (45, 7.1), (75, 11.6)])
def test_sigma_has_the_published_values(kernel_size, sigma):
    assert kernels.sigma_for(kernel_size) == pytest.approx(sigma, abs=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 9, 11, 25, 45, 75])
def test_opencv_exact_is_what_opencv_uses_without_sigma(kernel_size):
    expected = cv2.getGaussianKernel(kernel_size, -1, ktype=cv2.CV_64F).ravel()
    kernel = kernels.gaussian_kernel(kernel_size, rule="opencv_exact")
    np.testing.assert_allclose(kernel.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [11, 25, 45, 75])
@pytest.mark.parametrize("sigma", [None, 0.7, 3.0])
def test_gaussian_equals_opencv(kernel_size, sigma):
    expected = cv2.getGaussianKernel(kernel_size, -1 if sigma is None else sigma, ktype=cv2.CV_64F).ravel()
    np.testing.assert_allclose(kernels.gaussian_kernel(kernel_size, sigma).numpy(), expected, atol=1e-12)


def test_small_gaussian_follows_the_formula_by_default():
    sampled = np.exp(-0.5 * (np.arange(-2, 3) / 1.1) ** 2)
    np.testing.assert_allclose(kernels.gaussian_kernel(5).numpy(), sampled / sampled.sum(), atol=1e-12)
    assert (kernels.gaussian_kernel(5) - kernels.gaussian_kernel(5, rule="opencv_exact")).abs().max() > 0.008


def test_a_given_sigma_overrides_the_tables():
    assert torch.equal(kernels.gaussian_kernel(5, 1.1, rule="opencv_exact"), kernels.gaussian_kernel(5, 1.1))


@pytest.mark.parametrize(
    "kernel",
    [kernels.gaussian_kernel(45), kernels.box_kernel(45), kernels.box_kernel(6.5), kernels.disk_kernel(7.3)],
    ids=["gaussian", "box", "wide box", "disk"],
)
def test_kernels_are_symmetric_averages_in_float64(kernel):
    assert kernel.dtype == torch.float64
    assert kernel.sum().item() == pytest.approx(1, abs=1e-14)
    assert kernel.min() >= 0
    for axis in range(kernel.ndim):
        assert torch.allclose(kernel, kernel.flip(axis), rtol=0, atol=1e-15)


def test_std_follows_the_formulas():
    assert moment(kernels.gaussian_kernel(401, 11.6)) == pytest.approx(11.6, abs=1e-9)
    for kernel_size in (3, 25, 45, 75):
        assert moment(kernels.box_kernel(kernel_size)) == pytest.approx(math.sqrt((kernel_size**2 - 1) / 12), rel=1e-12)
    for kernel_size in (25, 45, 75):
        radius = (kernel_size - 1) / 2
        assert moment(kernels.disk_kernel(radius)) == pytest.approx(radius / 2, rel=2e-3)


def test_kernel_std_is_the_second_moment():
    for kernel in (kernels.gaussian_kernel(25), kernels.box_kernel(9), kernels.disk_kernel(6.5)):
        assert kernels.kernel_std(kernel) == pytest.approx(moment(kernel), rel=1e-12)


def test_odd_box_is_uniform():
    assert torch.equal(kernels.box_kernel(5), torch.full((5,), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.1, 4.1, 7.1, 11.6, 30.0])
def test_matched_widths_have_the_std_asked_for(sigma):
    assert moment(kernels.box_kernel(kernels.box_width_for(sigma))) == pytest.approx(sigma, rel=1e-9)
    assert moment(kernels.disk_kernel(kernels.disk_radius_for(sigma))) == pytest.approx(sigma, rel=1e-3)


def test_matched_widths_are_near_the_published_ones():
    assert kernels.disk_radius_for(11.6) == pytest.approx(23.2, abs=0.05)
    assert kernels.box_width_for(11.6) == pytest.approx(math.sqrt(12 * 11.6**2 + 1), abs=0.05)


def test_disk_has_the_soft_rim_and_the_area_of_a_disk():
    kernel = kernels.disk_kernel(37)
    assert kernel.shape == (75, 75)
    profile = (kernel[37] / kernel.max()).numpy()
    distance = np.abs(np.arange(75) - 37)
    np.testing.assert_allclose(profile, 0.5 + 0.5 * np.tanh(4 * (37 - distance)), atol=1e-6)
    assert (1 / kernel.max()).item() == pytest.approx(math.pi * 37**2, rel=2e-3)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: kernels.sigma_for(44), "got 44; use 43 or 45"),
        (lambda: kernels.gaussian_kernel(0), "got 0; use 1 or 3"),
        (lambda: kernels.gaussian_kernel(5, -1.0), "`sigma` is positive and finite, but got -1.0"),
        (lambda: kernels.gaussian_kernel(5, rule="opencv"), "opencv_formula, opencv_exact, but got 'opencv'"),
        (lambda: kernels.box_kernel(0.5), "`width` is at least 1 pixel, but got 0.5"),
        (lambda: kernels.disk_kernel(-1.0), "`radius` is at least 0 pixels, but got -1.0"),
        (lambda: kernels.disk_radius_for(math.nan), "`sigma` is positive and finite, but got nan"),
    ],
)
def test_wrong_values_are_named(request_, message):
    with pytest.raises(RequestError, match=message.replace("(", r"\(")):
        request_()
