"""Files of published weights: whatever reads them, numbers that are not finite are refused with the first one named."""

import pytest
import torch
from safetensors.torch import save_file

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
