"""Counts and cost, and the flow between levels and streams against NumPy, SciPy and OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.networks.attention_unet import AttentionUnet

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return AttentionUnet(width=4)


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 48, 64), dtype=np.float32))


@torch.no_grad()
def make_constant(network, values):
    """Let the head of every level, finest first, give one value everywhere."""
    for head, value in zip(network.heads, values, strict=True):
        head[0].weight.zero_()
        head[0].bias.fill_(value)


def recorded(module):
    """What a module is given and returns, filled by the next forward."""
    given, returned = [], []

    def record(_, inputs, output):
        given.append(inputs)
        returned.append(output)

    module.register_forward_hook(record)
    return given, returned


def resized(tensor, height, width, interpolation=cv2.INTER_LINEAR):
    rows = tensor[0].detach().numpy().transpose(1, 2, 0)
    return cv2.resize(rows, (width, height), interpolation=interpolation).transpose(2, 0, 1)


def convolved(layer, features):
    """A convolution with zeros around, by SciPy."""
    kernels, rate = layer.weight.numpy(), layer.dilation[0]
    spread = np.zeros((*kernels.shape[:2], *((side - 1) * rate + 1 for side in kernels.shape[2:])), np.float32)
    spread[..., ::rate, ::rate] = kernels
    return np.stack(
        [
            bias + sum(correlate(plane, kernel, mode="constant") for plane, kernel in zip(features, row, strict=True))
            for row, bias in zip(spread, layer.bias.numpy(), strict=True)
        ]
    )


@pytest.mark.parametrize(("stem", "parameters", "gmac"), [("unshuffle", 13_350_488, 247), ("full", 13_308_980, 976)])
@torch.no_grad()
def test_the_usual_network_has_the_size_and_cost_of_the_fact_sheet(stem, parameters, gmac):
    with torch.device("meta"):
        network, photo = AttentionUnet(stem=stem).eval(), torch.empty(1, 3, 1024, 1536)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert not [m for m in network.modules() if "Norm" in type(m).__name__]
    with FlopCounterMode(display=False) as counter:
        network(photo)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.5)


@pytest.mark.parametrize(("stem", "sides"), [("unshuffle", [24, 12, 6, 3]), ("full", [48, 24, 12, 6])])
@torch.no_grad()
def test_levels_halve_from_the_stem_down(photo, stem, sides):
    network = AttentionUnet(width=4, stem=stem).eval()
    skips = [recorded(pooling)[1] for pooling in network.poolings]
    aux = network(photo).aux
    assert [(s[0].shape[1], s[0].shape[2]) for s in skips] == list(zip([4, 8, 16, 32], sides, strict=True))
    assert [tuple(level.shape[-2:]) for level in aux["pyramid"]] == [(24, 32), (12, 16), (6, 8)]


@torch.no_grad()
def test_every_level_adds_its_residual_to_the_reduced_photo(network, photo):
    make_constant(network, [0.25, 0.125, -0.5, 2.0])
    bokeh, aux = network(photo)
    np.testing.assert_allclose(bokeh, photo.numpy() + 0.25, atol=1e-6)
    for level, size, value in zip(aux["pyramid"], [(24, 32), (12, 16), (6, 8)], [0.125, -0.5, 2.0], strict=True):
        np.testing.assert_allclose(level[0], resized(photo, *size, cv2.INTER_AREA) + value, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 2])
@torch.no_grad()
def test_a_level_is_given_all_skips_and_the_coarser_features_at_its_size(network, photo, level):
    skips = [recorded(pooling)[1] for pooling in network.poolings[:3]]
    coarser = recorded(network.bottom[1] if level == 2 else network.decoders[level + 1])[1]
    given, _ = recorded(network.decoders[level].fusion)
    streams, _ = recorded(network.decoders[level].dual)
    network(photo)
    size = (24 >> level, 32 >> level)
    decoded = coarser[0][0] if level == 2 else coarser[0]
    expected = [resized(features, *size) for features in (*(skip[0] for skip in skips), decoded)]
    np.testing.assert_allclose(given[0][0][0], np.concatenate(expected), atol=1e-5)
    assert torch.equal(streams[0][1], skips[level][0])


@torch.no_grad()
def test_both_streams_of_the_bottom_start_as_the_coarsest_skip(network, photo):
    _, skip = recorded(network.poolings[3])
    streams = [recorded(block) for block in network.bottom]
    network(photo)
    (first, made), (second, _) = streams
    assert torch.equal(first[0][0], skip[0])
    assert torch.equal(first[0][1], skip[0])
    assert torch.equal(second[0][0], made[0][0])
    assert torch.equal(second[0][1], made[0][1])


@torch.no_grad()
def test_the_encoder_goes_on_without_atrous_pooling(network, photo):
    given, made = recorded(network.encoders[1])[0], recorded(network.encoders[0])[1]
    network(photo)
    assert torch.equal(given[0][0], made[0])


@torch.no_grad()
def test_atrous_pooling_adds_four_ranges_and_the_mean(network):
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 8, 9, 11)).astype(np.float32))
    pooling, plain = network.poolings[1], features[0].numpy()
    views = [convolved(layer, plain) for layer in pooling.ranges]
    mean = convolved(pooling.whole, plain.mean((1, 2), keepdims=True))
    views.append(np.broadcast_to(mean, (2, 9, 11)))
    expected = plain + convolved(pooling.merge, np.maximum(np.concatenate(views), 0))
    np.testing.assert_allclose(pooling(features)[0], expected, atol=1e-5)
    reaches = [(layer.kernel_size[0] - 1) // 2 * layer.dilation[0] for layer in pooling.ranges]
    assert reaches == [0, 2, 4, 8]


@torch.no_grad()
def test_a_dual_residual_block_keeps_a_second_stream(network):
    block = network.decoders[0].dual
    rng = np.random.default_rng(2)
    x, res = (rng.normal(size=(4, 6, 7)).astype(np.float32) for _ in range(2))
    local = np.maximum(x + convolved(block.layers[2], np.maximum(convolved(block.layers[0], x), 0)), 0)
    stream = np.maximum(res + convolved(block.wide, local), 0)
    expected = np.maximum(x + convolved(block.narrow, stream), 0)
    ours, ours_stream = block(torch.from_numpy(x)[None], torch.from_numpy(res)[None])
    np.testing.assert_allclose(ours_stream[0], stream, atol=1e-5)
    np.testing.assert_allclose(ours[0], expected, atol=1e-5)
    assert (block.wide.kernel_size, block.narrow.kernel_size) == ((5, 5), (3, 3))


@pytest.mark.parametrize(("stem", "bottom", "right"), [("unshuffle", 15, 1), ("full", 7, 1)])
@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(stem, bottom, right):
    torch.manual_seed(0)
    network, small = AttentionUnet(width=4, stem=stem), torch.rand(1, 3, 33, 47)
    padded = torch.from_numpy(np.pad(small.numpy(), ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge"))
    (bokeh, aux), (wide, wide_aux) = network(small), network(padded)
    assert torch.equal(bokeh, wide[..., :33, :47])
    for level, large, (height, width) in zip(
        aux["pyramid"], wide_aux["pyramid"], [(17, 24), (9, 12), (5, 6)], strict=True
    ):
        assert torch.equal(level, large[..., :height, :width])


def test_values_are_clamped_in_evaluation_and_keep_their_gradient_in_training(network, photo):
    make_constant(network, [1.5, 0.0, 0.0, 0.0])
    assert torch.equal(network.eval()(photo).bokeh, torch.ones_like(photo))
    bokeh = network.train()(photo).bokeh
    assert bokeh.min() > 1
    bokeh.mean().backward()
    assert network.heads[0][0].bias.grad.sum() == pytest.approx(1, abs=1e-5)


def test_the_smaller_renderings_can_be_supervised_alone(network, photo):
    rendering = network(photo)
    loss = WeightedSum({"coarse": {"weight": 1.0, "compares": "pyramid", "loss": L1()}})
    loss({"bokeh": rendering.bokeh, **rendering.aux}, {"bokeh": photo})[0].backward()
    heads = [head[0].weight.grad is not None for head in network.heads]
    assert heads == [False, True, True, True]
    assert all(p.grad is None for p in network.decoders[0].parameters())


@pytest.mark.parametrize("width", [0, -4, 6])
def test_a_width_is_a_positive_multiple_of_four(width):
    with pytest.raises(RequestError, match=f"positive multiple of 4, but got {width}; the usual one is 32"):
        AttentionUnet(width=width)


def test_an_unknown_stem_names_the_nearest():
    with pytest.raises(RequestError, match="unshuffle, full, but got 'ful'; did you mean 'full'"):
        AttentionUnet(width=4, stem="ful")


def test_only_convolutions_have_parameters(network):
    owners = {type(m) for m in network.modules() if list(m.parameters(recurse=False))}
    assert owners == {nn.Conv2d}
