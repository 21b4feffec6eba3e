"""Structural similarity, at one scale and at five: one core for the losses and for both metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError

Border = Literal["valid", "zero"]

K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_MEAN = 1e-6
# Measured on two cores at 1024×1536: 32 rows of one plane stay in the cache; the whole at once takes 6 times as long.
CPU_STRIP_ROWS = 32
# Elsewhere strips only bound the memory of very large photos.
STRIP_ROWS = 1024


def uniform_window(kernel_size: int) -> tuple[float, ...]:
    """Weigh ``kernel_size`` pixels equally.

    Example:
        >>> uniform_window(4)
        (0.25, 0.25, 0.25, 0.25)
    """
    return (1.0 / kernel_size,) * kernel_size


def gaussian_window(kernel_size: int, sigma: float) -> tuple[float, ...]:
    """Weigh ``kernel_size`` pixels by a Gaussian of ``sigma`` pixels that sums to one.

    Example:
        >>> [round(tap, 4) for tap in gaussian_window(3, 1.0)]
        [0.2741, 0.4519, 0.2741]
    """
    centre = (kernel_size - 1) / 2
    taps = [math.exp(-((i - centre) ** 2) / (2 * sigma**2)) for i in range(kernel_size)]
    return tuple(tap / sum(taps) for tap in taps)


def ssim(
    bokeh: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    window: Sequence[float],
    *,
    data_range: float = 1.0,
    border: Border = "valid",
    sample_covariance: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " b"]:
    r"""Measure how much of the target's local structure a rendering keeps; 1 means equal.

    With :math:`s = x + y` and :math:`d = x - y`, the index of Wang et al. (eq. 13) reads

    .. math:: \Bigl(1 - \frac{2 \mu_d^2}{\mu_s^2 + \mu_d^2 + 2 C_1}\Bigr)
              \Bigl(1 - \frac{2 \sigma_d^2}{\sigma_s^2 + \sigma_d^2 + 2 C_2}\Bigr)

    which needs four filtered images instead of five, and where equal photos have a difference of exactly 0:
    cancellation in the variances, which ruins smooth photos in the usual form, only scales a term that is small itself.
    Only sums and products are used, because a convolution would run in bfloat16 under autocast and in TF32 on a GPU.

    Args:
        bokeh: A rendering.
        target: The photo that it should equal, in the same range.
        window: Separable weights of the neighbourhood, odd in number; they sum to one.
        data_range: Largest minus smallest possible value.
        border: ``valid`` averages over the pixels whose neighbourhood is inside the photo, ``zero`` over all pixels
            of a photo that is surrounded by zeros.
        sample_covariance: Divide variances by N − 1 instead of N, the number of pixels in the window.
        dtype: Precision of the computation, whatever the photos' is.

    Returns:
        The mean over pixels and channels of each image, in [−1, 1].

    Raises:
        RequestError: With the border ``valid``, when a photo is smaller than the window.

    Example:
        >>> photo = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
        >>> ssim(photo, photo, gaussian_window(11, 1.5)).item()
        1.0

    References:
        Z. Wang et al., "Image quality assessment: from error visibility to structural similarity",
        IEEE Trans. Image Process. 13(4), 2004, equations 13 to 16.
    """
    size = len(window)
    if border == "zero":
        margin = (size // 2,) * 4
        bokeh, target = F.pad(bokeh, margin), F.pad(target, margin)
    else:
        check_window(target, size)
    height, width = (side - size + 1 for side in bokeh.shape[-2:])
    planes, rows = _strip_size(bokeh, target)
    sums = []
    for first in range(0, bokeh.shape[0] * bokeh.shape[1], planes):
        x, y = (photo.flatten(0, 1)[first : first + planes] for photo in (bokeh, target))
        strips = (slice(top, min(top + rows, height) + size - 1) for top in range(0, height, rows))
        maps = (_index(x[:, s].to(dtype), y[:, s].to(dtype), window, data_range, sample_covariance) for s in strips)
        sums.append(torch.stack([values.sum(dim=(-2, -1)) for values in maps]).sum(dim=0))
    return torch.cat(sums).view(bokeh.shape[:2]).mean(dim=1) / (height * width)


def ssim_map(
    bokeh: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    window: Sequence[float],
    *,
    data_range: float = 1.0,
    sample_covariance: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "b c h2 w2"]:
    """Return the index whose mean `ssim` is, at each pixel whose neighbourhood is inside the photo.

    Args:
        bokeh: A rendering.
        target: The photo that it should equal, in the same range.
        window: As of `ssim`, whose other arguments these are, too.
        data_range: Largest minus smallest possible value.
        sample_covariance: Divide variances by N − 1 instead of N.
        dtype: Precision of the computation, whatever the photos' is.

    Raises:
        RequestError: A photo is smaller than the window.

    Example:
        >>> photo = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
        >>> ssim_map(photo, photo, uniform_window(7)).shape
        torch.Size([1, 1, 10, 10])
    """
    size = len(window)
    check_window(target, size)
    height = bokeh.shape[-2] - size + 1
    planes, rows = _strip_size(bokeh, target)
    found = []
    for first in range(0, bokeh.shape[0] * bokeh.shape[1], planes):
        x, y = (photo.flatten(0, 1)[first : first + planes] for photo in (bokeh, target))
        strips = (slice(top, min(top + rows, height) + size - 1) for top in range(0, height, rows))
        maps = [_index(x[:, s].to(dtype), y[:, s].to(dtype), window, data_range, sample_covariance) for s in strips]
        found.append(torch.cat(maps, dim=-2))
    return torch.cat(found).view(bokeh.shape[0], bokeh.shape[1], height, -1)


def ms_ssim(
    bokeh: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    window: Sequence[float],
    *,
    data_range: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " b"]:
    r"""Measure structural similarity at five scales, each half as large as the one before; 1 means equal.

    .. math:: \prod_{j=1}^{5} \overline{(c s)_j}^{\,w_j} \quad\text{with}\quad (c s)_5 \to (l \, c s)_5

    Contrast and structure, :math:`c s`, count at every scale, luminance :math:`l` at the coarsest alone; each factor
    is a mean over channels and over the pixels whose window is inside. Photos are halved by averaging 2×2 pixels.
    A mean below a millionth counts as a millionth: of a negative one there is no power.

    Args:
        bokeh: A rendering.
        target: The photo that it should equal, in the same range.
        window: Separable weights of the neighbourhood, odd in number; they sum to one.
        data_range: Largest minus smallest possible value.
        dtype: Precision of the computation, whatever the photos' is.

    Returns:
        The index of each image, in (0, 1].

    Raises:
        RequestError: A photo is smaller than 16 times the window.

    Example:
        >>> photo = torch.linspace(0, 1, 176 * 176).view(1, 1, 176, 176)
        >>> ms_ssim(photo, photo, gaussian_window(11, 1.5)).item()
        1.0

    References:
        Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality assessment",
        Asilomar Conf. Signals, Systems and Computers, 2003, equation 7 and section 3.2 (the exponents).
    """
    smallest = len(window) * 2 ** (len(SCALE_WEIGHTS) - 1)
    if min(target.shape[-2:]) < smallest:
        raise RequestError(
            f"Photos compared by MS-SSIM at {len(SCALE_WEIGHTS)} scales are at least {smallest}×{smallest} pixels, "
            f"but got (height, width) {tuple(target.shape[-2:])}; use larger photos, or SSIM."
        )
    x, y = (photo.flatten(0, 1).to(dtype) for photo in (bokeh, target))
    factors = []
    for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
        if scale > 1:
            x, y = (F.avg_pool2d(photo, 2) for photo in (x, y))
        luminance, structure = _terms(x, y, window, data_range)
        values = luminance * structure if scale == len(SCALE_WEIGHTS) else structure
        mean = values.mean(dim=(-2, -1)).view(bokeh.shape[:2]).mean(dim=1)
        factors.append(mean.clamp(min=SMALLEST_MEAN) ** weight)
    return torch.stack(factors).prod(dim=0)


def check_window(photo: Tensor, size: int) -> None:
    """Raise `RequestError` of a photo that is smaller than a window of ``size`` pixels."""
    if min(photo.shape[-2:]) < size:
        raise RequestError(
            f"Photos compared by SSIM are at least as large as its window of {size}×{size} pixels, "
            f"but got (height, width) {tuple(photo.shape[-2:])}; use larger photos."
        )


def _strip_size(bokeh: Tensor, target: Tensor) -> tuple[int, int]:
    """Return how many planes and how many rows of output are worked on at a time."""
    planes, height = bokeh.shape[0] * bokeh.shape[1], bokeh.shape[-2]
    if torch.is_grad_enabled() and (bokeh.requires_grad or target.requires_grad):
        return planes, height  # the gradient of every strip would be a whole plane
    return (1, CPU_STRIP_ROWS) if bokeh.device.type == "cpu" else (planes, STRIP_ROWS)


def _index(
    x: Float[Tensor, "n h w"],
    y: Float[Tensor, "n h w"],
    window: Sequence[float],
    data_range: float,
    sample_covariance: bool,
) -> Float[Tensor, "n h2 w2"]:
    """Compute the index at every pixel whose window is inside."""
    luminance, structure = _terms(x, y, window, data_range, sample_covariance)
    return luminance * structure


def _terms(
    x: Float[Tensor, "n h w"],
    y: Float[Tensor, "n h w"],
    window: Sequence[float],
    data_range: float,
    sample_covariance: bool = False,
) -> tuple[Float[Tensor, "n h2 w2"], Float[Tensor, "n h2 w2"]]:
    """Compute the index's two factors: luminance; contrast times structure."""
    s, d = x + y, x - y
    moments = _Smooth.apply(torch.stack([s, d, s.square(), d.square()]), tuple(window))  # type: ignore[no-untyped-call]
    mean2_s, mean2_d = moments[0].square(), moments[1].square()
    pixels = len(window) ** 2
    bessel = pixels / (pixels - 1) if sample_covariance else 1.0
    var_s, var_d = (moments[2] - mean2_s) * bessel, (moments[3] - mean2_d) * bessel
    luminance = 1 - 2 * mean2_d / (mean2_s + mean2_d + 2 * (K1 * data_range) ** 2)
    structure = 1 - 2 * var_d / (var_s + var_d + 2 * (K2 * data_range) ** 2)
    return luminance, structure


class _Smooth(torch.autograd.Function):
    """Filter, with a gradient that is one filter too: autograd's own fills a whole image with zeros for every tap."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, window: tuple[float, ...]) -> Tensor:
        """Filter without a border."""
        ctx.window = window
        return _smooth(maps, window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Filter the gradient, surrounded by zeros, by the mirrored window."""
        margin = (len(ctx.window) - 1,) * 4
        return _Smooth.apply(F.pad(gradients[0], margin), ctx.window[::-1]), None  # type: ignore[no-untyped-call]


def _smooth(maps: Float[Tensor, "m n h w"], window: Sequence[float]) -> Float[Tensor, "m n h2 w2"]:
    """Filter rows and columns by ``window``, without a border."""
    for dim in (-2, -1):
        size = maps.shape[dim] - len(window) + 1
        smooth = maps.narrow(dim, 0, size) * window[0]
        for offset, tap in enumerate(window[1:], start=1):
            smooth.add_(maps.narrow(dim, offset, size), alpha=tap)
        maps = smooth
    return maps
