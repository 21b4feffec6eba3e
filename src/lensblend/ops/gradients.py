"""How fast an image changes from pixel to pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from lensblend.ops.constants import constant
from lensblend.ops.precision import full_precision

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def sobel(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2 h w"]:
    """Filter every channel with Sobel's two kernels, the border repeated.

    The kernels are not normalised: a straight edge of height 1 has a response of 4, a slope of 1 per pixel one of 8.
    Autocast does not reach it, nor TF32 (gradients follow the user's switches).

    Args:
        image: Any range.

    Returns:
        The change to the right, then that downwards, in the dtype of ``image``.

    Example:
        >>> ramp = torch.arange(5.0).expand(1, 1, 4, 5)
        >>> sobel(ramp)[0, 0, :, 1, 2].tolist()
        [8.0, 0.0]
    """
    batch, channels, height, width = image.shape
    planes = pad(image.reshape(batch * channels, 1, height, width), (1, 1, 1, 1), mode="replicate")
    with full_precision(image.device):
        return conv2d(planes, constant(_kernels, image=image)).view(batch, channels, 2, height, width)


def _kernels() -> Float[Tensor, "2 1 3 3"]:
    right = torch.tensor(SOBEL, device="cpu")
    return torch.stack([right, right.T])[:, None]
