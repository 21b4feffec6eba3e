"""Counts and cost, what sees what, and the non-local block against SciPy."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.networks.nonlocal_autoencoder import NonlocalAutoencoder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return NonlocalAutoencoder(width=4)


@pytest.fixture
def block(network):
    """The non-local block as it may be after training."""
    nn.init.normal_(network.nonlocal_block.out.weight)
    return network.nonlocal_block


def given_to(module):
    """What a module is given, filled by the next forward."""
    given = []
    module.register_forward_hook(lambda _, inputs, output: given.append(inputs[0]))
    return given


@pytest.mark.parametrize(("width", "parameters"), [(64, 1_836_469), (32, 473_925)])
def test_the_usual_network_has_the_size_of_the_fact_sheet(width, parameters):
    with torch.device("meta"):
        network = NonlocalAutoencoder(width)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert not [m for m in network.modules() if "Norm" in type(m).__name__]


@torch.no_grad()
def test_the_cost_is_that_of_the_fact_sheet_and_attention():
    with torch.device("meta"):
        network, photo = NonlocalAutoencoder().eval(), torch.empty(1, 3, 1024, 1024)
    with FlopCounterMode(display=False) as counter:
        network(photo)
    # Two products of 256 maps of 256 positions by 256 positions by 32 features; the fact sheet counts layers only.
    attention = 2 * 256 * 256 * 256 * 32 / 1e9
    assert counter.get_total_flops() / 2e9 - attention == pytest.approx(120, abs=0.5)


@torch.no_grad()
def test_every_step_moves_three_quarters_of_the_pixels_into_the_batch(network):
    before = [given_to(step.before) for step in (*network.encoder, *network.decoder)]
    bottom, last = given_to(network.nonlocal_block), given_to(network.up)
    network(torch.rand(2, 3, 64, 128))
    shapes = [(2, 4, 16, 32), (8, 4, 8, 16), (32, 4, 4, 8), (128, 4, 2, 4), (512, 4, 1, 2)]
    assert [tuple(given[0].shape) for given in before] == [*shapes[:4], *shapes[:0:-1]]
    assert bottom[0].shape == shapes[4]
    assert last[0].shape == shapes[0]


def test_a_step_after_another_reaches_twice_as_far(network):
    """What one position of a map depends on, after each encoder step alone: 2 on its grid and 2 on the next one."""
    for step in network.encoder:
        for block in (step.before, step.after):
            nn.init.ones_(block.layers[0].weight)
            nn.init.ones_(block.layers[2].weight)
    features = torch.rand(1, 4, 96, 96, requires_grad=True)
    made = features
    reached = []
    for step in network.encoder:
        made = step(made)
        seen = torch.autograd.grad(made[0, 0, made.shape[2] // 2, made.shape[3] // 2], features, retain_graph=True)[0]
        rows = seen.abs().sum((0, 1, 3)).nonzero().flatten()
        reached.append((rows.max() - rows.min()).item() // 2)
    assert reached[:3] == [2 + 4, 2 + 4 + 4 + 8, 2 + 4 + 4 + 8 + 8 + 16]


@torch.no_grad()
def test_the_non_local_block_starts_as_the_identity(network):
    features = torch.randn(3, 4, 5, 7)
    assert torch.equal(network.nonlocal_block(features), features)


@torch.no_grad()
def test_the_non_local_block_weighs_all_positions_by_likeness(block):
    features = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    flat = features.reshape(2, 4, 15)

    def embedded(layer, values):
        return np.einsum("oc,bcn->bon", layer.weight[..., 0, 0].numpy(), values) + layer.bias.numpy()[None, :, None]

    query, key, value = (embedded(layer, flat) for layer in (block.query, block.key, block.value))
    likeness = softmax(np.einsum("bci,bcj->bij", query, key), axis=2)
    seen = np.einsum("bij,bcj->bci", likeness, value)
    expected = features + embedded(block.out, seen).reshape(features.shape)
    np.testing.assert_allclose(block(torch.from_numpy(features)), expected, atol=1e-5)


@pytest.mark.usefixtures("block")
@torch.no_grad()
def test_photos_of_a_batch_do_not_see_each_other(network):
    first, second, third = torch.rand(3, 1, 3, 64, 64)
    one = network(torch.cat([first, second])).bokeh[0]
    other = network(torch.cat([first, third])).bokeh[0]
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_photo_is_joined_to_what_comes_up(network):
    network.out.weight.zero_()
    network.out.bias.zero_()
    for channel in range(3):
        network.out.weight[channel, 3 + channel, 1, 1] = 1  # after the three that come up
    photo = torch.rand(1, 3, 48, 70)
    assert torch.equal(network(photo).bokeh, photo)
    network.up[0].weight.zero_()
    network.up[0].bias.copy_(torch.arange(48.0))
    network.out.weight[:, :3, 1, 1] = torch.eye(3)
    # Channel c of pixel (y, x) in each 4×4 comes from feature 16 c + 4 y + x.
    block = np.arange(48.0).reshape(3, 4, 4)
    np.testing.assert_allclose(network(photo).bokeh[0] - photo[0], np.tile(block, (12, 18))[:, :48, :70], atol=1e-5)


@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(network):
    small = torch.rand(1, 3, 33, 47)
    padded = torch.from_numpy(np.pad(small.numpy(), ((0, 0), (0, 0), (0, 31), (0, 17)), mode="edge"))
    assert torch.equal(network(small).bokeh, network(padded).bokeh[..., :33, :47])


@torch.no_grad()
def test_values_are_clamped_in_evaluation_only(network):
    network.out.weight.zero_()
    network.out.bias.copy_(torch.tensor([1.5, 0.5, -0.5]))
    photo = torch.rand(1, 3, 32, 32)
    assert network.eval()(photo).bokeh[0, :, 5, 5].tolist() == [1.0, 0.5, 0.0]
    assert network.train()(photo).bokeh[0, :, 5, 5].tolist() == [1.5, 0.5, -0.5]


@pytest.mark.parametrize("width", [0, -2, 5])
def test_a_width_is_positive_and_even(width):
    with pytest.raises(RequestError, match=f"positive even number of features, but got {width}; the usual one is 64"):
        NonlocalAutoencoder(width=width)
