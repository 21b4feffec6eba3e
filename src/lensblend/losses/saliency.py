"""Losses that compare the logits of a saliency map with a mask."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lensblend.ops.ssim import gaussian_window, ssim

_LEAST = 1e-6  # of a share


class BinaryCrossEntropy(nn.Module):
    r"""Average :math:`-t \ln p - (1 - t) \ln(1 - p)` over all pixels of a batch; :math:`p` is the logits' sigmoid.

    Computed from the logits in float32, also under autocast: it stays finite, with a gradient, where the sigmoid has
    already reached 0 or 1. A soft truth keeps even the best loss above 0.

    Example:
        >>> loss = BinaryCrossEntropy()
        >>> round(loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)
        0.6931

    References:
        X. Qin et al., "BASNet: Boundary-aware salient object detection", CVPR 2019, section 3.4.
    """

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return nats per pixel, from logits and a truth in [0, 1]."""
        return binary_cross_entropy_with_logits(predicted.float(), truth.float())


class MaskCrossEntropy(nn.Module):
    r"""Average :math:`-t \ln p - (1 - t) \ln(1 - p)` over all pixels of a batch, for a mask :math:`p` that is no logit.

    For weights of a blend, whose logits are of several maps. Shares nearer to 0 or 1 than a millionth count as if they
    were a millionth away, and have no gradient. Computed in float32, also under autocast.

    Example:
        >>> loss = MaskCrossEntropy()
        >>> round(loss(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)).item(), 4)
        0.6931
    """

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return nats per pixel, from a mask and a truth in [0, 1]."""
        share, truth = predicted.float().clamp(_LEAST, 1 - _LEAST), truth.float()
        return -(truth * share.log() + (1 - truth) * (1 - share).log()).mean()


class MaskSsim(nn.Module):
    r"""Reward the local structure of a mask: :math:`1 - \mathrm{SSIM}(p, t)`, 0 for equal maps and up to 2.

    The window is an 11×11 Gaussian of σ = 1.5 pixels. Both maps are surrounded by zeros and the index is the mean over
    all pixels and images, so that what reaches the border counts too. Computed in float32, also under autocast.

    Example:
        >>> mask = torch.eye(16)[None, None]
        >>> MaskSsim()(1000 * mask - 500, mask).item()
        0.0

    References:
        X. Qin et al., "BASNet: Boundary-aware salient object detection", CVPR 2019, section 3.4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = gaussian_window(11, 1.5)

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return the loss of logits and a truth in [0, 1]."""
        return 1 - ssim(predicted.float().sigmoid(), truth, self.window, border="zero").mean()


class SoftIou(nn.Module):
    r"""Reward the overlap with a mask: :math:`1 - \sum p t / \sum (p + t - p t)`, from 0 for equal masks up to 1.

    The sums are over the pixels of one image, and the loss is the mean over images, so that a small object counts as
    much as a large one. An empty mask overlaps with nothing: its loss is 1, and it has no gradient.
    Computed in float32, also under autocast.

    Example:
        >>> loss = SoftIou()
        >>> round(loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)
        0.5

    References:
        X. Qin et al., "BASNet: Boundary-aware salient object detection", CVPR 2019, section 3.4.
    """

    def forward(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
        """Return the loss of logits and a truth in [0, 1]."""
        saliency, truth = predicted.float().sigmoid(), truth.float()
        overlap = (saliency * truth).sum(dim=(1, 2, 3))
        union = (saliency + truth).sum(dim=(1, 2, 3)) - overlap
        # A saliency of exactly 0 everywhere, against an empty mask, would divide 0 by 0.
        return (1 - overlap / union.clamp_min(torch.finfo(union.dtype).tiny)).mean()
