"""Blocks that compute again: the numbers are those of blocks that keep everything, and less is kept."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from lensblend.backbones.hourglass import Hourglass
from lensblend.nn import checkpointing
from lensblend.nn.checkpointing import checkpoint_activations

pytestmark = pytest.mark.usefixtures("one_thread")


class Block(nn.Module):
    """All that could differ the second time: statistics, an estimate, chance, changes in place, a list that grows."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=None)
        self.second = spectral_norm(nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, features):
        mixed = torch.stack(features).sum(0)
        hidden = nn.functional.dropout(self.norm(self.first(mixed)), 0.5, self.training)
        return self.second(hidden.relu_())


class Growing(nn.Module):
    def __init__(self, blocks=4):
        super().__init__()
        self.blocks, self.head = nn.ModuleList([Block() for _ in range(blocks)]), nn.Conv2d(4, 1, 1)

    def forward(self, photo):
        features = [photo]
        for block in self.blocks:
            features.append(block(features))
        return self.head(features[-1])


def step(network, photo):
    """A step forth and back: result, gradients, buffers, and the bytes that were kept between."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(photo)
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    result.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return [result.detach(), gradients, dict(network.named_buffers()), sum(kept.values())]


def test_a_second_computation_changes_nothing():
    torch.manual_seed(0)
    plain, photo = Growing().train(), torch.rand(2, 4, 16, 16)
    again = deepcopy(plain)
    assert checkpoint_activations(again) == [f"blocks.{index}" for index in range(4)]
    for _ in range(2):
        expected, found = step(plain, photo), step(again, photo)
        torch.testing.assert_close(found[:3], expected[:3], rtol=0, atol=0)
        assert found[3] < expected[3] / 2
    assert again.blocks[0].norm.num_batches_tracked == 2


def test_the_hourglass_keeps_a_third_or_less():
    torch.manual_seed(0)
    plain, photo = Hourglass(width_divisor=4).train(), torch.rand(1, 3, 64, 96)
    again = deepcopy(plain)
    assert len(checkpoint_activations(again)) == 22
    expected, found = step(plain, photo), step(again, photo)
    torch.testing.assert_close(found[:3], expected[:3], rtol=0, atol=0)
    assert found[3] * 3 < expected[3]


def test_without_gradients_nothing_is_computed_twice(monkeypatch):
    monkeypatch.setattr(checkpointing, "checkpoint", None)
    network = Growing().eval()
    checkpoint_activations(network)
    with torch.no_grad():
        assert network(torch.rand(1, 4, 8, 8)).shape == (1, 1, 8, 8)


def test_a_network_stays_what_it_is():
    network = Growing()
    keys, shown = list(network.state_dict()), repr(network)
    checkpoint_activations(network)
    assert list(network.state_dict()) == keys
    assert repr(network) == shown
    assert isinstance(network.blocks[0], Block)
    other = deepcopy(network)
    other.blocks[0].first.weight.data.zero_()
    assert network.blocks[0].first.weight.any()


def test_no_block_lies_in_another_and_none_is_most_of_the_network():
    network = nn.Sequential(Growing(6), Growing(6), Growing(6), Growing(6))
    assert checkpoint_activations(network) == ["0", "1", "2", "3"]
    few = nn.Sequential(Growing(6), Growing(6))
    assert checkpoint_activations(few) == [f"{half}.blocks.{index}" for half in (0, 1) for index in range(6)]
    assert checkpoint_activations(nn.Sequential(Block(), nn.Conv2d(4, 4, 1))) == []
