"""Stacked cross refinement network (SCRN): the saliency that the paper's saliency baseline blends with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lensblend.backbones.timm_pyramid import IMAGENET_MEAN, IMAGENET_STD, load_encoder
from lensblend.errors import RequestError
from lensblend.nn.rendering import PriorNetwork, check_photo
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.priors.published import load_renamed
from lensblend.priors.weights import weights_path

DIVISOR = 32  # the encoder's coarsest reduction
WIDTH = 32  # features of each level in either branch
ENCODER_WIDTHS = (64, 128, 256, 512)
LEVELS = range(len(ENCODER_WIDTHS))  # finest first: 1/4, 1/8, 1/16, 1/32
# Each level and the coarser ones that it sees, in the order in which the authors number the units between them.
PAIRS = tuple((level, coarser) for level in LEVELS for coarser in LEVELS if coarser > level)
REFINEMENTS = 4


class CrossRefinement(nn.Module):
    """Refine saliency by the edges and edges by the saliency, on four levels at once (the paper's CRU).

    Saliency sees the concatenated features of its own and all coarser levels, edges see their product. Both are
    computed from what came in.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enlarge_edge = nn.ModuleList([_unit(width, width, 1) for _ in PAIRS])
        self.enlarge_saliency = nn.ModuleList([_unit(width, width, 1) for _ in PAIRS])
        self.fuse_saliency = nn.ModuleList(
            [nn.Sequential(_unit((1 + len(LEVELS) - level) * width, width), _unit(width, width)) for level in LEVELS]
        )
        self.fuse_edge = nn.ModuleList([nn.Sequential(_unit(width, width), _unit(width, width)) for _ in LEVELS])

    def forward(self, saliency: Sequence[Tensor], edge: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return refined saliency and edge features of the same sizes, finest first."""
        edges_above = _enlarge_coarser(self.enlarge_edge, edge)
        saliencies_above = _enlarge_coarser(self.enlarge_saliency, saliency)
        refined_saliency, refined_edge = [], []
        for level in LEVELS:
            own_saliency, own_edge = saliency[level], edge[level]
            concatenated = torch.cat([own_saliency, own_edge, *edges_above[level]], dim=1)
            product = reduce(torch.mul, [own_edge, own_saliency, *saliencies_above[level]])
            refined_saliency.append(own_saliency + self.fuse_saliency[level](concatenated))
            refined_edge.append(own_edge + self.fuse_edge[level](product))
        return refined_saliency, refined_edge


class Decoder(nn.Module):
    """Merge four levels of features, coarsest first, into one map of logits at the finest level's size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enlarge = nn.ModuleList([_unit(width, width) for _ in LEVELS[1:]])
        self.merge = nn.ModuleList(
            [nn.Sequential(_unit(2 * width, 2 * width), _unit(2 * width, width, 1)) for _ in LEVELS[1:]]
        )
        self.head = nn.Sequential(_unit(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, levels: Sequence[Tensor]) -> Float[Tensor, "b 1 h w"]:
        """Return logits at 1/4 of the photo's size."""
        *finer_levels, merged = levels
        for enlarge, merge, finer in zip(self.enlarge, self.merge, reversed(finer_levels), strict=True):
            merged = merge(torch.cat([finer, enlarge(_resize(merged, finer.shape[-2:]))], dim=1))
        return self.head(merged)


class Scrn(PriorNetwork):
    """Predict what stands out in a photo, and its edges, each refined four times by the other.

    ResNet-50 without its classifier (23,508,032 parameters) and heads without any activation: 25,226,498 parameters
    in all. What is not linear in the heads is the edge branch's products. While it trains, its BatchNorm needs
    more than one photo of 32×32.

    Args:
        width_divisor: Divides every width but that of the stem, for tests: 1 is the published network.
        weights: Local path of torchvision's ``resnet50-0676ba61.pth``, or of timm's file of a ``resnet50``, to start
            the encoder from; nothing starts it from random weights.

    Raises:
        RequestError: The divisor is another number, or ``weights`` is no file.
        DataError: ``weights`` is damaged or holds another encoder.

    Example:
        >>> network = Scrn(width_divisor=8).eval()
        >>> maps = network(torch.rand(1, 3, 33, 50))
        >>> {name: list(logits.shape) for name, logits in maps.items()}
        {'saliency_logits': [1, 1, 33, 50], 'edge_logits': [1, 1, 33, 50]}

    References:
        Z. Wu, L. Su, Q. Huang, "Stacked cross refinement network for edge-aware salient object detection", ICCV 2019.
    """

    mean: Tensor
    std: Tensor

    estimates = ("saliency",)

    def __init__(self, width_divisor: int = 1, weights: str | None = None) -> None:
        super().__init__()
        if width_divisor not in (1, 2, 4, 8):
            raise RequestError(
                f"`width_divisor` divides SCRN's widths, but got {width_divisor}; use 1 (as published), 2, 4 or 8."
            )
        width, inner = WIDTH // width_divisor, [channels // width_divisor for channels in ENCODER_WIDTHS]

        def reductions() -> nn.ModuleList:
            return nn.ModuleList(
                [nn.Sequential(_unit(4 * i, width, 1), _unit(width, width), _unit(width, width)) for i in inner]
            )

        self.reduce_saliency, self.reduce_edge = reductions(), reductions()
        self.refinements = nn.ModuleList([CrossRefinement(width) for _ in range(REFINEMENTS)])
        self.decode_saliency, self.decode_edge = Decoder(width), Decoder(width)
        for module in self.modules():  # before there is an encoder, which has initial weights of its own
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # timm would start every residual branch at zero; torchvision, whose ResNet-50 this is, does not.
        self.encoder: nn.Module = timm.create_model(
            "resnet50", features_only=True, out_indices=(1, 2, 3, 4), channels=inner, zero_init_last=False
        )
        if weights is not None:
            load_encoder(self.encoder, weights_path("resnet50", weights))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """Predict ``saliency_logits`` and ``edge_logits``, each ``(b, 1, h, w)``, from a photo in [0, 1].

        Sides that 32 does not divide are extended to the right and at the bottom by repeating the border, and cut
        again. The authors use it at 352×352. Logits are single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        padded = pad_to_multiple(photo, DIVISOR)
        taps = self.encoder((padded - self.mean) / self.std)
        saliency = [reduction(tap) for reduction, tap in zip(self.reduce_saliency, taps, strict=True)]
        edge = [reduction(tap) for reduction, tap in zip(self.reduce_edge, taps, strict=True)]
        for refine in self.refinements:
            saliency, edge = refine(saliency, edge)
        maps = {"saliency_logits": self.decode_saliency(saliency), "edge_logits": self.decode_edge(edge)}
        return {
            name: _resize(at_least_float32(logits), padded.shape[-2:])[..., :height, :width]
            for name, logits in maps.items()
        }

    def load_published(self, path: str | Path) -> None:
        """Fill the whole network from the authors' file, without running any code in it.

        Args:
            path: Local file with the tensor names of the authors' model, with or without the prefix ``module.`` of
                ``DataParallel`` and with or without BatchNorm's counters. Other tensors in it are left out, which is
                said.

        Raises:
            WeightsMissingError: There is no such file.
            DataError: It is damaged, lacks a tensor, or has one of another shape; the first is named.
        """
        load_renamed(self, path, _published_prefixes(), "the authors' SCRN weights as downloaded")


def _unit(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """Convolve and normalise; no activation follows anywhere in the heads."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _enlarge_coarser(units: nn.ModuleList, levels: Sequence[Tensor]) -> list[list[Tensor]]:
    """Bring, for each level, all coarser levels to its size."""
    enlarged: list[list[Tensor]] = [[] for _ in levels]
    for unit, (level, coarser) in zip(units, PAIRS, strict=True):
        enlarged[level].append(unit(_resize(levels[coarser], levels[level].shape[-2:])))
    return enlarged


def _resize(features: Tensor, image_size: Sequence[int]) -> Tensor:
    return interpolate(features, (image_size[0], image_size[1]), mode="bilinear", align_corners=True)


def _published_prefixes() -> dict[str, str]:
    """Map the name of each part of `Scrn` to the name that the authors' file gives it."""
    names = {"encoder": "resnet"}
    for branch, letter in (("saliency", "s"), ("edge", "e")):
        for level in LEVELS:
            for unit in range(3):
                names[f"reduce_{branch}.{level}.{unit}"] = f"reduce_{letter}{level + 1}.reduce.{unit}.conv_bn"
        decoder = f"decode_{branch}"
        for step in range(len(LEVELS) - 1):
            names[f"{decoder}.enlarge.{step}"] = f"output_{letter}.conv_upsample{step + 1}.conv_bn"
            for unit in range(2):
                names[f"{decoder}.merge.{step}.{unit}"] = f"output_{letter}.conv_cat{step + 1}.{unit}.conv_bn"
        names[f"{decoder}.head.0"] = f"output_{letter}.output.0.conv_bn"
        names[f"{decoder}.head.1"] = f"output_{letter}.output.1"
    for refinement in range(REFINEMENTS):
        ours, theirs = f"refinements.{refinement}", f"df{refinement + 1}"
        # Edges are brought to the saliency's levels first, and saliency is fused first.
        for number in range(len(PAIRS)):
            names[f"{ours}.enlarge_edge.{number}"] = f"{theirs}.conv{number + 1}.conv.conv_bn"
            names[f"{ours}.enlarge_saliency.{number}"] = f"{theirs}.conv{len(PAIRS) + number + 1}.conv.conv_bn"
        for level in LEVELS:
            for unit in range(2):
                names[f"{ours}.fuse_saliency.{level}.{unit}"] = f"{theirs}.conv_f{level + 1}.{unit}.conv_bn"
                names[f"{ours}.fuse_edge.{level}.{unit}"] = f"{theirs}.conv_f{len(LEVELS) + level + 1}.{unit}.conv_bn"
    return names
