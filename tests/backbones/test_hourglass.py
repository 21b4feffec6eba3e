"""The hourglass against the published counts; tests/priors/test_depth.py compares its graph with the reference."""

import numpy as np
import pytest
import torch
from torch import nn

from lensblend.backbones.hourglass import Hourglass, Inception
from lensblend.errors import RequestError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def full() -> Hourglass:
    return Hourglass()


@pytest.fixture
def narrow() -> Hourglass:
    torch.manual_seed(0)
    return Hourglass(width_divisor=16).eval()


def test_the_trunk_has_the_published_size(full):
    assert sum(p.numel() for p in full.parameters()) == 5_356_576
    assert full.out_channels == 64
    assert sum(isinstance(module, Inception) for module in full.modules()) == 22
    assert len(full.state_dict()) == 779 - 2  # the reference counts its head's weight and bias


@pytest.mark.parametrize(("maps", "parameters"), [(1, 5_357_153), (4, 5_358_884)])
def test_trunk_and_head_have_the_published_size(full, maps, parameters):
    head = nn.Conv2d(full.out_channels, maps, 3, padding=1)
    assert sum(p.numel() for part in (full, head) for p in part.parameters()) == parameters


def test_only_the_stem_normalises_with_learned_parameters(full):
    affine = [name for name, module in full.named_modules() if isinstance(module, nn.BatchNorm2d) and module.affine]
    assert affine == ["stem.1"]
    convolutions = [module for module in full.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 155
    assert all(convolution.bias is not None for convolution in convolutions)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (50, 35)])
def test_features_have_the_photos_size(narrow, size):
    assert narrow(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_sides_are_extended_by_the_border_on_the_right_and_at_the_bottom(narrow):
    photo = torch.rand(1, 3, 39, 50)
    padded = torch.from_numpy(np.pad(photo.numpy(), ((0, 0), (0, 0), (0, 48 - 39), (0, 64 - 50)), mode="edge"))
    torch.testing.assert_close(narrow(photo), narrow(padded)[..., :39, :50])


def test_channels_last_gives_the_same_features_and_stays_channels_last():
    trunk, photo = Hourglass(width_divisor=8).eval(), torch.rand(2, 3, 48, 64)
    expected = trunk(photo)
    features = trunk.to(memory_format=torch.channels_last)(photo.to(memory_format=torch.channels_last))
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_parameter(narrow):
    narrow.train()(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in narrow.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert narrow.stem[0].weight.grad.abs().sum() > 0


def test_widths_scale_with_the_divisor():
    convolutions = [m for m in Hourglass(width_divisor=4).modules() if isinstance(m, nn.Conv2d)]
    published = [m for m in Hourglass().modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels * 4 for c in convolutions] == [c.out_channels for c in published]


@pytest.mark.parametrize("divisor", [0, 3, 32, -1])
def test_other_divisors_are_refused(divisor):
    with pytest.raises(RequestError, match=rf"got {divisor}; use 1 .*16"):
        Hourglass(width_divisor=divisor)
