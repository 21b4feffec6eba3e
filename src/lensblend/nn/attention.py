"""Blocks that weigh their channels by what they hold over the whole photo."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from lensblend.nn.residual import ResidualBlock

REDUCTION = 16
FEWEST = 4


class ChannelAttention(nn.Module):
    r"""Scale every channel by a factor in (0, 1) that the means of all channels decide.

    .. math:: x_c \, \sigma\bigl(W_2 \max(W_1 \bar x, 0)\bigr)_c

    where :math:`\bar x` holds the mean of each channel over the whole photo. Between the two 1×1 convolutions there are
    a sixteenth as many features, but at least four: narrow networks would otherwise pass one number only.

    Args:
        channels: Features in and out.

    Example:
        >>> import torch
        >>> features = torch.rand(1, 8, 5, 7)
        >>> factors = ChannelAttention(8)(features) / features
        >>> torch.allclose(factors, factors[..., :1, :1]), bool((factors < 1).all())
        (True, True)

    References:
        Y. Zhang et al., "Image super-resolution using very deep residual channel attention networks", ECCV 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, FEWEST)
        self.factors = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the features, each channel scaled."""
        scaled: Tensor = features * self.factors(features.mean((2, 3), keepdim=True))
        return scaled


class AttentiveResidualBlock(ResidualBlock):
    """Weigh what a `ResidualBlock` adds by `ChannelAttention` (RCAN's "RCAB").

    Args:
        channels: Features in and out.

    Example:
        >>> import torch
        >>> AttentiveResidualBlock(4)(torch.rand(1, 4, 5, 7)).shape
        torch.Size([1, 4, 5, 7])

    References:
        Y. Zhang et al., "Image super-resolution using very deep residual channel attention networks", ECCV 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.layers.append(ChannelAttention(channels))
