"""The published counts, and the flow between levels and networks against NumPy and OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical, StackedMultiscaleHierarchical

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MultiscaleHierarchical(width=4)


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 48, 64), dtype=np.float32))


@torch.no_grad()
def make_constant(hierarchy, values):
    """Let the decoder of every level, finest first, give one value everywhere."""
    for decoder, value in zip(hierarchy.decoders, values, strict=True):
        decoder[-1].weight.zero_()
        decoder[-1].bias.fill_(value)


def resized(tensor, height, width, interpolation=cv2.INTER_LINEAR):
    rows = tensor[0].detach().numpy().transpose(1, 2, 0)
    return cv2.resize(rows, (width, height), interpolation=interpolation).transpose(2, 0, 1)


def recorded(modules):
    """Lists of what each module is given and returns, filled by the next forward."""
    given, returned = [], []

    def record(module, inputs, output):
        given.append(inputs[0])
        returned.append(output)

    for module in modules:
        module.register_forward_hook(record)
    return given, returned


@pytest.mark.parametrize(
    ("kind", "parameters"), [(MultiscaleHierarchical, 5_424_393), (StackedMultiscaleHierarchical, 10_848_786)]
)
def test_the_published_networks_have_the_published_size(kind, parameters):
    with torch.device("meta"):
        network = kind()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert not [m for m in network.modules() if "Norm" in type(m).__name__]


def test_every_level_has_the_published_layers(network):
    for part in (*network.hierarchies[0].encoders, *network.hierarchies[0].decoders):
        layers = [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        kinds = [(type(m), m.kernel_size, m.stride, m.padding) for m in layers]
        assert all(m.bias is not None for m in layers)
        assert len(layers) == 15
        halving = (nn.Conv2d, (3, 3), (2, 2), (1, 1))
        doubling = (nn.ConvTranspose2d, (4, 4), (2, 2), (1, 1))
        assert {i for i, kind in enumerate(kinds) if kind in (halving, doubling)} in ({5, 10}, {4, 9})
        assert kinds.count((nn.Conv2d, (3, 3), (1, 1), (1, 1))) == 13


@torch.no_grad()
def test_a_residual_reaches_the_smaller_renderings_but_not_the_bokeh(network, photo):
    make_constant(network.hierarchies[0], [0.25, 0.125, -0.5])
    bokeh, aux = network.eval()(photo)
    assert torch.equal(bokeh, torch.full_like(photo, 0.25))
    half, quarter = aux["pyramid"]
    np.testing.assert_allclose(half[0], resized(photo, 24, 32, cv2.INTER_AREA) + 0.125, atol=1e-6)
    np.testing.assert_allclose(quarter[0], resized(photo, 12, 16, cv2.INTER_AREA) - 0.5, atol=1e-6)


@torch.no_grad()
def test_a_level_is_given_the_residual_and_the_feature_of_the_coarser_one(network, photo):
    hierarchy = network.hierarchies[0]
    images, features = recorded(hierarchy.encoders)
    decoded, residuals = recorded(hierarchy.decoders)
    bokeh = network(photo).bokeh
    assert [tuple(f.shape[1:]) for f in features] == [(16, 3, 4), (16, 6, 8), (16, 12, 16)]
    np.testing.assert_allclose(images[0][0], resized(photo, 12, 16, cv2.INTER_AREA), atol=1e-6)
    np.testing.assert_array_equal(decoded[0], features[0])
    for level, (height, width) in ((1, (24, 32)), (2, (48, 64))):
        scaled = resized(photo, height, width, cv2.INTER_AREA)
        expected = scaled + resized(residuals[level - 1], height, width)
        np.testing.assert_allclose(images[level][0], expected, atol=1e-5)
        expected = features[level][0].numpy() + resized(features[level - 1], height // 4, width // 4)
        np.testing.assert_allclose(decoded[level][0], expected, atol=1e-5)
    assert torch.equal(bokeh, residuals[2])


@torch.no_grad()
def test_the_second_network_is_fed_by_the_first_unclamped(photo):
    torch.manual_seed(0)
    stacked = StackedMultiscaleHierarchical(width=4).eval()
    given, returned = recorded(stacked.hierarchies)
    bokeh, aux = stacked(photo)
    assert torch.equal(given[0], photo)
    assert torch.equal(given[1], returned[0][0])
    assert given[1].min() < 0
    assert torch.equal(bokeh, returned[1][0].clamp(0, 1))
    assert [tuple(level.shape[-2:]) for level in aux["pyramid"]] == [(24, 32), (12, 16)] * 2
    alone = MultiscaleHierarchical(width=4).eval()
    alone.hierarchies[0].load_state_dict(stacked.hierarchies[0].state_dict())
    assert torch.equal(alone(photo).bokeh, given[1].clamp(0, 1))
    assert all(torch.equal(a, b) for a, b in zip(alone(photo).aux["pyramid"], aux["pyramid"][:2], strict=True))


@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(network):
    small = torch.rand(1, 3, 33, 47)
    padded = torch.from_numpy(np.pad(small.numpy(), ((0, 0), (0, 0), (0, 15), (0, 1)), mode="edge"))
    (bokeh, aux), (wide, wide_aux) = network(small), network(padded)
    assert torch.equal(bokeh, wide[..., :33, :47])
    assert torch.equal(aux["pyramid"][0], wide_aux["pyramid"][0][..., :17, :24])
    assert torch.equal(aux["pyramid"][1], wide_aux["pyramid"][1][..., :9, :12])


@pytest.mark.parametrize(("value", "clamped"), [(1.5, 1.0), (-0.5, 0.0)])
def test_values_are_clamped_in_evaluation_and_keep_their_gradient_in_training(network, photo, value, clamped):
    make_constant(network.hierarchies[0], [value, 0.0, 0.0])
    assert torch.equal(network.eval()(photo).bokeh, torch.full_like(photo, clamped))
    bokeh = network.train()(photo).bokeh
    assert torch.equal(bokeh, torch.full_like(photo, value))
    bokeh.mean().backward()
    assert network.hierarchies[0].decoders[0][-1].bias.grad.sum() == pytest.approx(1, abs=1e-5)


def test_the_smaller_renderings_can_be_supervised_alone(network, photo):
    rendering = network(photo)
    loss = WeightedSum({"coarse": {"weight": 1.0, "compares": "pyramid", "loss": L1()}})
    loss({"bokeh": rendering.bokeh, **rendering.aux}, {"bokeh": photo})[0].backward()
    trained = {n.split(".")[3] for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == {"1", "2"}


@pytest.mark.parametrize("width", [0, -4])
def test_a_width_is_positive(width):
    with pytest.raises(RequestError, match=f"positive number of features, but got {width}; the published one is 32"):
        MultiscaleHierarchical(width=width)
