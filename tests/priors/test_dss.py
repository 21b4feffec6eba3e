"""DSS: its trunk against torchvision's VGG-16, its short connections against a graph assembled here."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.models import vgg

from lensblend.errors import DataError, RequestError
from lensblend.priors.dss import Dss

pytestmark = pytest.mark.usefixtures("one_thread")

BEFORE_POOLINGS = (4, 9, 16, 23, 30)  # layers of torchvision's `features` up to conv1_2, ... conv5_3 and their ReLU


def vgg16_features():
    """torchvision's VGG-16 without its classifier of 124 million parameters."""
    torch.manual_seed(0)
    return vgg.make_layers(vgg.cfgs["D"])


@pytest.fixture
def narrow():
    torch.manual_seed(0)
    network = Dss(width_divisor=16).eval()
    for connection in network.connections:
        torch.nn.init.normal_(connection.weight)
        torch.nn.init.normal_(connection.bias)
    return network


def upsampled(x, size):
    """Resize between pixel centres by a factor, with NumPy's interpolation along one axis after the other."""
    for axis, length in zip((2, 3), size, strict=True):
        old = x.shape[axis]
        centres = (np.arange(length) + 0.5) * old / length - 0.5
        x = np.apply_along_axis(lambda line: np.interp(centres, np.arange(line.size), line), axis, x)  # noqa: B023
    return x


def test_the_parameters_are_those_of_the_tables():
    with torch.device("meta"):
        network = Dss()
    trunk, inputs = 0, 3
    for width in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512):
        trunk, inputs = trunk + inputs * width * 9 + width, width
    assert trunk == 14_714_688  # VGG-16 without its classifier
    table = [(64, 128, 3), (128, 128, 3), (256, 256, 5), (512, 256, 5), (512, 512, 5), (512, 512, 7)]
    branches = sum(i * w * k * k + w + w * w * k * k + w + w + 1 for i, w, k in table)
    connections = 2 * (5 + 1) + 2 * (3 + 1)  # own map and four or two deeper ones, and a bias
    assert sum(p.numel() for p in network.parameters()) == trunk + branches + connections == 62_225_498


@pytest.mark.parametrize("classifier", [True, False])
@torch.no_grad()
def test_the_trunk_starts_from_torchvisions_file_and_is_tapped_before_each_pooling(tmp_path, classifier):
    features = vgg16_features()
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save(state | ({"classifier.0.bias": torch.zeros(3)} if classifier else {}), tmp_path / "vgg16.pth")
    network, seen = Dss(weights=str(tmp_path / "vgg16.pth")).eval(), []
    for branch in network.branches:
        branch.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    photo = torch.rand(1, 3, 64, 96)
    network(photo)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (photo - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    expected = [features[:count](normalised) for count in BEFORE_POOLINGS]
    box = torch.full((512, 1, 3, 3), 1 / 9)
    expected.append(functional.conv2d(features(normalised), box, padding=1, groups=512))
    for tap, wanted in zip(seen, expected, strict=True):
        assert tap.std() > 0
        torch.testing.assert_close(tap, wanted, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_deeper_maps_reach_shallower_ones_and_the_final_one_is_their_mean(narrow):
    own = []
    for branch in narrow.branches:
        branch.register_forward_hook(lambda *call: own.append(call[2].double().numpy()))
    maps = narrow(torch.rand(2, 3, 64, 96))
    joined = list(own)
    for level, deeper in ((3, [4, 5]), (2, [4, 5]), (1, [2, 3, 4, 5]), (0, [2, 3, 4, 5])):
        weight, bias = (p.double().numpy() for p in narrow.connections[level].parameters())
        terms = [own[level], *(upsampled(joined[index], own[level].shape[2:]) for index in deeper)]
        joined[level] = bias[0] + sum(w * term for w, term in zip(weight.flatten(), terms, strict=True))
    sides = [upsampled(side, (64, 96)) for side in joined]
    assert len(maps["side_logits"]) == 7
    for predicted, expected in zip(maps["side_logits"], [*sides, sum(sides) / 6], strict=True):
        assert expected.std() > 0.01
        np.testing.assert_allclose(predicted.numpy(), expected, atol=1e-5 * np.abs(expected).max())
    assert torch.equal(maps["saliency_logits"], maps["side_logits"][-1])


@torch.no_grad()
def test_maps_are_joined_in_single_precision_under_autocast(narrow):
    seen = []
    for part in (*narrow.branches, *narrow.connections):
        part.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        narrow(torch.rand(1, 3, 64, 64))
    assert seen == [torch.bfloat16] * 6 + [torch.float32] * 4


@torch.no_grad()
def test_sides_are_extended_by_the_border_on_the_right_and_at_the_bottom(narrow):
    photo = torch.rand(1, 3, 39, 50)
    padded = torch.from_numpy(np.pad(photo.numpy(), ((0, 0), (0, 0), (0, 64 - 39), (0, 64 - 50)), mode="edge"))
    predicted, whole = narrow(photo)["saliency_logits"], narrow(padded)["saliency_logits"]
    torch.testing.assert_close(predicted, whole[..., :39, :50])


def test_connections_start_as_means():
    network = Dss(width_divisor=16)
    for connection, count in zip(network.connections, (5, 5, 3, 3), strict=True):
        assert connection.weight.flatten().tolist() == pytest.approx([1 / count] * count)
        assert connection.bias.item() == 0


@torch.no_grad()
def test_initial_weights_keep_the_size_of_what_they_see():
    torch.manual_seed(0)
    network = Dss(width_divisor=4).eval()
    sizes = [logits.square().mean().sqrt().item() for logits in network(torch.rand(1, 3, 64, 64))["side_logits"]]
    assert all(0.05 < size < 5 for size in sizes), sizes


def test_another_networks_file_and_a_missing_one_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "alexnet.pth")
    with pytest.raises(DataError, match=r"`features.0.weight` has shape \[64, 3, 11, 11\]"):
        Dss(width_divisor=1, weights=str(tmp_path / "alexnet.pth"))
    with pytest.raises(RequestError, match=r"none.pth, which does not exist"):
        Dss(weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("divisor", [0, 3, 32, -1])
def test_other_divisors_are_refused(divisor):
    with pytest.raises(RequestError, match=rf"got {divisor}; use 1 .*16"):
        Dss(width_divisor=divisor)
