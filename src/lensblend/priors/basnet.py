"""BASNet: saliency from a predicting U-Net and a small one that refines its map."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d
from torchvision.models.resnet import BasicBlock

from lensblend.backbones.timm_pyramid import IMAGENET_MEAN, IMAGENET_STD, load_encoder
from lensblend.errors import RequestError
from lensblend.nn.rendering import PriorNetwork, check_photo
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.resize import resize_bilinear
from lensblend.priors.published import load_renamed, published_tensors
from lensblend.priors.weights import weights_path

EXPECTED = "the authors' `basnet.pth` as downloaded"
DIVISOR = 32
NARROWEST = 64
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks and width of ResNet-34's
DEEP_STAGES = (3, 3)  # blocks of the two that BASNet adds at 1/16 and 1/32 of the photo's size
# Widths of the decoder's levels, coarsest first: of both inputs together, and of the three convolutions.
DECODER = (
    (1024, 512, 512, 512),
    (1024, 512, 512, 512),
    (1024, 512, 512, 256),
    (512, 256, 256, 128),
    (256, 128, 128, 64),
    (128, 64, 64, 64),
)


class Refinement(nn.Module):
    """Correct a saliency map by a U-Net of its own: five levels of equal width, no photo."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.ModuleList([_unit(width, width) for _ in range(5)])
        self.up = nn.ModuleList([_unit(2 * width, width) for _ in range(4)])
        self.exit = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, logits: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return what is to be added to the logits; 16 divides both sides."""
        features = self.enter(logits)
        skips: list[Tensor] = []
        for level in self.down:
            if skips:
                features = max_pool2d(features, 2)
            features = level(features)
            skips.append(features)
        for level, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            features = level(torch.cat([_enlarge(features), skip], dim=1))
        return self.exit(features)


class Basnet(PriorNetwork):
    """Predict the saliency of a photo's pixels: the probability that they belong to what the photo shows.

    A ResNet-34 without pooling at its start, two more stages, a bridge of dilated convolutions and a decoder with
    skips give seven maps, coarse to fine; a second, small network refines the finest. 87,060,360 parameters, of which
    the refinement has 482,177. The published scores are those of photos reduced to 256×256 pixels.

    The photo is divided inside by its largest value, as the authors' loader does in training and test, and normalised
    with ImageNet's mean and standard deviation. In training mode BatchNorm needs more
    than one photo where a photo is 32×32 pixels.

    Args:
        width_divisor: Divides every width, for tests: 1 is the published network, 64 the narrowest.
        weights: Local path of torchvision's ``resnet34-b627a593.pth``, of which the four stages are taken, or nothing
            to start from random numbers.

    Raises:
        RequestError: The width does not divide, or the path is no file.
        DataError: The file does not hold a ResNet-34.

    Example:
        >>> network = Basnet(width_divisor=16).eval()
        >>> maps = network(torch.rand(1, 3, 33, 50))
        >>> maps["saliency_logits"].shape, len(maps["side_logits"])
        (torch.Size([1, 1, 33, 50]), 8)

    References:
        X. Qin et al., "BASNet: Boundary-aware salient object detection", CVPR 2019, section 3.
    """

    mean: Tensor
    std: Tensor

    estimates = ("saliency",)

    def __init__(self, width_divisor: int = 1, weights: str | None = None) -> None:
        super().__init__()
        if width_divisor < 1 or NARROWEST % width_divisor:
            raise RequestError(
                f"`width_divisor` divides BASNet's narrowest width, {NARROWEST}, but got {width_divisor}; "
                "use 1 (as published), 2, 4, 8, 16, 32 or 64."
            )
        narrow = NARROWEST // width_divisor
        self.stem = _unit(3, narrow)
        self.encoder = nn.ModuleDict()
        width = narrow
        for number, (blocks, published) in enumerate(STAGES, start=1):
            inputs, width = width, published // width_divisor
            self.encoder[f"layer{number}"] = _stage(blocks, inputs, width, stride=1 if number == 1 else 2)
        # No pooling needs to round up, because the padded sides stay even down to 1/32.
        self.deep = nn.ModuleList(
            [nn.Sequential(nn.MaxPool2d(2), *_stage(blocks, width, width)) for blocks in DEEP_STAGES]
        )
        self.bridge = nn.Sequential(*(_unit(width, width, dilation=2) for _ in range(3)))
        self.decoder = nn.ModuleList()
        side_widths = [width]
        for number, level in enumerate(DECODER):
            plan = [channels // width_divisor for channels in level]
            dilations = (1, 2, 2) if number == 0 else (1, 1, 1)
            units = (_unit(*ends, dilation) for ends, dilation in zip(pairwise(plan), dilations, strict=True))
            self.decoder.append(nn.Sequential(*units))
            side_widths.append(plan[-1])
        self.sides = nn.ModuleList([nn.Conv2d(channels, 1, 3, padding=1) for channels in side_widths])
        self.refinement = Refinement(narrow)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        if weights is not None:
            load_encoder(self.encoder, weights_path("resnet34", weights))

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> dict[str, Any]:
        """Describe a photo in [0, 1] by logits of its saliency.

        Sides that 32 does not divide are extended to the right and at the bottom by repeating the border, and cut
        again.

        Returns:
            ``saliency_logits`` (b, 1, h, w) after the refinement; and ``side_logits``, eight such maps that are
            trained alike: the refined one, those of the decoder from fine to coarse, and the bridge's. All are single
            precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        padded = pad_to_multiple(photo, DIVISOR)
        brightest = padded.amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(padded.dtype).tiny)
        features, skips = self.stem((padded / brightest - self.mean) / self.std), []
        for stage in (*self.encoder.values(), *self.deep):
            features = stage(features)
            skips.append(features)
        features = self.bridge(features)
        levels = [features]
        for level, skip in zip(self.decoder, reversed(skips), strict=True):
            if len(levels) > 1:  # the bridge is as small as the deepest stage
                features = _enlarge(features)
            features = level(torch.cat([features, skip], dim=1))
            levels.append(features)
        full_size = padded.shape[-2:]
        coarse_to_fine = [
            resize_bilinear(side(level), full_size) for side, level in zip(self.sides, levels, strict=True)
        ]
        finest = coarse_to_fine[-1]
        maps = [finest + self.refinement(finest), *reversed(coarse_to_fine)]
        logits = [logits[..., :height, :width] for logits in maps]
        return {"saliency_logits": logits[0], "side_logits": logits}

    def load_published(self, path: str | Path) -> None:
        """Fill the network from the authors' ``basnet.pth`` (MIT), without running any code in it.

        Until 2019-09-04 the released network normalised by ``bn5d_2`` after ``conv5d_2`` and again after ``conv6d_2``,
        and never used its ``bn6d_2``. In a file of that time, where ``bn6d_2`` is missing or has never seen a photo,
        ``bn5d_2`` goes to both places; in all others each goes to its own.

        Args:
            path: The file, with or without the prefix ``module.`` of ``DataParallel`` and BatchNorm's counters.

        Raises:
            WeightsMissingError: There is no such file.
            DataError: It is damaged, or a tensor is missing or of another shape; the first one is named.
        """
        given = published_tensors(path, EXPECTED)
        names = _published_names()
        if _is_unused(given, "bn6d_2"):
            names["decoder.0.2.1"] = "bn5d_2"
        load_renamed(self, path, names, EXPECTED, given, unused=["bn6d_2."])


def _unit(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _stage(blocks: int, in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Build one of ResNet's stages of basic blocks, with torchvision's names."""
    shortcut = None
    if stride > 1:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    first = BasicBlock(in_channels, out_channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))


def _enlarge(features: Tensor) -> Tensor:
    return interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _is_unused(given: Mapping[str, Tensor], norm: str) -> bool:
    """Tell whether a BatchNorm's statistics are missing, or still those that it began with."""
    mean, variance = (given.get(f"{norm}.running_{kind}") for kind in ("mean", "var"))
    return mean is None or variance is None or bool((mean == 0).all() and (variance == 1).all())


def _published_names() -> dict[str, str]:
    """Return the beginnings of our tensors' names with those of the authors' file.

    Their decoder counts its levels from 6, the coarsest, to 1. In a unit of ours, 0 is the convolution, 1 BatchNorm.
    """
    units = {"stem": ("inconv", "inbn")}
    for position, place in enumerate("1m2"):
        units[f"bridge.{position}"] = (f"convbg_{place}", f"bnbg_{place}")
        for level in range(6):
            units[f"decoder.{level}.{position}"] = (f"conv{6 - level}d_{place}", f"bn{6 - level}d_{place}")
    units |= {f"refinement.down.{i}": (f"refunet.conv{i + 1}", f"refunet.bn{i + 1}") for i in range(5)}
    units |= {f"refinement.up.{i}": (f"refunet.conv_d{4 - i}", f"refunet.bn_d{4 - i}") for i in range(4)}
    names = {f"{unit}.{kind}": published for unit, pair in units.items() for kind, published in enumerate(pair)}
    names |= {f"encoder.layer{i}": f"encoder{i}" for i in range(1, 5)}
    # In a deep stage of ours, position 0 is the pooling.
    names |= {f"deep.{stage}.{i}": f"resb{stage + 5}_{i}" for stage in range(2) for i in range(1, 4)}
    names |= {f"sides.{i}": f"outconv{side}" for i, side in enumerate("b654321")}
    return names | {"refinement.enter": "refunet.conv0", "refinement.exit": "refunet.conv_d0"}
