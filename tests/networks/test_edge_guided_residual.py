"""Published counts, the way of luma and colour against OpenCV, and what the branches are given against SciPy."""

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.networks.edge_guided_residual import EDGE_THRESHOLD, EdgeGuidedResidual

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).random((3, 40, 48))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy(smooth).float()[None]


def build(**options):
    torch.manual_seed(0)
    return EdgeGuidedResidual(width=4, **options)


def rows(tensor):
    return tensor[0].detach().numpy().transpose(1, 2, 0)


@torch.no_grad()
def shift(network, value):
    """Let the residual network return one value everywhere."""
    last = network.residual[-1]
    last.register_forward_hook(lambda module, inputs, output: torch.full_like(output, value))


def given(network, photo):
    """What each branch is given."""
    seen = []
    for branch in network.branches:
        branch.register_forward_pre_hook(lambda module, inputs: seen.append(rows(inputs[0])))
    network.eval()(photo)
    return seen


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({}, 1_107_712), ({"variant": "report"}, 1_107_712), ({"attention": True}, 1_107_818)],
)
def test_the_published_networks_have_the_published_size(options, parameters):
    with torch.device("meta"):
        network = EdgeGuidedResidual(**options)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert [sum(p.numel() for p in branch.parameters()) for branch in network.branches] == [78_345] * 3
    assert sum(p.numel() for p in network.residual.parameters()) == 872_677


def test_the_convolutions_cost_what_the_table_says():
    with torch.device("meta"):
        network, photo = EdgeGuidedResidual().eval(), torch.rand(1, 3, 1024, 1536)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(photo)
    assert round(counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2e9) == 1736


@pytest.mark.parametrize(("attention", "activations"), [(False, {nn.Tanh: 12, nn.ReLU: 0}), (True, {nn.ReLU: 12})])
def test_every_layer_of_a_branch_is_normalised_and_bounded(attention, activations):
    network = build(attention=attention)
    modules = list(network.branches.modules())
    assert all(sum(type(m) is kind for m in modules) == count for kind, count in activations.items())
    assert sum(type(m) is nn.BatchNorm2d for m in modules) == 12
    assert not any(type(m) is nn.ReLU for m in network.residual.modules())


@pytest.mark.parametrize(("variant", "sigmas"), [("released", (1.6, 9.05, 204.8)), ("report", (2.26, 9.05, 204.8))])
def test_branches_see_luma_blurred_by_five_pixels_beside_its_edges(photo, variant, sigmas):
    seen = given(build(variant=variant), photo)
    grey = 2.0 * cv2.cvtColor(rows(photo), cv2.COLOR_RGB2GRAY) - 1
    for inputs, sigma in zip(seen, sigmas, strict=True):
        blurred = cv2.GaussianBlur(grey, (5, 5), sigma)
        for channel in range(3):
            np.testing.assert_allclose(inputs[..., channel], blurred, atol=1e-4)
        np.testing.assert_array_equal(inputs[..., 3], seen[0][..., 3])
    np.testing.assert_allclose(seen[2][..., 0], cv2.blur(grey, (5, 5), borderType=cv2.BORDER_REFLECT_101), atol=1e-4)


def test_in_rgb_each_channel_has_its_own_blur(photo):
    seen = given(build(colour="rgb"), photo)
    np.testing.assert_allclose(seen[1][..., :3], cv2.GaussianBlur(2 * rows(photo) - 1, (5, 5), 9.05), atol=1e-4)


@pytest.mark.parametrize("colour", ["luma", "rgb"])
def test_edges_are_those_of_the_released_threshold(photo, colour):
    """There, the Gaussian's taps are not normalised, and the threshold is 20."""
    edges = build(colour=colour).eval()(photo).aux["edges"][0, 0].numpy()
    image = (
        rows(photo).astype(np.float64) if colour == "rgb" else cv2.cvtColor(rows(photo), cv2.COLOR_RGB2GRAY)[..., None]
    )
    taps = np.exp(-0.5 * np.arange(-2, 3) ** 2)
    strength = 0.0
    for channel in range(3):
        plane = 2 * image[..., channel % image.shape[2]].astype(np.float64) - 1
        for axis in (0, 1):
            plane = ndimage.correlate1d(plane, taps, axis=axis, mode="mirror")
        strength = strength + sum(ndimage.sobel(plane, axis, mode="nearest") ** 2 for axis in (0, 1))
    assert edges.any()
    assert (strength[edges > 0] > 20).all()
    np.testing.assert_allclose(edges[edges > 0], (strength * EDGE_THRESHOLD / 20)[edges > 0], rtol=1e-3)
    low, high = strength[edges > 0].min(), strength.max()
    assert low < 22 < high  # weak edges just above the threshold are not lost


@torch.no_grad()
def test_luma_changes_by_half_the_residual_and_colour_stays(photo):
    network = build().eval()
    shift(network, 0.25)
    middle = 0.25 + 0.5 * photo
    before, after = (cv2.cvtColor(rows(image), cv2.COLOR_RGB2YCrCb) for image in (middle, network(middle).bokeh))
    np.testing.assert_allclose(after[..., 0], before[..., 0] + 0.125, atol=1e-5)
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("colour", "channels"), [("luma", 1), ("rgb", 3)])
def test_the_residual_has_a_channel_for_each_that_changes_and_is_bounded(photo, colour, channels):
    network = build(colour=colour)
    returned = []
    network.residual.register_forward_hook(lambda module, inputs, output: returned.append(output))
    network.residual[-1].layers[-1].weight.fill_(50.0)
    bokeh = network(photo).bokeh
    assert returned[0].shape == (1, channels, 40, 48)
    assert 0.9 < returned[0].abs().max() <= 1
    torch.testing.assert_close(bokeh, photo + returned[0] / 2)


@torch.no_grad()
def test_values_are_clamped_in_evaluation_only(photo):
    network = build()
    shift(network, 1.0)
    torch.testing.assert_close(network.train()(photo).bokeh, photo + 0.5)
    torch.testing.assert_close(network.eval()(photo).bokeh, (photo + 0.5).clamp(max=1))


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 12), (10, 13), (9, 11)])
def test_attention_sees_a_quarter_of_the_size_and_is_enlarged_by_nearest(size):
    attention = build(attention=True).attention.eval()
    attention.gain.fill_(0.7)
    features = torch.randn(2, 9, *size)
    expected = features.numpy().astype(np.float64)
    for image in expected:
        # The maximum of 3x3 pixels at every fourth, what is beyond the border left out.
        pooled = np.array([[image[:, r : r + 3, c : c + 3].max((1, 2)) for c in range(0, size[1], 4)]
                           for r in range(0, size[0], 4)])  # fmt: skip
        query, key, value = (
            pooled.reshape(-1, 9) @ each.weight[..., 0, 0].numpy().T + each.bias.numpy()
            for each in (attention.query, attention.key, attention.value)
        )
        scores = np.exp(query @ key.T)
        gathered = (scores / scores.sum(1, keepdims=True)) @ value
        found = gathered @ attention.expand.weight[..., 0, 0].numpy().T + attention.expand.bias.numpy()
        enlarged = found.reshape(*pooled.shape[:2], 9).repeat(4, axis=0).repeat(4, axis=1)
        image += 0.7 * enlarged[: size[0], : size[1]].transpose(2, 0, 1)
    np.testing.assert_allclose(attention(features), expected, atol=1e-5)


def test_attention_costs_what_is_said():
    with torch.device("meta"):
        attention = build(attention=True).attention.eval()
        features = torch.rand(1, 9, 1024, 1536)
    given = []
    attention.key.register_forward_hook(lambda layer, inputs, output: given.append(output.shape[-2:]))
    with torch.no_grad():
        attention(features)
    (height, width) = given[0]
    # Scores of one feature, and the sum of four.
    assert round((height * width) ** 2 * 5 / 1e9) == 48


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_never_holds_its_matrix(layout):
    """At 1024x1536 it would have 9.7e9 values; the kernel that avoids it refuses rows that do not suit it."""
    attention = build(attention=True).attention
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attention(torch.randn(2, 9, 16, 20).to(memory_format=layout)).sum().backward()


def test_attention_starts_as_if_it_were_not_there_and_its_projections_are_normalised():
    attention = build(attention=True).attention.eval()
    features = torch.randn(1, 9, 12, 12)
    assert torch.equal(attention(features), features)
    for projection in (attention.query, attention.key, attention.value, attention.expand):
        largest = np.linalg.svd(projection.weight.detach().flatten(1).numpy(), compute_uv=False)[0]
        assert largest == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`width` is a positive number of features, but got 0; the published one is 64"),
        ({"variant": "paper"}, "`variant` is one of released, report, but got 'paper'; did you mean"),
        ({"colour": "grey"}, "`colour` is one of luma, rgb, but got 'grey'; did you mean"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(RequestError, match=message):
        EdgeGuidedResidual(**options)
