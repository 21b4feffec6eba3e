"""How large photos have to be that a loss compares."""

from __future__ import annotations

from torch import nn

from lensblend.losses.perceptual import VggFeatures
from lensblend.losses.structural import MS_SSIM_WINDOW, MsSsim
from lensblend.ops.ssim import SCALE_WEIGHTS
from lensblend.priors.vgg import SMALLEST_SIDE

SMALLEST_SIDES: dict[type[nn.Module], int] = {
    MsSsim: MS_SSIM_WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1),
    VggFeatures: SMALLEST_SIDE,
}
"""Least height and width in pixels; losses that are not here compare photos of any size."""
