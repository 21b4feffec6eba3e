"""Equation 1 with a saliency map as weights, against NumPy and OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.networks.saliency_blend import SaliencyBlend
from lensblend.nn.kernel_bank import KernelBank

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 48, 60), dtype=np.float32))


def blurred(photo, size):
    sigma = 0.15 * size + 0.35
    pixels = photo[0].numpy().transpose(1, 2, 0).astype(np.float64)
    return cv2.GaussianBlur(pixels, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101).transpose(2, 0, 1)


def test_the_paper_blurs_by_one_gaussian_of_75_pixels_and_trains_nothing():
    network = SaliencyBlend(KernelBank(sizes=[75]))
    assert sum(p.numel() for p in network.parameters()) == 0
    assert network.guidance == ("saliency",)


def test_a_saliency_of_one_returns_the_photo_and_of_zero_the_blur(photo):
    network = SaliencyBlend(KernelBank(sizes=[21]))
    assert torch.equal(network(photo, torch.ones(1, 1, 48, 60)).bokeh, photo)
    blur = network(photo, torch.zeros(1, 1, 48, 60)).bokeh[0].numpy()
    np.testing.assert_allclose(blur, blurred(photo, 21), atol=1e-5)


def test_soft_saliency_weighs_photo_and_blur(photo):
    saliency = np.random.default_rng(1).random((48, 60), dtype=np.float32)
    bokeh, aux = SaliencyBlend(KernelBank(sizes=[15]))(photo, torch.from_numpy(saliency)[None, None])
    expected = saliency * photo[0].numpy() + (1 - saliency) * blurred(photo, 15)
    np.testing.assert_allclose(bokeh[0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(aux["weights"][0].numpy(), [saliency, 1 - saliency], atol=1e-7)


def test_minmax_stretches_each_photos_map_by_itself(photo):
    photos = photo.expand(2, -1, -1, -1)
    ramp = torch.linspace(0.2, 0.6, 60).expand(1, 1, 48, 60)
    saliency = torch.cat([ramp, torch.full((1, 1, 48, 60), 0.4)])
    weights = SaliencyBlend(KernelBank(sizes=[9]), saliency_norm="minmax")(photos, saliency).aux["weights"]
    assert weights[0, 0].min() == 0
    assert weights[0, 0].max() == 1
    torch.testing.assert_close(weights[0, 0, 0], torch.linspace(0, 1, 60))
    assert torch.equal(weights[1, 0], torch.zeros(48, 60))  # a flat map has no foreground


def test_at_full_size_the_weights_are_enlarged_and_the_kernel_is_as_wide_on_the_scene(photo):
    large = torch.from_numpy(np.random.default_rng(2).random((1, 3, 96, 120), dtype=np.float32))
    bokeh, aux = SaliencyBlend(KernelBank(sizes=[15]))(photo, torch.zeros(1, 1, 48, 60), full_photo=large)
    assert aux["weights"].shape == (1, 2, 96, 120)
    pixels = large[0].numpy().transpose(1, 2, 0).astype(np.float64)
    sigma = 2 * (0.15 * 15 + 0.35)
    wide = cv2.GaussianBlur(pixels, (61, 61), sigma, borderType=cv2.BORDER_REFLECT_101).transpose(2, 0, 1)
    np.testing.assert_allclose(bokeh[0].numpy(), wide, atol=2e-3)  # ours cuts the tails at 29 pixels


def test_what_a_saliency_map_cannot_weigh_is_refused():
    with pytest.raises(RequestError, match=r"3 kernels; use kernels=gaussian_75"):
        SaliencyBlend(KernelBank(sizes=[3, 5, 9]))
    with pytest.raises(
        RequestError, match="`saliency_norm` is one of none, minmax, but got 'min_max'; did you mean 'minmax'"
    ):
        SaliencyBlend(KernelBank(sizes=[9]), saliency_norm="min_max")
