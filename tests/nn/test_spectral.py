"""What spectral norm divides by, against NumPy's singular values."""

import numpy as np
import pytest
import torch

from lensblend.nn.spectral import SpectralConv2d, XavierConv2d

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def convolution():
    torch.manual_seed(0)
    return SpectralConv2d(6, 8, 3, padding=1)


def largest_singular_value(weight):
    return np.linalg.svd(weight.detach().numpy().reshape(len(weight), -1).astype(np.float64), compute_uv=False)[0]


def test_the_initial_weights_are_xaviers_times_a_fiftieth():
    torch.manual_seed(0)
    convolution = XavierConv2d(64, 128, 3)
    assert convolution.weight.std().item() == pytest.approx(0.02 * np.sqrt(2 / (9 * 64 + 9 * 128)), rel=0.02)
    assert not convolution.bias.any()


def test_weights_are_divided_by_their_largest_singular_value_from_the_start(convolution):
    stored = dict(convolution.named_parameters())["parametrizations.weight.original"]
    assert largest_singular_value(stored) < 0.1
    features = torch.rand(2, 6, 9, 7)
    convolution.eval()
    expected = torch.nn.functional.conv2d(
        features, stored / largest_singular_value(stored), convolution.bias, padding=1
    )
    torch.testing.assert_close(convolution(features), expected, rtol=0.03, atol=1e-3)


@torch.no_grad()
def test_the_estimate_follows_the_weights_in_training_and_rests_in_evaluation(convolution):
    stored = dict(convolution.named_parameters())["parametrizations.weight.original"]
    stored.copy_(3 * torch.randn_like(stored))
    features = torch.rand(1, 6, 5, 5)
    convolution.eval()(features)
    before = largest_singular_value(convolution.weight)
    assert before > 1.05
    convolution(features)
    assert largest_singular_value(convolution.weight) == pytest.approx(before, rel=1e-5)
    for _ in range(30):
        convolution.train()(features)
    assert largest_singular_value(convolution.eval().weight) == pytest.approx(1, abs=0.01)


def test_autocast_does_not_reach_the_division(convolution):
    convolution.eval()
    seen = []
    convolution.parametrizations.weight[0].register_forward_hook(
        lambda module, inputs, output: seen.append(torch.is_autocast_enabled("cpu"))
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(torch.rand(1, 6, 5, 5)).dtype == torch.bfloat16
    assert seen == [False]
