"""Metrics that compare a rendering with its target pixel by pixel or window by window."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lensblend.metrics.per_image import PerImageMetric
from lensblend.ops.levels_ssim import ssim_of_levels
from lensblend.ops.ssim import gaussian_window, ssim, uniform_window

SIDE = 7  # pixels of the window
PSNR_LIMIT = 60.0  # dB; what equal images have


class Psnr(PerImageMetric):
    r"""Measure the peak signal-to-noise ratio, :math:`10 \log_{10}(255^2 / \mathrm{MSE})` dB; larger is better.

    The mean squared error is over all pixels and channels of one image, and the metric is the mean of the images'
    values in dB, not the value of the mean error. No image counts more than `PSNR_LIMIT`, 60 dB: equal ones would be
    infinitely alike, as in scikit-image, and with one of them so would every mean. An error of 60 dB is one level in
    every fifteenth value, which nobody sees; up to there the value is scikit-image's.

    Example:
        >>> metric = Psnr()
        >>> metric.update(torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.2))
        >>> round(metric.compute().item(), 4)
        13.9794
    """

    name: ClassVar[str] = "psnr"
    heading: ClassVar[str] = "PSNR"
    convention: ClassVar[str] = "dB on 8-bit RGB, mean of per-image values, each at most 60"
    decimals: ClassVar[int] = 2
    higher_is_better = True

    def score(self, bokeh: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Return dB in float64; squares of levels are exact in float32."""
        error = (bokeh - target).square().mean(dim=(1, 2, 3), dtype=torch.float64)
        return (10 * torch.log10(255**2 / error)).clamp(max=PSNR_LIMIT)


class Ssim(PerImageMetric):
    """Measure structural similarity as the tables of Val294 do: scikit-image's defaults; larger is better.

    Uniform 7×7 window, sample covariance, 8-bit RGB with a range of 255, mean over the pixels whose window is inside
    the image and over channels. Photos are at least 7×7 pixels.

    Example:
        >>> metric = Ssim()
        >>> metric.update(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
        >>> metric.compute().item()
        1.0
    """

    name: ClassVar[str] = "ssim"
    heading: ClassVar[str] = "SSIM"
    convention: ClassVar[str] = (
        "scikit-image's default: 7x7 uniform window, sample covariance, 8-bit RGB, mean over channels"
    )
    decimals: ClassVar[int] = 4
    higher_is_better = True

    def score(self, bokeh: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Return the index: of 8-bit levels on the CPU by whole numbers, elsewhere, or of a NaN, in float64."""
        if bokeh.device.type == "cpu" and not bokeh.sum().isnan():
            return ssim_of_levels(bokeh, target, SIDE)
        window = uniform_window(SIDE)
        return ssim(bokeh, target, window, data_range=255.0, sample_covariance=True, dtype=torch.float64)


class SsimWang(PerImageMetric):
    """Measure structural similarity with the window of its first paper; larger is better.

    Gaussian 11×11 window of σ = 1.5 pixels, population covariance, otherwise as ``Ssim``: near 0.02 higher on photos.

    Example:
        >>> metric = SsimWang()
        >>> metric.update(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
        >>> metric.compute().item()
        1.0

    References:
        Z. Wang et al., "Image quality assessment: from error visibility to structural similarity",
        IEEE Trans. Image Process. 13(4), 2004.
    """

    name: ClassVar[str] = "ssim_wang"
    heading: ClassVar[str] = "SSIM (Wang)"
    convention: ClassVar[str] = "11x11 Gaussian window, sigma 1.5, 8-bit RGB, mean over channels"
    decimals: ClassVar[int] = 4
    higher_is_better = True

    def score(self, bokeh: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Return the index in float64."""
        return ssim(bokeh, target, gaussian_window(11, 1.5), data_range=255.0, dtype=torch.float64)
