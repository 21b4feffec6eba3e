"""Networks render the same before and after folding; the table of them is that of the contract."""

from copy import deepcopy

import pytest
import timm.layers
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lensblend.inference.folding import folded
from networks.test_contract import NETWORKS, ROWS, tensors

pytestmark = pytest.mark.usefixtures("one_thread")

# How many BatchNorms a network has, and how many follow no convolution. Of networks that are not named: none.
NORMS = {
    "depth_blend": (155, 0),
    "depth_blend linear": (155, 0),
    "depth_blend timm": (55, 5),
    "depth_blend coarse": (155, 0),
    "aperture_blend": (155, 0),
    "joint_blend": (155, 0),
    "dynamic_filter_dense": (88, 45),
    "edge_guided_residual": (32, 0),
    "edge_guided_residual rgb": (32, 0),
    "edge_guided_residual attention": (32, 0),
    "dual_bokehnet": (12, 0),
    "dual_bokehnet memnet": (12, 0),
}


def norms(network):
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]


@torch.no_grad()
def trained(network):
    """Normalise as after a training: by any mean and variance."""
    for norm in norms(network):
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
        if norm.affine:
            norm.weight.uniform_(-1.5, 1.5)
            norm.bias.normal_(0, 0.2)
    return network.eval()


@pytest.mark.parametrize("name", ROWS)
@torch.inference_mode()
def test_a_network_renders_the_same(name):
    torch.manual_seed(0)
    case = NETWORKS[name]
    network, photo = trained(case.build()), torch.rand(1, 3, 48, 64)
    before, after = NORMS.get(name, (0, 0))
    assert len(norms(network)) == before
    expected = network(photo, **case.guidance(photo))
    quick = folded(deepcopy(network))
    assert len(norms(quick)) == after
    rendering = quick(photo, **case.guidance(photo))
    torch.testing.assert_close(rendering.bokeh, expected.bokeh, rtol=0, atol=1e-5)
    torch.testing.assert_close(tensors(rendering.aux), tensors(expected.aux), rtol=1e-4, atol=1e-4)
    if hasattr(network, "logits"):
        torch.testing.assert_close(quick.logits(photo), network.logits(photo), rtol=0, atol=1e-4)


class Chain(nn.Module):
    """A convolution, a BatchNorm and a ReLU; what else is done with them differs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.ReLU()

    def forward(self, photo):
        return self.act(self.norm(self.conv(photo)))


class TwoReaders(Chain):
    def forward(self, photo):
        features = self.conv(photo)
        return self.act(self.norm(features)) + features


class Kept(Chain):
    def forward(self, photo):
        features = self.norm(self.conv(photo))
        return self.act(features) - features


class Twice(Chain):
    def forward(self, photo):
        return self.act(self.norm(self.conv(self.norm(self.conv(photo)))))


class Given(Chain):
    def forward(self, photo):
        return self.act(photo) + photo + self.norm(self.conv(photo))


class Valued(Chain):
    def forward(self, photo):
        return super().forward(photo) if photo.mean() > 0 else photo


class Shared(Chain):
    def __init__(self):
        super().__init__()
        self.again = nn.Sequential(self.conv, nn.ReLU())

    def forward(self, photo):
        return super().forward(photo) + self.again(photo)


class Parametrised(Chain):
    def __init__(self):
        super().__init__()
        weight_norm(self.conv)


class Hooked(Chain):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda _, __, features: 2 * features)


class Unnormalised(Chain):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)


class Timm(Chain):
    def __init__(self):
        super().__init__()
        self.norm = timm.layers.BatchNormAct2d(3, act_layer=nn.SiLU)


@pytest.mark.parametrize(
    ("kind", "folds", "in_place"),
    [
        (Chain, True, True),
        (TwoReaders, False, True),
        (Kept, True, False),
        (Twice, False, False),
        (Given, True, False),
        (Valued, False, False),
        (Shared, False, True),
        (Parametrised, False, True),
        (Hooked, False, True),
        (Unnormalised, False, True),
        (Timm, True, True),
    ],
)
@torch.inference_mode()
def test_only_what_changes_nothing_is_changed(kind, folds, in_place):
    torch.manual_seed(0)
    network = kind()
    network = network.eval() if kind is Unnormalised else trained(network)
    photo = torch.randn(1, 3, 8, 9)
    expected, given = network(photo), photo.clone()
    quick = folded(network)
    assert (not norms(quick)) == folds
    assert quick.act.inplace == in_place
    torch.testing.assert_close(quick(photo), expected, rtol=0, atol=1e-5)
    assert torch.equal(photo, given)
