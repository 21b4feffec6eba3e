"""Where a target is in focus, as far as the photo beside it tells."""

from __future__ import annotations

from math import ceil, floor

import torch
from jaxtyping import Float
from torch import Tensor

from lensblend.ops.blur import blur
from lensblend.ops.kernels import gaussian_kernel
from lensblend.ops.precision import at_least_float32

LOW, HIGH = 0.05, 0.95
# Of the shorter side.
SIGMA = 1 / 64
SMALLEST_SPAN = 1 / 255


def focus_from_pair(photo: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    r"""Tell what a lens kept sharp: one minus the difference :math:`d` of photo and target, blurred and stretched.

    .. math:: f = 1 - \operatorname{clip}\Bigl(\frac{d - d_{5\%}}{\max(d_{95\%} - d_{5\%}, 1/255)}, 0, 1\Bigr)

    The difference is the mean of its absolute values over the channels, blurred by a Gaussian of 1/64 of the shorter
    side; each pair is stretched by its own percentiles. Whatever differs nowhere by more than one level of 8 bits
    after that blur is in focus everywhere, and so are equal photos. A smooth surface looks alike sharp and blurred: it
    counts as in focus wherever it lies.

    Args:
        photo: All in focus, in [0, 1].
        target: The same scene with shallow depth of field, in [0, 1].

    Returns:
        One where the target is in focus, down to zero, in float32 or float64.

    Example:
        >>> photo = torch.rand(1, 3, 64, 64)
        >>> bool((focus_from_pair(photo, photo) == 1).all())
        True
    """
    difference = (at_least_float32(photo) - at_least_float32(target)).abs().mean(dim=1, keepdim=True)
    sigma = SIGMA * min(photo.shape[-2:])
    difference = blur(difference, gaussian_kernel(2 * ceil(3 * sigma) + 1, sigma))
    ordered = difference.flatten(1).sort(dim=1).values
    low, high = (_quantile(ordered, share).view(-1, 1, 1, 1) for share in (LOW, HIGH))
    return 1 - ((difference - low) / (high - low).clamp_min(SMALLEST_SPAN)).clamp(0, 1)


def _quantile(ordered: Float[Tensor, "b n"], share: float) -> Float[Tensor, " b"]:
    """Interpolate between the two nearest of ordered values; `torch.quantile` refuses more than 2**24 of them."""
    position = share * (ordered.shape[1] - 1)
    below = floor(position)
    above = min(below + 1, ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below], ordered[:, above], position - below)
