"""Blocks that add to what they are given."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    r"""Add two 3×3 convolutions with a ReLU between them: :math:`x + C_2(\max(C_1(x), 0))`.

    There is no normalisation and no activation after the sum. The size stays, with zeros around the features.

    Args:
        channels: Features in and out.

    Example:
        >>> import torch
        >>> ResidualBlock(4)(torch.rand(1, 4, 5, 7)).shape
        torch.Size([1, 4, 5, 7])

    References:
        S. Dutta et al., "Stacked deep multi-scale hierarchical network for fast bokeh effect rendering from a single
        image", CVPR Workshops 2021.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the features plus what the convolutions make of them."""
        return features + self.layers(features)
