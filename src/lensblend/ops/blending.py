"""The one equation that depth-aware, saliency and mask blending share."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lensblend.ops.precision import at_least_float32


def blend(stack: Float[Tensor, "b n c h w"], weights: Float[Tensor, "b n h w"]) -> Float[Tensor, "b c h w"]:
    r"""Render bokeh as a weighted sum of progressively blurred copies of a photo.

    .. math:: \hat I(x, y) = \sum_{i=0}^{n-1} W_i(x, y) \, I_i(x, y)

    The weights are used as given: a softmax over ``n`` makes them sum to one at every pixel (eq. 2),
    and then a pixel never leaves the range spanned by its copies. Half precision is raised to float32 first,
    under autocast too: bf16 weights sum to one only within 0.003.

    Args:
        stack: The photo followed by its blurred copies, sharpest first, in [0, 1].
        weights: How much of each copy reaches each pixel.

    Returns:
        The rendered photo, in the range of ``stack``.

    Example:
        >>> import torch
        >>> stack = torch.stack([torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)], dim=1)
        >>> weights = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
        >>> blend(stack, weights)[0, 0, 0, 0].item()
        0.75

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, equations 1 and 2.
    """
    weights = at_least_float32(weights)  # a product with these is as precise
    # Not an einsum: autocast would lower that to half precision again.
    return (stack * weights.unsqueeze(2)).sum(dim=1)
