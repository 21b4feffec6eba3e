"""Losses that compare log depths, each blind to what a single photo cannot tell: the distance to the whole scene."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError
from lensblend.ops.depth import paired_differences

STEPS = (1, 2, 4, 8)
SMALLEST = STEPS[-1] + 1  # two samples along each side at the coarsest scale


class ScaleInvariant(nn.Module):
    r"""Average the squared error of log depth, less what one factor on the depth of the whole photo explains.

    .. math:: \frac{1}{n} \sum_i R_i^2 - \Bigl(\frac{1}{n} \sum_i R_i\Bigr)^2

    ``R`` is predicted minus true log depth; the difference is taken in each image, computed as the variance it is,
    and averaged over images. A constant added to a prediction changes nothing. Computed in float32, also under
    autocast.

    Example:
        >>> truth = torch.rand(2, 1, 16, 16)
        >>> ScaleInvariant()(truth + 0.5, truth).item() < 1e-12
        True

    References:
        D. Eigen et al., "Depth map prediction from a single image using a multi-scale deep network", NIPS 2014;
        Z. Li and N. Snavely, "MegaDepth", CVPR 2018, section 4.
    """

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return the mean over images of the variance of the error of log depth."""
        error = predicted.float() - truth.float()
        return error.var(dim=(1, 2, 3), correction=0).mean()


class GradientMatching(nn.Module):
    r"""Compare slopes and edges of log depth at four scales.

    .. math:: \sum_{s \in \{1, 2, 4, 8\}} \overline{|\partial_x R^s|} + \overline{|\partial_y R^s|}

    :math:`R^s` is every s-th pixel of predicted minus true log depth in both directions, the derivatives are
    differences between its neighbours, and bars are means over the differences and the batch. A constant added to a
    prediction changes nothing. Computed in float32, also under autocast.

    Example:
        >>> truth = torch.rand(2, 1, 16, 16)
        >>> GradientMatching()(truth, truth).item()
        0.0

    References:
        Z. Li and N. Snavely, "MegaDepth", CVPR 2018, section 4.
    """

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return the sum over scales.

        Raises:
            RequestError: A side is shorter than 9 pixels.
        """
        height, width = truth.shape[-2:]
        if min(height, width) < SMALLEST:
            raise RequestError(
                f"Sides of {SMALLEST} pixels or more have a slope at every scale, but got {height} × {width}; "
                "use larger photos."
            )
        error = predicted.float() - truth.float()
        slopes = []
        for step in STEPS:
            sampled = error[..., ::step, ::step]
            slopes += [sampled.diff(dim=dim).abs().mean() for dim in (-1, -2)]
        return torch.stack(slopes).sum()


class Ordinal(nn.Module):
    r"""Rank pairs of pixels by depth.

    With :math:`\Delta = z_i - z_j` of the predicted log depths, a pair costs :math:`\log(1 + e^{-\Delta})` where pixel
    i is truly farther, :math:`\log(1 + e^{\Delta})` where it is nearer, and :math:`\Delta^2` where both are equally
    far; the loss is the mean over pairs and images. The pairs depend on the image's size alone. Computed in float32,
    also under autocast.

    Args:
        pairs: Sampled pairs per image.
        tolerance: Log depths that differ by no more count as equal; 0.02 is 2 % of the distance.

    Raises:
        RequestError: There are no pairs, or the tolerance is negative.

    Example:
        >>> truth = torch.linspace(0, 3, 256).view(1, 1, 16, 16)
        >>> loss = Ordinal()
        >>> bool(loss(truth, truth) < loss(-truth, truth))
        True

    References:
        W. Chen et al., "Single-image depth perception in the wild", NeurIPS 2016, section 4.
    """

    def __init__(self, pairs: int = 1024, tolerance: float = 0.02) -> None:
        super().__init__()
        if pairs < 1:
            raise RequestError(f"`pairs` is the number of pairs per image, 1 or more, but got {pairs}; use 1024.")
        if not tolerance >= 0:
            raise RequestError(f"`tolerance` is a difference of log depths, 0 or more, but got {tolerance}; use 0.02.")
        self.pairs = pairs
        self.tolerance = tolerance

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return the mean cost of a pair."""
        delta = paired_differences(predicted.float(), self.pairs)
        true_delta = paired_differences(truth.float(), self.pairs)
        ranked = F.softplus(-true_delta.sign() * delta)
        return torch.where(true_delta.abs() > self.tolerance, ranked, delta.square()).mean()
