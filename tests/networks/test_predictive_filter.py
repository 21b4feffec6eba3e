"""The counts of the fact sheet, the kernels' constraint, and the flow between levels against SciPy and NumPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.networks.predictive_filter import PredictiveFilter

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PredictiveFilter(width=4, kernel_size=5)


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 48, 64), dtype=np.float32))


def recorded(module):
    """What a module is given and returns, filled by the next forward."""
    given, returned = [], []

    def record(module, inputs, output):
        given.extend(inputs)
        returned.append(output)

    module.register_forward_hook(record)
    return given, returned


@torch.no_grad()
def predict_only(level, tap):
    """Let a level predict kernels of one tap, the same everywhere."""
    last = level.predict[2]
    last.weight.zero_()
    last.bias.zero_()
    last.bias[4 * tap : 4 * tap + 4] = 100.0


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 5_060_592),
        ({"kernel_size": 5}, 4_894_416),
        ({"kernel_size": 9}, 5_282_160),
        ({"width": 32}, 1_592_080),
    ],
)
def test_the_network_has_the_known_size(arguments, parameters):
    with torch.device("meta"):
        network = PredictiveFilter(**arguments)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert not [m for m in network.modules() if "Norm" in type(m).__name__]


def test_a_full_photo_costs_the_known_products():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        PredictiveFilter().eval()(torch.rand(1, 3, 1024, 1536))
    assert counter.get_total_flops() / 2e9 == pytest.approx(845, abs=0.5)


def test_convolutions_are_dilated_and_connected_as_known(network):
    for level, dilations in zip(network.levels, [(1, 2, 3, 2, 1), (1, 2, 3, 2, 1), (1, 2, 2, 2, 1)], strict=True):
        assert tuple(layer.dilation[0] for layer in level.fuse.layers) == dilations
        assert [layer.in_channels for layer in level.fuse.layers] == [8, 12, 16, 20, 24]
    assert [head.stride[0] for head in network.heads] == [1, 2, 2]


@torch.no_grad()
def test_an_open_gate_takes_one_view_and_a_closed_gate_the_other(network):
    fuse = network.levels[0].fuse
    features = torch.rand(1, 8, 12, 12)
    for conv, bias in ((fuse.opened, 2.0), (fuse.closed, 5.0)):
        conv.weight.zero_()
        conv.bias.fill_(bias)
    fuse.gate.weight.zero_()
    for logit, expected in ((100.0, 2.0), (-100.0, 5.0), (0.0, 3.5)):
        fuse.gate.bias.fill_(logit)
        torch.testing.assert_close(fuse(features), features + expected)
    fuse.opened.bias.fill_(-2.0)
    fuse.gate.bias.fill_(100.0)
    torch.testing.assert_close(fuse(features), features)


@torch.no_grad()
def test_kernels_are_not_negative_and_sum_to_one(network, photo):
    for level in network.levels:
        level.predict[2].weight.mul_(30)
    kernels = network.eval()(photo).aux["kernels"]
    assert kernels.shape == (1, 25, 48, 64)
    assert kernels.min() >= 0
    assert kernels.max() > 0.5
    torch.testing.assert_close(kernels.sum(dim=1), torch.ones(1, 48, 64))


@torch.no_grad()
@pytest.mark.parametrize("tap", [12, 3, 20])
def test_a_kernel_of_one_tap_shifts_the_image_that_was_reconstructed(network, photo, tap):
    level = network.levels[0]
    predict_only(level, tap)
    _, images = recorded(level.reconstruct)
    bokeh = network.train()(photo).bokeh
    delta = np.zeros((1, 1, 25))
    delta[0, 0, tap] = 1.0
    expected = ndimage.correlate(images[0].numpy(), delta.reshape(1, 1, 5, 5), mode="nearest")
    np.testing.assert_allclose(bokeh.numpy(), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_constant_image_stays_constant_under_any_kernels(network, photo):
    last = network.levels[0].reconstruct[0]
    last.weight.zero_()
    last.bias.fill_(0.7)
    torch.testing.assert_close(network.eval()(photo).bokeh, torch.full_like(photo, 0.7))


@torch.no_grad()
def test_every_level_is_given_the_features_of_its_size_and_the_coarser_rendering(network, photo):
    records = [recorded(level) for level in network.levels]
    rendering = network.train()(photo)
    finer, middle, coarse = (given for given, _ in records)
    assert [tuple(given[0].shape[-2:]) for given in (finer, middle, coarse)] == [(24, 32), (12, 16), (6, 8)]
    assert len(coarse) == 1
    assert finer[1] is records[1][1][0][0]
    assert middle[1] is records[2][1][0][0]
    assert torch.equal(rendering.aux["pyramid"][0], finer[1])
    assert torch.equal(rendering.aux["pyramid"][1], middle[1])


@torch.no_grad()
def test_the_first_convolution_sees_the_photo_and_where_its_pixels_are(network, photo):
    given, _ = recorded(network.heads[0])
    network(photo)
    blocks = given[0].numpy().reshape(1, 5, 2, 2, 24, 32)  # space to depth: channel, row and column in the block
    whole = blocks.transpose(0, 1, 4, 2, 5, 3).reshape(1, 5, 48, 64)
    np.testing.assert_array_equal(whole[:, :3], photo.numpy())
    vertical, horizontal = np.mgrid[-1:1:48j, -1:1:64j]
    np.testing.assert_allclose(whole[0, 3], vertical, rtol=0, atol=1e-6)
    np.testing.assert_allclose(whole[0, 4], horizontal, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_crop_is_rendered_by_its_place(network, photo):
    places = torch.from_numpy(np.mgrid[-1:1:48j, -1:1:64j].astype(np.float32))[None]
    network.eval()
    whole = network(photo).bokeh
    torch.testing.assert_close(network(photo, coordinates=places).bokeh, whole)
    elsewhere = network(photo, coordinates=places / 2 + 0.5).bokeh
    assert (elsewhere - whole).abs().max() > 1e-3


@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(network):
    small, places = torch.rand(1, 3, 33, 47), torch.rand(1, 2, 33, 47)
    margins = ((0, 0), (0, 0), (0, 7), (0, 1))
    padded, padded_places = (torch.from_numpy(np.pad(x.numpy(), margins, mode="edge")) for x in (small, places))
    (bokeh, aux), (wide, wide_aux) = network(small, places), network(padded, padded_places)
    assert torch.equal(bokeh, wide[..., :33, :47])
    assert torch.equal(aux["kernels"], wide_aux["kernels"][..., :33, :47])
    assert torch.equal(aux["pyramid"][0], wide_aux["pyramid"][0][..., :17, :24])
    assert torch.equal(aux["pyramid"][1], wide_aux["pyramid"][1][..., :9, :12])


@pytest.mark.parametrize(("value", "clamped"), [(1.5, 1.0), (-0.5, 0.0)])
def test_values_are_clamped_in_evaluation_and_keep_their_gradient_in_training(network, photo, value, clamped):
    last = network.levels[0].reconstruct[0]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, value)
    assert torch.equal(network.eval()(photo).bokeh, torch.full_like(photo, clamped))
    bokeh = network.train()(photo).bokeh
    torch.testing.assert_close(bokeh, torch.full_like(photo, value))
    bokeh.mean().backward()
    assert last.bias.grad.sum() == pytest.approx(1, abs=1e-5)


def test_the_smaller_renderings_can_be_supervised_alone(network, photo):
    rendering = network(photo)
    loss = WeightedSum({"coarse": {"weight": 1.0, "compares": "pyramid", "loss": L1()}})
    loss({"bokeh": rendering.bokeh, **rendering.aux}, {"bokeh": photo})[0].backward()
    trained = {n.split(".")[1] for n, p in network.named_parameters() if n.startswith("levels") and p.grad is not None}
    assert trained == {"1", "2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "positive number of features, but got 0; the default is 64"),
        ({"kernel_size": 4}, "odd and positive, but got 4; the default is 7"),
        ({"kernel_size": -1}, "odd and positive, but got -1; the default is 7"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        PredictiveFilter(**arguments)
