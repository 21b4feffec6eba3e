"""SPADE against SciPy's correlations and NumPy's statistics."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from lensblend.errors import RequestError
from lensblend.nn.spade import SpadeBlock, SpadeNorm

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@torch.no_grad()
def made_loud(module):
    """Give every weight and bias a value that matters."""
    for parameter in module.parameters():
        parameter.normal_(std=0.3)
    return module


def convolved(layer, image):
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return np.stack(
        [
            sum(correlate2d(image[i], w[i], mode="same") for i in range(len(image))) + b
            for w, b in zip(weight, bias, strict=True)
        ]
    )


def plain(features, axes):
    mean, variance = features.mean(axes, keepdims=True), features.var(axes, keepdims=True)
    return (features - mean) / np.sqrt(variance + 1e-5)


@pytest.mark.parametrize(("norm", "axes"), [("batch", (0, 2, 3)), ("instance", (2, 3))])
@torch.no_grad()
def test_a_condition_scales_and_shifts_normalised_features(norm, axes):
    spade = made_loud(SpadeNorm(3, 2, norm))
    features, condition = 2 + 3 * torch.rand(2, 3, 5, 6), torch.rand(2, 2, 10, 18)
    actual = spade(features, condition)
    normalised = plain(features.double().numpy(), axes)
    for index in range(2):
        nearest = condition[index].double().numpy()[:, ::2, ::3]
        hidden = np.maximum(convolved(spade.hidden, nearest), 0)
        expected = normalised[index] * (1 + convolved(spade.gamma, hidden)) + convolved(spade.beta, hidden)
        np.testing.assert_allclose(actual[index], expected, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@torch.no_grad()
def test_without_scale_and_shift_it_is_the_plain_norm(norm):
    spade = made_loud(SpadeNorm(4, 3, norm))
    for layer in (spade.gamma, spade.beta):
        layer.weight.zero_()
        layer.bias.zero_()
    features = torch.rand(3, 4, 6, 5)
    axes = (0, 2, 3) if norm == "batch" else (2, 3)
    np.testing.assert_allclose(spade(features, torch.rand(3, 3, 6, 5)), plain(features.numpy(), axes), atol=1e-4)


@torch.no_grad()
def test_in_evaluation_batch_uses_running_statistics_and_instance_the_images_own():
    condition = torch.rand(4, 3, 6, 5)
    features = 5 + torch.rand(4, 2, 6, 5)
    for norm, changes in (("batch", True), ("instance", False)):
        spade = SpadeNorm(2, 3, norm)
        trained = spade(features, condition)
        assert torch.allclose(spade.eval()(features, condition), trained, atol=1e-5) is not changes


@pytest.mark.parametrize(("fewer", "parts"), [(False, 2), (True, 3)])
def test_a_block_has_the_published_layers(fewer, parts):
    block = SpadeBlock(6, 4 if fewer else 6, condition_channels=4)
    middle = 4 if fewer else 6
    assert [tuple(c.weight.shape) for c in block.convolutions] == [(middle, 6, 3, 3), (4 if fewer else 6, middle, 3, 3)]
    assert len([m for m in block.modules() if isinstance(m, SpadeNorm)]) == parts
    assert len([m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]) == parts
    if fewer:
        assert tuple(block.shortcut.weight.shape) == (4, 6, 1, 1)
        assert block.shortcut.bias is None


@torch.no_grad()
def test_a_block_adds_its_convolutions_to_its_input_after_leaky_relus():
    block = made_loud(SpadeBlock(5, 5, condition_channels=2)).eval()
    features, condition = torch.randn(1, 5, 6, 7), torch.rand(1, 2, 6, 7)
    value = features
    for norm, convolution in zip(block.norms, block.convolutions, strict=True):
        normed = norm(value, condition)
        value = convolution(torch.where(normed > 0, normed, 0.2 * normed))
    torch.testing.assert_close(block(features, condition), features + value)


@torch.no_grad()
def test_the_shortcut_is_normalised_and_has_no_activation():
    block = made_loud(SpadeBlock(5, 3, condition_channels=2)).eval()
    block.convolutions[1].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    features, condition = torch.randn(1, 5, 6, 7), torch.rand(1, 2, 6, 7)
    normed = block.shortcut_norm(features, condition)[0].numpy()
    expected = np.tensordot(block.shortcut.weight[..., 0, 0].numpy(), normed, axes=1)
    np.testing.assert_allclose(block(features, condition)[0], expected, atol=1e-5)


def test_another_norm_is_refused():
    with pytest.raises(RequestError, match="one of batch, instance, but got 'instant'; did you mean 'instance'"):
        SpadeNorm(4, 4, "instant")
