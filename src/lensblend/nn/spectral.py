"""Convolutions as adversarial training wants them: small at the start, and bounded in what they amplify."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

GAIN = 0.02


class XavierConv2d(nn.Conv2d):
    """A convolution that starts from Xavier-normal weights of gain 0.02 and from biases of zero.

    Arguments are those of `torch.nn.Conv2d`.

    Example:
        >>> bool(XavierConv2d(4, 8, 3).bias.any())
        False

    References:
        T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019, appendix A
        (Xavier initialisation; the gain is its public code's default).
    """

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.xavier_normal_(self.weight, gain=GAIN)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class SpectralConv2d(XavierConv2d):
    r"""A convolution by :math:`W / \sigma(W)`, which lengthens no vector of one patch's features.

    Its weights, as a matrix of one row per output, are divided by the largest singular value of that matrix. It is
    estimated by one power iteration per forward in training mode, and fixed in evaluation mode, always in the weights'
    own precision, also under autocast.

    Args:
        in_channels: Features in.
        out_channels: Features out.
        kernel_size: Side in pixels.
        stride: Step in pixels.
        padding: Zeros on every side.
        bias: Whether a bias is added; it is not divided.

    Example:
        >>> convolution = SpectralConv2d(4, 8, 3)
        >>> round(torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), 2).item(), 1)
        1.0

    References:
        T. Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        spectral_norm(self)  # after the weights have their initial values, so that its estimate starts from these

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Convolve with the divided weights."""
        device = features.device.type
        has_autocast = torch.amp.is_autocast_available(device)  # "meta", where layers are counted, has none
        with torch.autocast(device, enabled=False) if has_autocast else nullcontext():
            weight = self.weight
        return self._conv_forward(features, weight, self.bias)
