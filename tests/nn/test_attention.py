"""Channel attention against NumPy."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from lensblend.nn.attention import AttentiveResidualBlock, ChannelAttention


@pytest.fixture
def features():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 5, 7)).astype(np.float32))


@torch.no_grad()
def test_a_channel_is_scaled_by_what_the_means_decide(features):
    torch.manual_seed(0)
    attention = ChannelAttention(6)
    first, second = attention.factors[0], attention.factors[2]
    means = features.numpy().mean(axis=(2, 3))
    hidden = np.maximum(means @ first.weight[..., 0, 0].numpy().T + first.bias.numpy(), 0)
    factors = expit(hidden @ second.weight[..., 0, 0].numpy().T + second.bias.numpy())
    np.testing.assert_allclose(attention(features), features.numpy() * factors[..., None, None], atol=1e-6)


@pytest.mark.parametrize(("channels", "hidden"), [(8, 4), (64, 4), (128, 8), (256, 16)])
def test_a_sixteenth_of_the_channels_but_at_least_four_decide(channels, hidden):
    attention = ChannelAttention(channels)
    assert [m.out_channels for m in attention.factors if hasattr(m, "out_channels")] == [hidden, channels]


@torch.no_grad()
def test_the_block_adds_half_of_its_convolutions_where_the_attention_is_undecided(features):
    torch.manual_seed(0)
    block = AttentiveResidualBlock(6)
    block.layers[3].factors[2].weight.zero_()
    block.layers[3].factors[2].bias.zero_()
    first, second = block.layers[0], block.layers[2]
    torch.nn.init.dirac_(first.weight)
    torch.nn.init.dirac_(second.weight)
    first.bias.fill_(0.1)
    second.bias.fill_(-0.3)
    expected = features.numpy() + 0.5 * (np.maximum(features.numpy() + 0.1, 0) - 0.3)
    np.testing.assert_allclose(block(features), expected, atol=1e-6)
