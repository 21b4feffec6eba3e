"""Blocks that weigh their channels by what they hold over the whole photo."""

from __future__ import annotations

from math import gcd

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

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


class SelectiveKernelUnit(nn.Module):
    """Choose, for each feature of a photo as a whole, between kernels of 3×3 and, by a dilation of 2, of 5×5 pixels.

    Args:
        width: Features in and out.

    Example:
        >>> import torch
        >>> SelectiveKernelUnit(8)(torch.rand(1, 8, 5, 7)).shape
        torch.Size([1, 8, 5, 7])

    References:
        X. Li et al., "Selective kernel networks", CVPR 2019, section 3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(width // 16, 32)
        self.enter = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.kernels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=gcd(width, 32), bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for dilation in (1, 2)
        )
        self.squeeze = nn.Linear(width, narrow, bias=False)
        self.norm = nn.BatchNorm1d(narrow)
        self.choose = nn.ModuleList(nn.Linear(narrow, width) for _ in self.kernels)
        self.leave = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return features of the same size, which are not negative."""
        entered = self.enter(features)
        first, second = (kernel(entered) for kernel in self.kernels)
        squeezed = F.relu(self._normalised(self.squeeze((first + second).mean(dim=(2, 3)))))
        scores = torch.stack([choose(squeezed) for choose in self.choose])
        shares = scores.softmax(dim=0)[..., None, None].to(first.dtype)
        return F.relu(features + self.leave(shares[0] * first + shares[1] * second))

    def _normalised(self, squeezed: Tensor) -> Tensor:
        """Normalise over the batch; a single photo has no variance, and takes the running statistics."""
        if len(squeezed) > 1:
            return self.norm(squeezed)
        norm = self.norm
        return F.batch_norm(squeezed, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
