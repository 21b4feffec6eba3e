from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from lensblend.errors import DataError, RequestError
from lensblend.priors.basnet import Basnet

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network() -> Basnet:
    torch.manual_seed(0)
    return Basnet(width_divisor=16).eval()


def circles() -> tuple[Tensor, Tensor]:
    """Photos of a bright disk before noise, and their masks."""
    rows, columns = np.mgrid[:64, :64]
    mask = np.stack([(rows - 30) ** 2 + (columns - x) ** 2 < 200 for x in (25, 40)])[:, None].astype(np.float32)
    noise = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    return torch.from_numpy(0.5 * noise + 0.5 * mask), torch.from_numpy(mask)


def loss_of(network: Basnet, photo: Tensor, mask: Tensor) -> Tensor:
    sides = network(photo)["side_logits"]
    return torch.stack([functional.binary_cross_entropy_with_logits(side, mask) for side in sides]).sum()


def test_the_published_network_has_the_published_size() -> None:
    with torch.device("meta"):
        network = Basnet()
    assert sum(p.numel() for p in network.parameters()) == 87_060_360
    assert sum(p.numel() for p in network.refinement.parameters()) == 482_177


@torch.no_grad()
def test_the_encoder_is_torchvisions_resnet(tmp_path) -> None:
    theirs = torchvision.models.resnet34(weights=None).eval()
    for norm in (module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.2, 0.2)
    path = tmp_path / "resnet34.pth"
    torch.save(theirs.state_dict(), path)
    ours = Basnet(weights=str(path)).eval()
    features = torch.rand(1, 64, 16, 16)
    for name, stage in ours.encoder.items():
        expected = getattr(theirs, name)(features)
        features = stage(features)
        torch.testing.assert_close(features, expected, rtol=0, atol=0)


def test_other_encoders_are_refused(tmp_path) -> None:
    with pytest.raises(RequestError, match=r"nowhere.pth, which does not exist"):
        Basnet(width_divisor=64, weights="nowhere.pth")
    path = tmp_path / "other.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(DataError, match=r"`layer1.0.conv1.weight` has shape \[64, 64, 3, 3\]"):
        Basnet(width_divisor=64, weights=str(path))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40)])
@torch.no_grad()
def test_maps_have_the_photos_size_in_single_precision(network, size) -> None:
    photo = torch.rand(2, 3, *size)
    expected = network(photo)
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(photo)
    assert set(maps) == {"saliency_logits", "side_logits"}
    for found in (expected, maps):
        assert {(tuple(side.shape), side.dtype) for side in found["side_logits"]} == {((2, 1, *size), torch.float32)}
    scale = expected["saliency_logits"].abs().max().item()
    torch.testing.assert_close(maps["saliency_logits"], expected["saliency_logits"], rtol=0, atol=0.05 * scale)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_photos_give_finite_values_and_gradients(network, value) -> None:
    sides = network.train()(torch.full((2, 3, 64, 64), value))["side_logits"]
    torch.stack(sides).square().mean().backward()
    assert all(side.isfinite().all() for side in sides)
    assert all(p.grad.isfinite().all() for p in network.parameters())


@torch.no_grad()
def test_a_photo_is_judged_alike_alone_and_in_a_batch(network) -> None:
    photos = torch.rand(3, 3, 40, 56)
    together = network(photos)["side_logits"]
    for index in range(3):
        for alone, side in zip(network(photos[index : index + 1])["side_logits"], together, strict=True):
            torch.testing.assert_close(alone[0], side[index], rtol=0, atol=1e-5)


def test_gradient_reaches_every_parameter(network) -> None:
    loss_of(network.train(), *circles()).backward()
    assert all(p.grad is not None for p in network.parameters())
    silent = [name for name, p in network.named_parameters() if not p.grad.any()]
    # A bias before a normalisation is subtracted again: its gradient is rounding, or zero.
    assert [name for name in silent if not name.endswith("bias")] == []


def test_one_step_lowers_the_loss(network) -> None:
    optimizer = torch.optim.Adam(network.train().parameters(), lr=0.001)
    before = loss_of(network, *circles())
    before.backward()
    optimizer.step()
    assert loss_of(network, *circles()) < before


@torch.no_grad()
def test_the_photo_is_left_as_it_was(network) -> None:
    photo = torch.rand(1, 3, 64, 64)
    before = photo.clone()
    first = network(photo)["saliency_logits"].clone()
    assert torch.equal(photo, before)
    assert torch.equal(network(photo)["saliency_logits"], first)


@pytest.mark.parametrize("width_divisor", [0, 3, 128])
def test_other_widths_are_refused(width_divisor) -> None:
    with pytest.raises(RequestError, match=f"narrowest width, 64, but got {width_divisor}; use 1"):
        Basnet(width_divisor=width_divisor)


def test_what_is_no_photo_is_refused(network) -> None:
    with pytest.raises(RequestError, match="but got 31 × 64; enlarge"):
        network(torch.rand(1, 3, 31, 64))
    with pytest.raises(RequestError, match="got 0 to 255; divide"):
        network(torch.linspace(0, 255, 3 * 32 * 32).view(1, 3, 32, 32))
