"""Losses that compare colour and light, and leave detail to others."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.ops.blur import blur
from lensblend.ops.kernels import gaussian_kernel


class BlurredMse(nn.Module):
    r"""Average the squared difference of two blurred photos: :math:`\overline{(B(\hat I) - B(I))^2}`.

    A Gaussian takes out texture and small shifts; what is left is brightness, contrast and colour. Its border is
    mirrored. Computed in float32, also under autocast.

    Args:
        kernel_size: Side of the Gaussian in pixels, odd.
        sigma: Its standard deviation in pixels.

    Raises:
        RequestError: The size is even, or a number is not positive.

    Example:
        >>> import torch
        >>> round(BlurredMse()(torch.full((1, 3, 32, 32), 0.5), torch.full((1, 3, 32, 32), 0.25)).item(), 4)
        0.0625

    References:
        A. Ignatov et al., "DSLR-quality photos on mobile devices with deep convolutional networks", ICCV 2017, section
        3.1 (colour loss). Team Bazinga names a colour loss (AIM 2019, section 4.8) and gives no formula.
    """

    def __init__(self, kernel_size: int = 21, sigma: float = 3.0) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise RequestError(f"`kernel_size` is odd and positive, but got {kernel_size}; use 21.")
        if not sigma > 0:
            raise RequestError(f"`sigma` is positive, in pixels, but got {sigma}; use 3.0.")
        self._kernel = gaussian_kernel(kernel_size, sigma)

    def forward(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return the mean squared difference, in squared units of the inputs."""
        return blur(predicted.float() - truth.float(), self._kernel).square().mean()
