import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from lensblend.nn.residual import ResidualBlock

pytestmark = pytest.mark.usefixtures("one_thread")


def convolved(features, layer):
    """A convolution with zeros outside, by SciPy in float64."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return np.stack(
        [
            sum(correlate(f, k, mode="constant") for f, k in zip(features, kernels, strict=True)) + b
            for kernels, b in zip(weight, bias, strict=True)
        ]
    )


@torch.no_grad()
def test_the_block_adds_two_convolutions_with_a_relu_between():
    torch.manual_seed(0)
    block = ResidualBlock(3)
    features = torch.randn(1, 3, 6, 9)
    given = features[0].double().numpy()
    first, second = (layer for layer in block.modules() if isinstance(layer, torch.nn.Conv2d))
    expected = given + convolved(np.maximum(convolved(given, first), 0), second)
    assert expected.min() < -0.5  # no activation after the sum
    np.testing.assert_allclose(block(features)[0], expected, atol=1e-5)


def test_its_parameters_are_two_convolutions_with_bias():
    assert sum(p.numel() for p in ResidualBlock(5).parameters()) == 2 * (5 * 5 * 9 + 5)
