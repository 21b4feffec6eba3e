"""Filters of which every pixel has its own."""

from __future__ import annotations

from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lensblend.errors import RequestError, one_of
from lensblend.ops.precision import at_least_float32

MODES = {"replicate": "replicate", "zero": "constant"}


def filter_locally(
    image: Float[Tensor, "b c h w"], kernels: Float[Tensor, "b k2 h w"], padding: str
) -> Float[Tensor, "b c h w"]:
    r"""Filter every pixel by a kernel of its own, the same one for all channels.

    .. math:: O(y, x) = \sum_{i, j} k_{iK + j}(y, x) \; I(y + i - r, x + j - r), \qquad r = (K - 1) / 2

    The kernels are used as they are: not mirrored, and not normalised. Taps are added up one after the other on views
    of the padded image, so that neither the result nor its gradients, which reach both arguments, need more memory
    than a few images beside the kernels. Half precision is raised to single.

    Args:
        image: Any range.
        kernels: K² values per pixel, row by row, with an odd K.
        padding: What lies beyond the border: ``replicate``, its nearest pixel, or ``zero``.

    Raises:
        RequestError: The number of values is no square of an odd number, or the padding is another.

    Example:
        >>> image = torch.tensor([[1.0, 2.0, 3.0]]).view(1, 1, 1, 3)
        >>> left = torch.zeros(1, 9, 1, 3)
        >>> left[:, 3] = 1.0
        >>> filter_locally(image, left, "replicate").flatten().tolist()
        [1.0, 1.0, 2.0]

    References:
        B. De Brabandere et al., "Dynamic filter networks", NeurIPS 2016, section 3.2 (dynamic local filtering).
    """
    mode = MODES[one_of("padding", padding, MODES)]
    height, width = image.shape[-2:]
    size = isqrt(kernels.shape[1])
    if size**2 != kernels.shape[1] or size % 2 == 0:
        raise RequestError(
            f"`kernels` has K² values per pixel with an odd K, such as 9, 25 or 49, but got {kernels.shape[1]}."
        )
    margins = (size // 2,) * 4
    image = at_least_float32(image)
    padded = functional.pad(image, margins, mode=mode)
    filtered = torch.zeros_like(image)
    # The gradient of `unbind` is one stack; that of a slice per tap would be one array of all taps for each of them.
    for tap, weight in enumerate(at_least_float32(kernels).unbind(1)):
        top, left = divmod(tap, size)
        shifted = padded[..., top : top + height, left : left + width]
        filtered = torch.addcmul(filtered, weight[:, None], shifted)
    return filtered
