"""Losses that compare edges: how fast two photos change, pixel by pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.ops.gradients import sobel


class SobelL1(nn.Module):
    r"""Average the absolute difference of two photos' Sobel responses, over both directions and all values.

    .. math:: \tfrac{1}{2} \left( \overline{|S_x * \hat I - S_x * I|} + \overline{|S_y * \hat I - S_y * I|} \right)

    A constant added to a photo changes nothing. Computed in float32, also under autocast.

    Example:
        >>> step = (torch.arange(6.0) > 2).float().expand(1, 3, 5, 6)
        >>> round(SobelL1()(step, torch.zeros(1, 3, 5, 6)).item(), 4)
        0.6667

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.1 (islab-zju).
    """

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return the mean absolute difference; a straight edge of height 1 that is missing costs 4 on two pixels."""
        return _sobel_difference(predicted, truth).abs().mean()


class SobelMse(nn.Module):
    r"""Add up the mean squared differences of two photos' horizontal and vertical Sobel responses.

    .. math:: \overline{(S_x * \hat I - S_x * I)^2} + \overline{(S_y * \hat I - S_y * I)^2}

    Computed in float32, also under autocast.

    Example:
        >>> step = (torch.arange(6.0) > 2).float().expand(1, 3, 5, 6)
        >>> round(SobelMse()(step, torch.zeros(1, 3, 5, 6)).item(), 4)
        5.3333

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.9 (aps vision@IITG).
    """

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return the sum of both directions' mean squared differences."""
        return 2 * _sobel_difference(predicted, truth).square().mean()


class GradientL1(nn.Module):
    r"""Add up the mean absolute differences of two photos' slopes between neighbours, to the right and downwards.

    .. math:: \overline{|\partial_x \hat I - \partial_x I|} + \overline{|\partial_y \hat I - \partial_y I|}

    Computed in float32, also under autocast.

    Example:
        >>> step = (torch.arange(6.0) > 2).float().expand(1, 3, 5, 6)
        >>> round(GradientL1()(step, torch.zeros(1, 3, 5, 6)).item(), 4)
        0.2

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.4 (VIDAR), which names a gradient loss and gives no formula.
    """

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return the sum of both directions' mean absolute differences."""
        error = predicted.float() - truth.float()
        return torch.stack([error.diff(dim=dim).abs().mean() for dim in (-1, -2)]).sum()


def _sobel_difference(predicted: Tensor, truth: Tensor) -> Tensor:
    with torch.autocast(truth.device.type, enabled=False):
        return sobel(predicted.float() - truth.float())
