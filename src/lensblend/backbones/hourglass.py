"""MegaDepth's hourglass without its head: the trunk that the paper fine-tunes from depth to blending weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.nn.rendering import Backbone
from lensblend.ops.padding import pad_to_multiple

DIVISOR = 16  # four poolings by two


class InceptionPlan(NamedTuple):
    """Widths of one block of four branches, each a quarter of the output: 1×1, and 1×1 then k×k for each kernel."""

    in_channels: int
    out_channels: int
    inner_channels: int
    kernels: tuple[int, int, int]


# A to G are the letters of Chen et al. (2016); "A'" and "C'" stand at two decoder positions of the released graph.
INCEPTIONS = {
    "A": InceptionPlan(128, 64, 64, (3, 7, 11)),
    "A'": InceptionPlan(128, 64, 32, (3, 7, 11)),
    "B": InceptionPlan(128, 128, 32, (3, 5, 7)),
    "C": InceptionPlan(128, 128, 64, (3, 7, 11)),
    "C'": InceptionPlan(128, 128, 64, (3, 5, 7)),
    "D": InceptionPlan(128, 256, 32, (3, 5, 7)),
    "E": InceptionPlan(256, 256, 32, (3, 5, 7)),
    "F": InceptionPlan(256, 256, 64, (3, 7, 11)),
    "G": InceptionPlan(256, 128, 32, (3, 5, 7)),
}


class LevelPlan(NamedTuple):
    """Inception types of one level: its ``skip``, the way down after a pooling by two, and the way up again."""

    pool: type[nn.MaxPool2d] | type[nn.AvgPool2d]
    skip: tuple[str, ...]
    descent: tuple[str, ...]
    ascent: tuple[str, ...]


LEVELS = (
    LevelPlan(nn.MaxPool2d, skip=("A",), descent=("B", "B"), ascent=("C'", "A'")),
    LevelPlan(nn.MaxPool2d, skip=("B", "C"), descent=("B", "D"), ascent=("E", "G")),
    LevelPlan(nn.AvgPool2d, skip=("E", "F"), descent=("E", "E"), ascent=("E", "F")),
    LevelPlan(nn.AvgPool2d, skip=("E", "E"), descent=("E", "E"), ascent=("E",)),
)


class Inception(nn.Module):
    """Concatenate four branches that see a pixel at four sizes of neighbourhood."""

    def __init__(self, plan: InceptionPlan, width_divisor: int = 1) -> None:
        super().__init__()
        inputs, outputs, inner = plan.in_channels, plan.out_channels // 4, plan.inner_channels
        inputs, outputs, inner = (channels // width_divisor for channels in (inputs, outputs, inner))
        self.branches = nn.ModuleList(
            [
                nn.Sequential(*_unit(inputs, outputs, 1)),
                *(nn.Sequential(*_unit(inputs, inner, 1), *_unit(inner, outputs, k)) for k in plan.kernels),
            ]
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Describe each pixel by its four neighbourhoods, at the same size."""
        return torch.cat([branch(features) for branch in self.branches], dim=1)


class Hourglass(Backbone):
    """Compute per-pixel features of a photo with MegaDepth's trunk of 22 inception blocks on four levels.

    It has 5,356,576 parameters; a 3×3 head of ``n+1`` maps adds 577 for each map. No mean or standard deviation
    is subtracted from the photo.

    Args:
        width_divisor: Divides every width, for tests and demonstrations: 1 is the published trunk, 16 the narrowest.

    Example:
        >>> trunk = Hourglass(width_divisor=16).eval()
        >>> trunk(torch.rand(1, 3, 33, 50)).shape
        torch.Size([1, 4, 33, 50])

    References:
        W. Chen et al., "Single-image depth perception in the wild", NeurIPS 2016 (the blocks);
        Z. Li and N. Snavely, "MegaDepth", CVPR 2018 (the released graph and its weights).
    """

    def __init__(self, width_divisor: int = 1) -> None:
        if width_divisor not in (1, 2, 4, 8, 16):
            raise RequestError(
                f"`width_divisor` divides the hourglass's narrowest width, 16, but got {width_divisor}; "
                "use 1 (as published), 2, 4, 8 or 16."
            )
        super().__init__(out_channels=64 // width_divisor)
        self.stem = nn.Sequential(*_unit(3, 128 // width_divisor, 7, affine=True))

        def blocks(letters: tuple[str, ...]) -> list[nn.Module]:
            return [Inception(INCEPTIONS[letter], width_divisor) for letter in letters]

        self.skips = nn.ModuleList([nn.Sequential(*blocks(level.skip)) for level in LEVELS])
        self.descents = nn.ModuleList([nn.Sequential(level.pool(2), *blocks(level.descent)) for level in LEVELS])
        self.ascents = nn.ModuleList([nn.Sequential(*blocks(level.ascent), _double()) for level in LEVELS])

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Describe every pixel of a photo in [0, 1] by ``out_channels`` features.

        Sides that 16 does not divide are extended to the right and at the bottom by repeating the border, and cut
        again.
        """
        height, width = photo.shape[-2:]
        features = self.stem(pad_to_multiple(photo, DIVISOR))
        sides = []
        for skip, descent in zip(self.skips, self.descents, strict=True):
            sides.append(skip(features))
            features = descent(features)
        for ascent, side in zip(reversed(self.ascents), reversed(sides), strict=True):
            features = ascent(features) + side
        return features[..., :height, :width]


def _unit(in_channels: int, out_channels: int, kernel_size: int, affine: bool = False) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        nn.BatchNorm2d(out_channels, affine=affine),
        nn.ReLU(inplace=True),
    ]


def _double() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="nearest")
