"""Losses that compare local structure."""

from __future__ import annotations

from typing import cast, get_args

from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError, one_of
from lensblend.ops.ssim import Border, gaussian_window, ms_ssim, ssim

MS_SSIM_WINDOW = 11  # pixels a side


class NegativeSsim(nn.Module):
    r"""Reward local structure: :math:`l_p = -\mathrm{SSIM}(\hat I, I)` (eq. 4), from −1 for equal photos up to 1.

    The index is the mean over pixels, RGB channels and images, computed in float32, also under autocast.
    The paper names no window; an 11×11 Gaussian of σ = 1.5 pixels and a border of zeros is what its author's later
    scripts use. The border of zeros counts as structure that both photos share, and so the value is a little nearer
    to −1 than over the ``valid`` pixels alone: compare values of one setting only, and methods by the metrics.

    Args:
        border: ``zero`` surrounds both photos with zeros and averages over all pixels; ``valid`` averages over the
            pixels whose window is inside.
        kernel_size: Side of the window in pixels, odd.
        sigma: Standard deviation of the window in pixels.

    Example:
        >>> import torch
        >>> photo = torch.linspace(0, 1, 3 * 256).view(1, 3, 16, 16)
        >>> NegativeSsim()(photo, photo).item()
        -1.0

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, equation 4 (section 4.3.1).
    """

    def __init__(self, border: str = "zero", kernel_size: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise RequestError(f"`kernel_size` is odd and at least 3, but got {kernel_size}; use 11.")
        if not sigma > 0:
            raise RequestError(f"`sigma` is positive, in pixels, but got {sigma}; use 1.5.")
        self.border = cast(Border, one_of("border", border, get_args(Border)))
        self.window = gaussian_window(kernel_size, sigma)

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return −SSIM of photos in [0, 1]."""
        return -ssim(predicted, truth, self.window, border=self.border).mean()


class Dssim(NegativeSsim):
    r"""Punish lost structure: :math:`1 - \mathrm{SSIM}(\hat I, I)`, from 0 for equal photos up to 2.

    Arguments and gradient are those of `NegativeSsim`, but this term makes no sum negative.

    Example:
        >>> import torch
        >>> photo = torch.linspace(0, 1, 3 * 256).view(1, 3, 16, 16)
        >>> Dssim()(photo, photo).item()
        0.0

    References:
        S. Dutta et al., "Stacked deep multi-scale hierarchical network for fast bokeh effect rendering from a single
        image", CVPR Workshops 2021.
    """

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return 1 − SSIM of photos in [0, 1]."""
        return 1 + super().forward(predicted, truth)


class MsSsim(nn.Module):
    r"""Punish structure that is lost at any of five scales: :math:`1 - \text{MS-SSIM}(\hat I, I)`, from 0 to 1.

    The window is an 11×11 Gaussian of σ = 1.5 pixels, inside the photo at each scale; the index is the mean over
    images, computed in float32, also under autocast.

    Raises:
        RequestError: A photo has a side of less than 176 pixels.

    Example:
        >>> import torch
        >>> photo = torch.linspace(0, 1, 3 * 176 * 176).view(1, 3, 176, 176)
        >>> MsSsim()(photo, photo).item()
        0.0

    References:
        Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality assessment",
        Asilomar Conf. Signals, Systems and Computers, 2003, equation 7.
    """

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return 1 − MS-SSIM of photos in [0, 1]."""
        return 1 - ms_ssim(predicted, truth, gaussian_window(MS_SSIM_WINDOW, 1.5)).mean()
