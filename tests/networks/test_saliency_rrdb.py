"""Counts from the table, a dense block against SciPy's correlation, and the multiplication."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.networks.saliency_rrdb import SaliencyRrdb

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SaliencyRrdb(width=6, blocks=2)


@pytest.fixture
def guided():
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.random((1, c, 40, 48), dtype=np.float32)) for c in (3, 1)]


@torch.no_grad()
def make_constant(layer, value):
    layer.weight.zero_()
    layer.bias.fill_(value)


@torch.no_grad()
def make_identity(finish):
    """Let the last two convolutions return positive values as they are."""
    for layer in (finish[0], finish[-1]):
        make_constant(layer, 0.0)
        for channel in range(3):
            layer.weight[channel, channel, 1, 1] = 1.0


def convolve(layer, image):
    """Correlate with a layer's kernels, zeros around the image."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    planes = [
        sum(correlate(plane, kernel, mode="constant") for plane, kernel in zip(image, kernels, strict=True))
        for kernels in weight
    ]
    return np.stack(planes) + bias[:, None, None]


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def dense(block, x):
    known = x
    for layer in block.grow:
        known = np.concatenate([known, leaky(convolve(layer, known))])
    return x + 0.2 * convolve(block.fuse, known)


@pytest.mark.parametrize(("blocks", "parameters", "gmac"), [(4, 3_011_942, 338), (8, 5_889_638, 621)])
def test_counts_are_those_of_the_table(blocks, parameters, gmac):
    with torch.device("meta"):
        network = SaliencyRrdb(blocks=blocks)
        photo, saliency = torch.rand(1, 3, 1024, 1536), torch.rand(1, 1, 1024, 1536)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(p.numel() for p in network.trunk[0].parameters()) == 719_424
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(photo, saliency)
    assert round(counter.get_total_flops() / 2e9) == gmac
    assert not [m for m in network.modules() if "Norm" in type(m).__name__]
    assert len([m for m in network.modules() if isinstance(m, nn.Conv2d)]) == 8 + 15 * blocks


@torch.no_grad()
def test_a_block_is_three_dense_blocks_and_adds_a_fifth(network):
    block = network.trunk[0].double()
    features = np.random.default_rng(1).standard_normal((6, 9, 7))
    inner = features
    for part in block.dense:
        inner = dense(part, inner)
    result = block(torch.from_numpy(features)[None])[0]
    np.testing.assert_allclose(result, features + 0.2 * inner, atol=1e-9)


@torch.no_grad()
def test_the_trunk_is_added_to_what_it_is_given(network, guided):
    seen = []
    network.enlarge.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    make_constant(network.trunk[-1], 0.75)
    network(*guided)
    reduced = network.reduce(torch.cat(guided, dim=1))
    assert reduced.shape == (1, 6, 10, 12)
    torch.testing.assert_close(seen[0], reduced + 0.75)


@torch.no_grad()
@pytest.mark.parametrize(("multiplier", "factor"), [(0.5, 0.5), (3.0, 3.0)])
def test_the_photo_is_multiplied(network, guided, multiplier, factor):
    make_constant(network.enlarge[-1], multiplier)
    make_identity(network.finish)
    photo, saliency = guided
    expected = factor * photo.numpy()
    np.testing.assert_allclose(network.train()(photo, saliency).bokeh, expected, atol=1e-6)
    np.testing.assert_allclose(network.eval()(photo, saliency).bokeh, expected.clip(0, 1), atol=1e-6)


@torch.no_grad()
def test_the_saliency_steers_the_rendering_and_is_returned(network, guided):
    photo, saliency = guided
    bokeh, aux = network(photo, saliency)
    assert torch.equal(aux["saliency"], saliency)
    assert (network(photo, 1 - saliency).bokeh - bokeh).abs().max() > 1e-5


@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(network):
    maps = [torch.rand(1, c, 33, 47) for c in (3, 1)]
    padded = [torch.from_numpy(np.pad(m.numpy(), ((0, 0), (0, 0), (0, 3), (0, 1)), mode="edge")) for m in maps]
    assert torch.equal(network(*maps).bokeh, network(*padded).bokeh[..., :33, :47])


@torch.no_grad()
def test_half_precision_spares_the_photos_own_values(network, guided):
    make_constant(network.enlarge[-1], 1.0)
    make_identity(network.finish)
    with torch.autocast("cpu", torch.bfloat16):
        bokeh = network(*guided).bokeh
    np.testing.assert_allclose(bokeh, guided[0], atol=1e-6)


@pytest.mark.parametrize("width", [0, -2, 5])
def test_a_width_is_even_and_positive(width):
    with pytest.raises(RequestError, match=f"even, positive number of features, but got {width}; the default is 64"):
        SaliencyRrdb(width=width)


def test_there_is_a_block():
    with pytest.raises(RequestError, match="`blocks` is a positive number, but got 0; the default is 4"):
        SaliencyRrdb(blocks=0)
