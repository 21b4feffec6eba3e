"""VGG-19 as a judge of photos: the features after the first convolution of each of its five blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from lensblend.backbones.tensor_files import read_tensors
from lensblend.backbones.timm_pyramid import IMAGENET_MEAN, IMAGENET_STD
from lensblend.errors import DataError, RequestError, one_of
from lensblend.priors.weights import weights_path

TAPS = (1, 6, 11, 20, 29)  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 in torchvision's numbering of `features`
# What is taken off a photo in [0, 1], and by what the rest is divided.
NORMALISATIONS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "symmetric": ((0.5,) * 3, (0.5,) * 3)}
SMALLEST_SIDE = 16  # four poolings by two
EXPECTED = "torchvision's vgg19-dcbb9e9d.pth"


class Vgg19Features(nn.Module):
    """Compute five depths of VGG-19's features, relu1_1 to relu5_1, by frozen ImageNet weights.

    They have 64, 128, 256, 512 and 512 channels at 1, 1/2, 1/4, 1/8 and 1/16 of the photo's size. Gradients reach the
    photo, never the weights. There is no such network without its weights: random features would measure something
    else.

    Args:
        weights: Local path of torchvision's ``vgg19-dcbb9e9d.pth``, or nothing to look into the cache.
        download: Fetch the file once where it is missing, and check its SHA-256.
        normalisation: ``imagenet`` by its mean and deviation, for which the weights were trained; ``symmetric`` brings
            photos to [−1, 1] instead, as SPADE feeds them.

    Raises:
        WeightsMissingError: The file is not on this machine; the message says how to get it.
        RequestError: ``weights`` is no file, or ``normalisation`` is unknown.
        DataError: The file is damaged or holds another network.

    Example:
        >>> try:
        ...     Vgg19Features(weights="nowhere/vgg19.pth")
        ... except RequestError as error:
        ...     print(error)
        `weights` is the path of a file, but got nowhere/vgg19.pth, which does not exist; correct it.

    References:
        K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
        configuration E.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | None = None, download: bool = False, normalisation: str = "imagenet") -> None:
        super().__init__()
        mean, std = NORMALISATIONS[one_of("normalisation", normalisation, NORMALISATIONS)]
        path = weights_path("vgg19", weights, download)
        with torch.device("meta"):  # neither memory nor random numbers are spent on weights that are replaced
            self.layers = make_layers(cfgs["E"])[: TAPS[-1] + 1]
        given = read_tensors(path, EXPECTED)
        loaded = {}
        for name, current in self.layers.state_dict().items():
            tensor = given.get(f"features.{name}")
            if tensor is None or tensor.shape != current.shape:
                found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
                raise DataError(
                    f'"{path}": `features.{name}` {found}, but VGG-19 needs shape {list(current.shape)}; '
                    f"give {EXPECTED}."
                )
            loaded[name] = tensor.float()
        self.layers.load_state_dict(loaded, assign=True)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Return the features of a photo in [0, 1], which renderings may leave; shallowest first.

        Raises:
            RequestError: A side is less than 16 pixels.
        """
        if min(photo.shape[-2:]) < SMALLEST_SIDE:
            raise RequestError(
                f"VGG-19 looks at photos with sides of {SMALLEST_SIDE} pixels or more, "
                f"but got {photo.shape[-2]} × {photo.shape[-1]}; use larger ones."
            )
        features, taps = (photo - self.mean) / self.std, []
        for index, layer in enumerate(self.layers):
            features = layer(features)
            if index in TAPS:
                taps.append(features)
        return taps
