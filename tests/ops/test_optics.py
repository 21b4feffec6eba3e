from __future__ import annotations

import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.ops.optics import circle_of_confusion, defocus_disc


def counted_disc(radius: float, side: int, samples: int = 61) -> np.ndarray:
    """Count sample points inside a disc, pixel by pixel."""
    kernel = np.zeros((side, side))
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    for i in range(side):
        for j in range(side):
            y, x = i - side // 2 + offsets[:, None], j - side // 2 + offsets[None, :]
            kernel[i, j] = np.mean(x**2 + y**2 <= radius**2)
    return kernel / kernel.sum()


@pytest.mark.parametrize("radius", [0.7, 1.0, 1.5, 2.25, 3.49, 3.51, 6.8])
def test_disc_is_the_share_of_each_pixel_inside_a_circle(radius: float) -> None:
    kernel = defocus_disc(radius)
    np.testing.assert_allclose(kernel, counted_disc(radius, kernel.shape[0]), atol=1.5e-3 / radius**2)


@pytest.mark.parametrize("radius", [3.3, 6.0, 9.7])
def test_disc_keeps_energy_and_has_the_variance_of_a_disc(radius: float) -> None:
    kernel = defocus_disc(radius)
    axis = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    # A disc's variance per axis is r^2/4; gathering it in pixels adds that of a pixel.
    assert kernel.sum(axis=0) @ axis**2 == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.01)


def test_disc_fits_its_radius() -> None:
    assert [defocus_disc(radius).shape[0] for radius in (0.5, 0.51, 1.5, 1.51, 10.0)] == [1, 3, 3, 5, 21]
    for radius in (0.51, 1.51, 10.0):
        assert defocus_disc(radius)[0].max() > 0


@pytest.mark.parametrize("radius", [0.0, 0.2, 0.5])
def test_disc_inside_a_pixel_is_that_pixel(radius: float) -> None:
    np.testing.assert_array_equal(defocus_disc(radius), [[1.0]])


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_disc_refuses_what_is_no_radius(radius: float) -> None:
    with pytest.raises(RequestError, match="`radius` is in pixels"):
        defocus_disc(radius)


def test_circle_of_confusion_is_linear_on_both_sides_of_the_focus() -> None:
    disparity = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)
    radius = circle_of_confusion(disparity, focus=0.5, aperture=20.0)
    np.testing.assert_allclose(radius, [5.0, 2.5, 0.0, 2.5, 5.0])
    assert radius.dtype == np.float32


def test_circle_of_confusion_is_cut() -> None:
    np.testing.assert_allclose(circle_of_confusion(np.array([0.0, 0.9]), 1.0, 20.0, 4.0), [4.0, 1.0])


def test_circle_of_confusion_takes_tensors() -> None:
    disparity = torch.tensor([[0.0, 0.5]], requires_grad=True)
    radius = circle_of_confusion(disparity, focus=1.0, aperture=8.0, max_radius=3.0)
    assert radius.tolist() == [[3.0, 2.0]]
    (gradient,) = torch.autograd.grad(radius.sum(), disparity)
    assert gradient.tolist() == [[0.0, -4.0]]


@pytest.mark.parametrize(("aperture", "max_radius"), [(-1.0, 1.0), (1.0, -1.0)])
def test_circle_of_confusion_refuses_negative_lengths(aperture: float, max_radius: float) -> None:
    with pytest.raises(RequestError, match="use 0 for a pinhole"):
        circle_of_confusion(np.zeros(1), 0.0, aperture, max_radius)
