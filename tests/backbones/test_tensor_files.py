"""Files of published weights: whatever reads them, numbers that are not finite are refused with the first one named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lensblend.backbones.tensor_files import read_tensors
from lensblend.backbones.timm_pyramid import TimmPyramid
from lensblend.errors import DataError
from lensblend.metrics.perceptual import Lpips
from lensblend.priors.basnet import Basnet
from lensblend.priors.depth import read_megadepth
from lensblend.priors.vgg import Vgg19Features

READERS = {
    "tensors": lambda path: read_tensors(path, "a file"),
    "encoder": lambda path: TimmPyramid("resnet18", weights=path),
    "LPIPS": lambda path: Lpips(weights=path),
    "BASNet": lambda path: Basnet().load_published(path),
    "MegaDepth": read_megadepth,
    "VGG": lambda path: Vgg19Features(path),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, reader, number):
    path = tmp_path / "weights.pth"
    torch.save({"good": torch.ones(3), "bad.weight": torch.tensor([1.0, number])}, path)
    with pytest.raises(DataError, match=r"weights.pth.* 1 tensors with NaN or infinity \(first: bad.weight\)"):
        READERS[reader](str(path))


def test_those_of_another_format_as_well(tmp_path):
    save_file({"bad": torch.tensor([torch.nan])}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match="first: bad"):
        read_tensors(tmp_path / "weights.safetensors", "a file")


@pytest.mark.parametrize("key", ["state_dict", "model", "netG"])
def test_tensors_below_a_key_are_taken(tmp_path, key):
    network = nn.Linear(2, 3)
    adam = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    adam.step()
    torch.save({"epoch": 3, key: network.state_dict(), "optimizer": adam.state_dict(), "hooks": {}}, tmp_path / "a.pth")
    tensors = read_tensors(tmp_path / "a.pth", "a file")
    assert list(tensors) == ["weight", "bias"]
    torch.testing.assert_close(tensors["weight"], network.weight.detach(), rtol=0, atol=0)


def test_of_several_networks_none_is_guessed(tmp_path):
    both = {"netG": nn.Linear(2, 3).state_dict(), "netD": nn.Linear(3, 1).state_dict()}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(DataError, match=r"both.pth\" holds several: 'netG', 'netD'; give a file"):
        read_tensors(tmp_path / "both.pth", "a file")
    assert list(read_tensors(tmp_path / "both.pth", "a file", key="netD")) == ["weight", "bias"]


@pytest.mark.parametrize("content", [{"state_dict": 3}, {"a": {}}, {"a": {"b": 1}}, {"a": [torch.ones(1)]}, []])
def test_what_holds_no_tensors_by_name_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    for key in (None, "state_dict"):
        with pytest.raises(DataError, match=r"a.pth\" is no mapping of names to tensors; give a file"):
            read_tensors(tmp_path / "a.pth", "a file", key)


class Pickled(nn.Module):
    def __setstate__(self, state):
        raise AssertionError("code of a file was run")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda network: network, nn.DataParallel, lambda network: {"model": network}])
def test_a_pickled_network_is_refused_with_what_to_do_instead(tmp_path, zipped, wrap):
    torch.save(wrap(Pickled()), tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    said = (
        r"holds more than tensors: '\S+(Pickled|DataParallel)', whose code .*torch.save\(model.state_dict\(\), FILE\)"
    )
    with pytest.raises(DataError, match=said) as refused:
        read_tensors(tmp_path / "whole.pth", "a file")
    assert "\n" not in str(refused.value)
