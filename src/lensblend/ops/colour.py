"""Colour: the sRGB transfer curve, and luma."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lensblend.ops.precision import at_least_float32


def srgb_to_linear(photo: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
    """Decode sRGB values to linear light, both in [0, 1]; half precision is raised to float32.

    Values below 0 continue the curve's straight part, and gradients are finite everywhere.

    Example:
        >>> round(srgb_to_linear(torch.tensor([0.5])).item(), 4)
        0.214

    References:
        IEC 61966-2-1:1999, the sRGB transfer function.
    """
    photo = at_least_float32(photo)
    # The clamp keeps the power's gradient finite where the other branch is taken: 0 times infinity is no number.
    curve = ((photo.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(photo <= 0.04045, photo / 12.92, curve)


def linear_to_srgb(light: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
    """Encode linear light to sRGB values, both in [0, 1]; half precision is raised to float32.

    Values below 0 continue the curve's straight part, and gradients are finite everywhere.

    Example:
        >>> round(linear_to_srgb(torch.tensor([0.214])).item(), 3)
        0.5

    References:
        IEC 61966-2-1:1999, the sRGB transfer function.
    """
    light = at_least_float32(light)
    curve = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curve)


def luma(photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Weigh sRGB values to one brightness, in the range of ``photo``; half precision is raised to float32.

    These are the weights of YCrCb in 8-bit pipelines (OpenCV's and Pillow's grey): 0.299, 0.587, 0.114.

    Example:
        >>> round(luma(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).item(), 3)
        0.299

    References:
        ITU-R BT.601-7, section 2.5.1.
    """
    photo = at_least_float32(photo)
    return 0.299 * photo[:, 0:1] + 0.587 * photo[:, 1:2] + 0.114 * photo[:, 2:3]
