"""What is special about the depth network; test_depth.py compares its published weights with the reference graph."""

import numpy as np
import pytest
import torch

from lensblend.backbones.hourglass import Hourglass
from lensblend.backbones.timm_pyramid import TimmPyramid
from lensblend.errors import RequestError, WeightsMissingError
from lensblend.losses.depth import ScaleInvariant
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.priors.depth_network import DepthNetwork, inverse_depth

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DepthNetwork(Hourglass(width_divisor=16)).eval()


def test_the_released_network_has_its_size_and_the_trunk_the_names_of_a_blending_network():
    with torch.device("meta"):
        network, blending = DepthNetwork(Hourglass()), DepthBlend(Hourglass(), KernelBank(sizes=[25, 45, 75]))
    assert sum(p.numel() for p in network.parameters()) == 5_357_153
    names = network.state_dict().keys()
    assert {name for name in names if not name.startswith("backbone.")} == {"head.weight", "head.bias"}
    assert names == blending.state_dict().keys()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (75, 50)])
@torch.no_grad()
def test_any_size_gives_a_map_of_its_size(network, size):
    predicted = network(torch.rand(2, 3, *size))
    assert list(predicted) == ["log_depth"]
    assert predicted["log_depth"].shape == (2, 1, *size)


@torch.no_grad()
def test_log_depth_is_the_head_on_the_backbones_features(network):
    photo = torch.rand(1, 3, 40, 40)
    features = network.backbone(photo)[0].double().numpy()
    weight, bias = network.head.weight[0].double().numpy(), network.head.bias.item()
    padded = np.pad(features, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.einsum("chwij,cij->hw", windows, weight) + bias
    np.testing.assert_allclose(network(photo)["log_depth"][0, 0], expected, atol=1e-5)


@torch.no_grad()
def test_any_backbone_will_do():
    network = DepthNetwork(TimmPyramid("mobilenetv4_conv_small", decoder_channels=16)).eval()
    assert network(torch.rand(1, 3, 40, 56))["log_depth"].shape == (1, 1, 40, 56)


@torch.no_grad()
def test_autocast_changes_little_and_returns_single_precision(network):
    photo = torch.rand(1, 3, 64, 64)
    expected = network(photo)["log_depth"]
    with torch.autocast("cpu", torch.bfloat16):
        found = network(photo)["log_depth"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_a_few_steps_learn_that_the_ground_recedes(network):
    photo = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    photo *= torch.linspace(0.1, 1, 48).view(48, 1)
    truth = torch.linspace(3, 0, 48).view(1, 1, 48, 1).expand(2, 1, 48, 48)
    optimizer, loss = torch.optim.Adam(network.train().parameters(), lr=0.02), ScaleInvariant()
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(network(photo)["log_depth"], truth)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert min(values[-5:]) < 0.3 * values[0]


def test_what_is_no_photo_is_refused(network):
    with pytest.raises(RequestError, match="32 pixels or more, but got 31 × 64"):
        network(torch.rand(1, 3, 31, 64))
    with pytest.raises(RequestError, match=r"in \[0, 1\], but got 0 to 255"):
        network(torch.linspace(0, 255, 3 * 32 * 32).view(1, 3, 32, 32))


def test_published_weights_need_the_published_width(network, tmp_path):
    with pytest.raises(RequestError, match=r"Hourglass of 4 features; use `width_divisor=1`"):
        network.load_published(tmp_path / "none.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissingError, match=r"none.pth\"; download"):
        DepthNetwork(Hourglass()).load_published(tmp_path / "none.pth")


def test_inverse_depth_is_one_over_depth_divided_by_each_images_maximum():
    maps = np.random.default_rng(0).normal(1, 2, (3, 1, 9, 13))
    inverse = 1 / np.exp(maps)
    expected = inverse / inverse.max(axis=(1, 2, 3), keepdims=True)
    found = inverse_depth(torch.from_numpy(maps))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(inverse_depth(torch.from_numpy(maps + 5)), expected, rtol=1e-12)
    assert found.amax(dim=(1, 2, 3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_log_depths_stay_finite(dtype):
    found = inverse_depth(torch.tensor([-500.0, -500.0, 0.0, 500.0], dtype=dtype).view(1, 1, 2, 2))
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == [1, 1, 0, 0]
