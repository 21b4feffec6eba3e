import cv2
import numpy as np
import pytest
import torch
from skimage.color import rgb2xyz, xyz2rgb

from lensblend.ops.colour import linear_to_srgb, luma, srgb_to_linear

LEVELS = torch.arange(256, dtype=torch.float64) / 255


def test_decoding_equals_scikit_image():
    greys = np.repeat(LEVELS.numpy()[:, None], 3, axis=1)
    luminance = rgb2xyz(greys)[:, 1]  # of a grey, the linear light itself
    np.testing.assert_allclose(srgb_to_linear(LEVELS).numpy(), luminance, atol=1e-9)


def test_encoding_equals_scikit_image():
    white = rgb2xyz(np.ones((1, 3)))
    expected = xyz2rgb(LEVELS.numpy()[:, None] * white)
    np.testing.assert_allclose(linear_to_srgb(LEVELS).numpy(), expected[:, 0], atol=1e-6)


def test_encoding_undoes_decoding():
    assert (linear_to_srgb(srgb_to_linear(LEVELS)) - LEVELS).abs().max() < 1e-7
    single = LEVELS.float()
    assert (linear_to_srgb(srgb_to_linear(single)) - single).abs().max() * 255 < 1e-3


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_gradients_are_finite_and_positive_everywhere(curve):
    values = torch.tensor([-0.5, -0.055, -1e-9, 0.0, 1e-12, 0.003, 0.04045, 0.5, 1.0, 2.0], requires_grad=True)
    curve(values).sum().backward()
    assert torch.isfinite(values.grad).all()
    assert (values.grad > 0).all()


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_gradients_are_right(curve):
    values = torch.tensor([-0.1, 0.001, 0.02, 0.2, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(curve, (values,))


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_half_precision_is_raised(curve):
    values = LEVELS.bfloat16()
    assert curve(values).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(curve(values), curve(values.float()))


def test_luma_equals_opencv():
    photo = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    for image, grey in zip(photo, luma(photo), strict=True):
        expected = cv2.cvtColor(image.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
        np.testing.assert_allclose(grey[0].numpy(), expected, atol=1e-6)
    assert luma(photo.bfloat16()).dtype == torch.float32
