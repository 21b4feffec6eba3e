"""Thin edges of a photo that keep the strength of its gradient."""

from __future__ import annotations

from math import pi, tan

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from lensblend.errors import RequestError
from lensblend.ops.blur import blur
from lensblend.ops.gradients import sobel
from lensblend.ops.kernels import gaussian_kernel

GAUSSIAN = gaussian_kernel(5, sigma=1.0)
# Of the angle up to which a gradient counts as horizontal or vertical, half of the 45 degrees between neighbours.
TANGENT = tan(pi / 8)
# How much stronger a neighbour must be to count as stronger: at a straight step, rounding alone would choose.
TIE = 1 + 1e-4


def canny(photo: Float[Tensor, "b c h w"], threshold: float) -> Float[Tensor, "b 1 h w"]:
    r"""Find edges by Canny's first three steps: blur, gradient, and only what is largest along the gradient.

    The photo is blurred by a Gaussian of 5×5 pixels and :math:`\sigma = 1`. The strength of a pixel is the squared
    length of its Sobel gradient :math:`g_c`, added over the channels, :math:`\sum_c \lVert g_c \rVert^2`; its direction
    is that of :math:`\sum_c g_c`, rounded to 45 degrees. A pixel stays if it is above the threshold and not weaker than
    its two neighbours along that direction; of two that are equal but for rounding, as at a straight step, the right or
    lower one stays. There is no hysteresis. Strengths have a gradient; which pixels stay does not depend on it.

    Borders are continued, so that they are no edges. Everything is computed in float32, or in float64 if the photo is.

    Args:
        photo: Any range; strengths grow with its square. Across a step of height 1, the gradient is about 2.6.
        threshold: What a strength must exceed, not negative.

    Returns:
        The strength on edges, and zero elsewhere.

    Raises:
        RequestError: ``threshold`` is negative.

    Example:
        >>> step = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]).expand(1, 1, 8, 8)
        >>> [round(strength, 1) for strength in canny(step, threshold=1.0)[0, 0, 4].tolist()]
        [0.0, 0.0, 0.0, 0.0, 6.7, 0.0, 0.0, 0.0]

    References:
        J. Canny, "A computational approach to edge detection", IEEE Trans. Pattern Anal. Mach. Intell. 8 (1986).
    """
    if not threshold >= 0:
        raise RequestError(f"`threshold` is a squared gradient, not negative, but got {threshold}; use 0 for no limit.")
    horizontal, vertical = sobel(blur(photo, GAUSSIAN)).unbind(dim=2)
    strength = (horizontal.square() + vertical.square()).sum(dim=1, keepdim=True)
    stays = _is_largest(strength, horizontal.sum(dim=1, keepdim=True), vertical.sum(dim=1, keepdim=True))
    return torch.where(stays & (strength > threshold), strength, 0)


def _is_largest(strength: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Say which pixels are stronger than the next one along their gradient's axis, and no weaker than the last one."""
    height, width = strength.shape[-2:]
    around = pad(strength.detach(), (1, 1, 1, 1))
    is_horizontal = down.abs() <= TANGENT * right.abs()
    is_vertical = right.abs() < TANGENT * down.abs()
    falls = ~is_horizontal & ~is_vertical & (right * down > 0)
    rises = ~(is_horizontal | is_vertical | falls)
    largest = torch.zeros_like(strength, dtype=torch.bool)
    for chosen, rows, columns in ((is_horizontal, 0, 1), (is_vertical, 1, 0), (falls, 1, 1), (rises, -1, 1)):
        ahead = around[..., 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]
        behind = around[..., 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]
        largest |= chosen & (strength > TIE * ahead) & (TIE * strength >= behind)
    return largest
