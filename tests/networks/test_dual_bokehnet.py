"""Published counts, the flow between the two networks, and the blocks against SciPy and by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.networks.dual_bokehnet import DualBokehNet, _MemNet
from lensblend.nn.attention import SelectiveKernelUnit

pytestmark = pytest.mark.usefixtures("one_thread")

# In the released code, but in no product of its forward: `b_4` of each ResASPP, and a linear head.
UNUSED_IN_RES_ASPP = 64 * 64
UNUSED_HEAD = 64 * 2 + 2
UNUSED = 4 * UNUSED_IN_RES_ASPP + UNUSED_HEAD


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DualBokehNet(width=8).eval()


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 40, 48), dtype=np.float32))


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def recorded(*modules):
    """What each module is given, filled by the next forward."""
    given = []
    for module in modules:
        module.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    return given


@torch.no_grad()
def make_constant(layer, value):
    layer.weight.zero_()
    layer.bias.fill_(value)


def dilated(kernel, dilation):
    """A kernel with zeros between its taps."""
    wide = np.zeros([dilation * (side - 1) + 1 for side in kernel.shape])
    wide[::dilation, ::dilation] = kernel
    return wide


def convolve(layer, image):
    """Correlate with a layer's kernels, zeros around the image; each kernel sees its group of channels."""
    weight = layer.weight.detach().double().numpy()
    per_group = len(weight) // layer.groups
    planes = []
    for index, kernels in enumerate(weight):
        first = index // per_group * weight.shape[1]
        planes.append(
            sum(
                correlate(plane, dilated(kernel, layer.dilation[0]), mode="constant")
                for plane, kernel in zip(image[first:], kernels, strict=False)
            )
        )
    return np.stack(planes)


def test_what_is_published_is_ours_and_what_the_released_code_leaves_unused():
    with torch.device("meta"):
        ours, released = DualBokehNet(), DualBokehNet(variant="released")
    block = ours.local_net.memory.blocks[0]
    assert count(block.layers[2]) + UNUSED_IN_RES_ASPP == 47_104
    assert count(block) + UNUSED_IN_RES_ASPP == 379_456
    for network in (ours, released):
        assert count(network.local_net, network.local_head) + UNUSED == 2_643_269
        assert count(network.global_net, network.global_head) + UNUSED == 2_643_269
    assert count(released.fusion) == 85_859
    assert count(ours.fusion) == 62_019
    assert count(released) + 2 * UNUSED == 5_372_397


def test_shared_weights_save_the_fourth_block_of_each_network():
    with torch.device("meta"):
        apart, shared = (DualBokehNet(variant="released", released_weight_sharing=flag) for flag in (False, True))
    assert count(shared) + 2 * (379_456 - UNUSED_IN_RES_ASPP) == count(apart)


def test_memnet_has_its_papers_count():
    with torch.device("meta"):
        memory = DualBokehNet(memory="memnet").local_net.memory
    assert count(memory) == 442_368 + 233_472
    # Tai et al. give 677 K for six blocks of six passes between a 3×3 convolution from grey and one back.
    assert round((count(memory) + 2 * 9 * 64) / 1000) == 677


def test_the_released_network_costs_what_the_table_says():
    with torch.device("meta"):
        network, photo = DualBokehNet(variant="released").eval(), torch.rand(1, 3, 1024, 1536)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(photo)
    assert round(counter.get_total_flops() / 2e9) == 899


@torch.no_grad()
def test_the_global_network_sees_every_second_pixel_and_both_add_to_what_they_see(network, photo):
    given = recorded(network.local_net, network.global_net)
    make_constant(network.local_head, 0.3)
    make_constant(network.global_head, -0.2)
    aux = network(photo).aux
    assert torch.equal(given[0][0], photo)
    assert torch.equal(given[1][0], photo[..., ::2, ::2])
    np.testing.assert_allclose(aux["local_bokeh"], photo + np.tanh(np.tanh(0.3)), atol=1e-6)
    expected = np.repeat(np.repeat(photo.numpy()[..., ::2, ::2], 2, axis=2), 2, axis=3) + np.tanh(np.tanh(-0.2))
    np.testing.assert_allclose(aux["global_bokeh"], expected, atol=1e-6)
    assert aux["global_bokeh"].min() < 0  # not clamped


@torch.no_grad()
def test_the_reports_fusion_is_given_both_features_and_adds_the_photo(network, photo):
    given = recorded(network.fusion)
    make_constant(network.fusion[-1], 0.3)
    bokeh = network.train()(photo).bokeh
    near, far = network.local_net(photo), network.global_net(photo[..., ::2, ::2])
    assert torch.equal(given[0][0][:, :8], near)
    assert torch.equal(given[0][0][:, 8:], far.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    np.testing.assert_allclose(bokeh, photo + np.tanh(0.3), atol=1e-6)
    np.testing.assert_allclose(network.eval()(photo).bokeh, (photo + np.tanh(0.3)).clamp(0, 1), atol=1e-6)


@torch.no_grad()
def test_the_released_fusion_is_given_both_renderings_and_adds_nothing(photo):
    network = DualBokehNet(width=8, variant="released")
    given = recorded(network.fusion)
    make_constant(network.fusion[-1], -0.3)
    bokeh, aux = network(photo)
    assert torch.equal(given[0][0], torch.cat([aux["local_bokeh"], aux["global_bokeh"]], dim=1))
    np.testing.assert_allclose(bokeh, np.full(photo.shape, np.tanh(-0.3)), atol=1e-6)
    assert not network.eval()(photo).bokeh.any()


def test_biases_are_where_the_released_network_has_them():
    with torch.device("meta"):
        net = DualBokehNet().local_net
    assert [each[0].bias.numel() for each in (net.enlarge, net.enlarge_again)] == [256, 256]
    inside = [layer for each in net.memory.transitions for layer in each if isinstance(layer, torch.nn.Conv2d)]
    assert len(inside) == 8
    assert all(layer.bias is None for layer in inside)


@torch.no_grad()
def test_the_photo_comes_in_again_after_every_memory_block(network, photo):
    memory = network.local_net.memory
    given = recorded(*memory.transitions)
    network(photo)
    pooled = photo.numpy().reshape(3, 10, 4, 12, 4).mean((2, 4))
    assert len(given) == 4
    for inputs in given:
        np.testing.assert_allclose(inputs[0][0, 8:], pooled, atol=1e-6)
    entered = recorded(memory.blocks[1])
    memory.transitions[0][-1].register_forward_hook(lambda layer, inputs, output: torch.full_like(output, 0.5))
    network(photo)
    torch.testing.assert_close(entered[0][0], given[4][0][:, :8] + 0.5)


@pytest.mark.parametrize(("shares", "passes"), [(False, [1, 1, 1, 1]), (True, [1, 1, 2])])
@torch.no_grad()
def test_the_third_block_stands_in_for_the_fourth_where_weights_are_shared(photo, shares, passes):
    network = DualBokehNet(width=8, released_weight_sharing=shares)
    blocks = network.global_net.memory.blocks
    given = [recorded(block) for block in blocks]
    network(photo)
    assert [len(each) for each in given] == passes


@torch.no_grad()
def test_res_aspp_adds_the_results_of_three_stages_in_series(network):
    block = network.local_net.memory.blocks[0].layers[2].double()
    features = np.random.default_rng(1).standard_normal((8, 20, 18))
    expected, stage_features = features, features
    for stage in block.stages:
        reduced = np.maximum(convolve(stage.reduce, stage_features), 0)
        pyramid = [np.maximum(convolve(layer, reduced), 0) for layer in stage.dilated]
        assert [layer.dilation[0] for layer in stage.dilated] == [2, 4, 6, 8]
        stage_features = convolve(stage.fuse, np.concatenate(pyramid))
        expected = expected + stage_features
    np.testing.assert_allclose(block(torch.from_numpy(features)[None])[0], expected, atol=1e-9)


@torch.no_grad()
def test_a_memory_block_adds_and_cuts_off(network):
    block = network.local_net.memory.blocks[0]
    make_constant(block.layers[-1], -0.5)
    features = torch.randn(1, 8, 12, 12)
    torch.testing.assert_close(block(features), (features - 0.5).clamp_min(0))


@torch.no_grad()
def test_selective_kernels_weigh_two_fields_of_view_by_a_softmax():
    torch.manual_seed(0)
    unit = SelectiveKernelUnit(8).double().eval()
    features = np.random.default_rng(2).standard_normal((8, 11, 9))
    scale = 1 / np.sqrt(1 + 1e-5)  # what a normalisation does before training
    entered = np.maximum(scale * convolve(unit.enter[0], features), 0)
    fields = [np.maximum(scale * convolve(kernel[0], entered), 0) for kernel in unit.kernels]
    assert [kernel[0].dilation for kernel in unit.kernels] == [(1, 1), (2, 2)]
    pooled = (fields[0] + fields[1]).mean((1, 2))
    squeezed = np.maximum(scale * (unit.squeeze.weight.numpy() @ pooled), 0)
    scores = np.exp([layer.weight.numpy() @ squeezed + layer.bias.numpy() for layer in unit.choose])
    shares = scores / scores.sum(0)
    chosen = sum(share[:, None, None] * field for share, field in zip(shares, fields, strict=True))
    expected = np.maximum(features + scale * convolve(unit.leave[0], chosen), 0)
    np.testing.assert_allclose(unit(torch.from_numpy(features)[None])[0], expected, atol=1e-9)


def test_published_selective_kernels_have_32_groups_and_32_squeezed_features():
    with torch.device("meta"):
        unit = DualBokehNet().fusion[1]
    assert [kernel[0].groups for kernel in unit.kernels] == [32, 32]
    assert unit.squeeze.out_features == 32


def test_a_single_photo_is_normalised_by_the_running_statistics():
    unit = SelectiveKernelUnit(8)
    before = unit.norm.running_mean.clone()
    unit(torch.rand(1, 8, 12, 12))
    assert torch.equal(unit.norm.running_mean, before)
    unit(torch.rand(2, 8, 12, 12))
    assert not torch.equal(unit.norm.running_mean, before)


@torch.no_grad()
def test_memnet_passes_its_units_six_times_and_gates_all_it_remembers():
    memory = _MemNet(width=2, blocks=2)
    for layer in (*(unit[i] for unit in memory.units for i in (1, 3)), *memory.gates):
        layer.weight.zero_()
        for index in range(layer.in_channels):
            layer.weight[index % 2, index, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1.0
    # Each pass doubles: 2 + 4 + … + 64 = 126 of what comes in, and what is remembered.
    result = memory(torch.ones(1, 2, 8, 8), torch.zeros(1, 3, 8, 8))
    first = 126 + 1
    assert torch.equal(result, torch.full_like(result, 126 * first + first + 1))
    assert [gate.in_channels for gate in _MemNet(width=2).gates] == [14, 16, 18, 20, 22, 24]


@torch.no_grad()
def test_other_sizes_repeat_the_last_row_and_column(network):
    small = torch.rand(1, 3, 33, 47)
    padded = torch.from_numpy(np.pad(small.numpy(), ((0, 0), (0, 0), (0, 7), (0, 1)), mode="edge"))
    (bokeh, aux), (wide, wide_aux) = network(small), network(padded)
    assert torch.equal(aux["local_bokeh"], wide_aux["local_bokeh"][..., :33, :47])
    assert torch.equal(aux["global_bokeh"], wide_aux["global_bokeh"][..., :33, :47])
    torch.testing.assert_close(bokeh, wide[..., :33, :47])


@pytest.mark.parametrize(
    ("compared", "trained"),
    [
        (["local_bokeh", "global_bokeh"], {"local_net", "local_head", "global_net", "global_head"}),
        (["bokeh"], {"local_net", "global_net", "fusion"}),
    ],
)
def test_each_phase_reaches_what_it_trains(network, photo, compared, trained):
    bokeh, aux = network.train()(photo)
    loss = WeightedSum({name: {"weight": 1.0, "compares": name, "loss": L1()} for name in compared})
    loss({"bokeh": bokeh, **aux}, dict.fromkeys(compared, photo.flip(-1)))[0].backward()
    assert {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None} == trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`width` is a positive multiple of 4, but got 0; the published one is 64"),
        ({"width": 30}, "`width` is a positive multiple of 4, but got 30; the published one is 64"),
        ({"variant": "paper"}, "`variant` is one of report, released, but got 'paper'; did you mean"),
        ({"memory": "none"}, "`memory` is one of released, memnet, but got 'none'; did you mean"),
        ({"memory": "memnet", "released_weight_sharing": True}, "belongs to `memory: released`, but got 'memnet'"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(RequestError, match=message):
        DualBokehNet(**options)


def test_an_untrained_fusion_leaves_the_photo_nearly_as_it_is():
    torch.manual_seed(0)
    network, photo = DualBokehNet(width=20), torch.rand(2, 3, 48, 48)
    assert (network(photo).bokeh - photo).abs().mean() < 0.03
    assert (DualBokehNet(width=20, variant="released")(photo).bokeh - photo).abs().mean() > 0.3
