"""Where a mask changes."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lensblend.ops.gradients import sobel

THRESHOLD = 1.5  # of a gradient that is 4 across a straight edge, and √2 where a single corner pixel touches


def mask_edges(mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Mark the edges of a mask, two pixels wide: what an edge branch is trained to predict.

    The mask is set to one above 0.5 and to zero elsewhere, its border is repeated, and an edge is where the length of
    its Sobel gradient exceeds 1.5. All of this is exact, also in half precision.

    Args:
        mask: A mask, or a saliency in [0, 1].

    Returns:
        One on edges and zero elsewhere, in the dtype of ``mask``.

    Example:
        >>> import torch
        >>> mask = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).expand(1, 1, 4, 6)
        >>> mask_edges(mask)[0, 0, 0].tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]

    References:
        Z. Wu, L. Su, Q. Huang, "Stacked cross refinement network for edge-aware salient object detection", ICCV 2019
        (edge targets as its authors' public training makes them).
    """
    # Squares of whole numbers: compared without a root, they stay exact.
    return (sobel((mask > 0.5).to(mask.dtype)).square().sum(dim=2) > THRESHOLD**2).to(mask.dtype)
