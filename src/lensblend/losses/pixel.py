"""Losses that compare pixel by pixel."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class L1(nn.Module):
    r"""Average the absolute difference over all values of a batch.

    Equation 3 writes the reconstruction loss as a norm, :math:`\lVert \hat I - I \rVert_1`; its mean keeps the learning
    rate independent of the image size. Computed in float32, also under autocast.

    Example:
        >>> import torch
        >>> L1()(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.25)).item()
        0.25

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, equation 3 (section 4.3.1).
    """

    def forward(self, predicted: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Return the mean absolute error, in the unit of the inputs."""
        return (predicted.float() - truth.float()).abs().mean()


class Mse(nn.Module):
    r"""Average the squared difference over all values of a batch. Computed in float32, also under autocast.

    Example:
        >>> import torch
        >>> Mse()(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)).item()
        0.25
    """

    def forward(self, predicted: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Return the mean squared error, in squared units of the inputs."""
        return (predicted.float() - truth.float()).square().mean()
