"""Normalisation whose scale and shift come from a map (SPADE), and the residual block made of it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, relu

from lensblend.errors import one_of
from lensblend.nn.spectral import SpectralConv2d, XavierConv2d

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
HIDDEN = 128  # features between a condition and the scale and shift that it decides
SLOPE = 0.2


class SpadeNorm(nn.Module):
    r"""Normalise features, then scale and shift every pixel as a condition says: :math:`\hat x (1 + \gamma) + \beta`.

    :math:`\gamma` and :math:`\beta` come from the condition, brought to the features' size by its nearest pixels,
    through a 3×3 convolution to 128 features, a ReLU, and one 3×3 convolution each. Where both are zero, this is the
    plain normalisation, which has no weights of its own.

    Args:
        channels: Features in and out.
        condition_channels: Channels of the condition.
        norm: ``batch`` normalises by the statistics of a batch, and in evaluation mode by their running mean;
            ``instance`` by those of each image, always. Both need more than one pixel per channel in training mode.

    Raises:
        RequestError: ``norm`` is another word.

    Example:
        >>> import torch
        >>> SpadeNorm(8, 4)(torch.rand(2, 8, 6, 5), torch.rand(2, 4, 24, 20)).shape
        torch.Size([2, 8, 6, 5])

    References:
        T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019, section 3.
    """

    def __init__(self, channels: int, condition_channels: int, norm: str = "batch") -> None:
        super().__init__()
        self.plain = NORMS[one_of("norm", norm, NORMS)](channels, affine=False)
        self.hidden = XavierConv2d(condition_channels, HIDDEN, 3, padding=1)
        self.gamma = XavierConv2d(HIDDEN, channels, 3, padding=1)
        self.beta = XavierConv2d(HIDDEN, channels, 3, padding=1)

    def forward(
        self, features: Float[Tensor, "b c h w"], condition: Float[Tensor, "b d h2 w2"]
    ) -> Float[Tensor, "b c h w"]:
        """Return the features, normalised, scaled and shifted."""
        hidden = relu(self.hidden(interpolate(condition, features.shape[-2:], mode="nearest")))
        return self.plain(features) * (1 + self.gamma(hidden)) + self.beta(hidden)


class SpadeBlock(nn.Module):
    """Add two 3×3 convolutions, each after a `SpadeNorm` and a leaky ReLU (0.2), to the features.

    In between there are as many features as on the narrower side. Where the number of features changes, a third
    `SpadeNorm` and a 1×1 convolution without bias bring the input over. The convolutions have spectral norm.

    Args:
        in_channels: Features in.
        out_channels: Features out.
        condition_channels: Channels of the condition.
        norm: As for `SpadeNorm`.

    Example:
        >>> import torch
        >>> SpadeBlock(8, 4, condition_channels=4)(torch.rand(2, 8, 6, 5), torch.rand(2, 4, 24, 20)).shape
        torch.Size([2, 4, 6, 5])

    References:
        T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019, section 3 and
        appendix A.
    """

    def __init__(self, in_channels: int, out_channels: int, condition_channels: int, norm: str = "batch") -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.norms = nn.ModuleList(
            [SpadeNorm(in_channels, condition_channels, norm), SpadeNorm(middle, condition_channels, norm)]
        )
        self.convolutions = nn.ModuleList(
            [SpectralConv2d(in_channels, middle, 3, padding=1), SpectralConv2d(middle, out_channels, 3, padding=1)]
        )
        self.shortcut_norm: nn.Module | None = None
        if in_channels != out_channels:
            self.shortcut_norm = SpadeNorm(in_channels, condition_channels, norm)
            self.shortcut = SpectralConv2d(in_channels, out_channels, 1, bias=False)

    def forward(
        self, features: Float[Tensor, "b c h w"], condition: Float[Tensor, "b d h2 w2"]
    ) -> Float[Tensor, "b c2 h w"]:
        """Return the sum, at the features' size."""
        kept = features
        if self.shortcut_norm is not None:
            kept = self.shortcut(self.shortcut_norm(features, condition))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            features = convolution(leaky_relu(norm(features, condition), SLOPE))
        return kept + features
