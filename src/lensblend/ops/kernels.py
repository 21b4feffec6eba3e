"""Blur kernels: normalised, symmetric, and float64 on the CPU, so that every device starts from the same numbers."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from lensblend.errors import RequestError, one_of

# OpenCV 5 replaces small Gaussians by these when it is given no sigma; in 256ths, half of each symmetric kernel.
_OPENCV_TABLES = {1: (256,), 3: (64, 128), 5: (16, 64, 96), 7: (8, 28, 56, 72), 9: (4, 13, 30, 51, 60)}


def sigma_for(kernel_size: int) -> float:
    r"""Return the standard deviation that OpenCV derives from a kernel size, in pixels.

    .. math:: \sigma = 0.3 \left(\frac{k - 1}{2} - 1\right) + 0.8 = 0.15 k + 0.35

    The DBSI paper gives sizes only; its author's later scripts use this rule.

    Example:
        >>> [round(sigma_for(size), 2) for size in (25, 45, 75)]
        [4.1, 7.1, 11.6]
    """
    return 0.15 * check_kernel_size(kernel_size) + 0.35


def gaussian_kernel(
    kernel_size: int, sigma: float | int | None = None, rule: str = "opencv_formula"
) -> Float64[Tensor, " k"]:
    """Sample a Gaussian at the pixel centres and normalise it to sum to one.

    Args:
        kernel_size: Odd side in pixels.
        sigma: Standard deviation in pixels; without it the ``rule`` decides.
        rule: ``opencv_formula`` is :func:`sigma_for`; ``opencv_exact`` is the same from size 11 on, and below
            that the fixed tables of OpenCV 5. A given ``sigma`` overrides both.

    Example:
        >>> gaussian_kernel(5, rule="opencv_exact").tolist()
        [0.0625, 0.25, 0.375, 0.25, 0.0625]
    """
    check_kernel_size(kernel_size)
    derived = SIGMA_RULES[one_of("sigma_rule", rule, SIGMA_RULES)]
    return derived(kernel_size) if sigma is None else _sampled(kernel_size, _check_positive("sigma", sigma))


def _sampled(kernel_size: int, sigma: float | int) -> Float64[Tensor, " k"]:
    offsets = _offsets(kernel_size // 2) / sigma
    return _normalised(torch.exp(-0.5 * offsets**2))


def _opencv_formula(kernel_size: int) -> Float64[Tensor, " k"]:
    return _sampled(kernel_size, sigma_for(kernel_size))


def _opencv_exact(kernel_size: int) -> Float64[Tensor, " k"]:
    half = _OPENCV_TABLES.get(kernel_size)
    if half is None:
        return _opencv_formula(kernel_size)
    return torch.tensor([*half, *half[-2::-1]], dtype=torch.float64) / 256


# The Gaussian of a size alone.
SIGMA_RULES = {"opencv_formula": _opencv_formula, "opencv_exact": _opencv_exact}


def box_kernel(width: float | int) -> Float64[Tensor, " k"]:
    r"""Average over ``width`` pixels; an odd width is the ordinary box, any other has two fractional end taps.

    An odd width :math:`k` has the standard deviation :math:`\sqrt{(k^2 - 1) / 12}` along each axis.

    Example:
        >>> box_kernel(4.0).tolist()
        [0.125, 0.25, 0.25, 0.25, 0.125]
    """
    if not 1 <= width < math.inf:
        raise RequestError(f"`width` is at least 1 pixel, but got {width}; use 1 for no blur.")
    inner = math.ceil((width - 1) / 2)  # pixels on each side, the outermost one possibly a fraction
    taps = torch.ones(2 * inner + 1, dtype=torch.float64)
    if inner:
        taps[0] = taps[-1] = (width - (2 * inner - 1)) / 2
    return _normalised(taps)


def disk_kernel(radius: float | int) -> Float64[Tensor, "k k"]:
    r"""Average over a disk of ``radius`` pixels whose rim falls off over about one pixel.

    .. math:: K(d) \propto \tfrac12 + \tfrac12 \tanh\bigl(4 (r - d)\bigr)

    A kernel of odd side :math:`k` has the radius :math:`r = (k - 1) / 2`, and a standard deviation close to
    :math:`r / 2` along each axis. Fractional radii are welcome.

    Example:
        >>> disk_kernel(37).shape
        torch.Size([75, 75])

    References:
        J. Peng et al., "BokehMe: when neural rendering meets classical rendering", CVPR 2022 (the soft rim).
    """
    if not 0 <= radius < math.inf:
        raise RequestError(f"`radius` is at least 0 pixels, but got {radius}; use 0 for no blur.")
    offsets = _offsets(math.ceil(radius))
    distance = torch.sqrt(offsets[:, None] ** 2 + offsets**2)  # for hypot, ONNX has no operator
    return _normalised(0.5 + 0.5 * torch.tanh(4 * (radius - distance)))


def box_width_for(sigma: float | int) -> float:
    r"""Return the width whose :func:`box_kernel` has exactly this standard deviation, in pixels.

    With :math:`m` whole pixels on each side and end taps :math:`a`, the variance is
    :math:`(\tfrac13 m (m+1) (2m+1) + 2 a (m+1)^2) / (2m + 1 + 2a)`; this is solved for :math:`a`.

    Example:
        >>> round(box_width_for(11.6), 1)
        40.2
    """
    variance = _check_positive("sigma", sigma) ** 2
    whole = int((math.sqrt(1 + 12 * variance) - 1) / 2)  # the largest m with m (m + 1) / 3 <= variance
    inner_sum = whole * (whole + 1) * (2 * whole + 1) / 3
    end = (variance * (2 * whole + 1) - inner_sum) / (2 * ((whole + 1) ** 2 - variance))
    return 2 * whole + 1 + 2 * end


@lru_cache(maxsize=256)  # milliseconds, and a bank is scaled anew for each photo
def disk_radius_for(sigma: float | int) -> float:
    """Return the radius whose :func:`disk_kernel` has this standard deviation along each axis, in pixels.

    It is close to ``2 * sigma``, but the soft rim and the pixel grid move small disks by up to a fifth;
    bisection on the sampled kernel removes that.

    Example:
        >>> round(disk_radius_for(11.6), 1)
        23.2
    """
    centre = 2 * _check_positive("sigma", sigma)
    low, high = max(0.0, centre - 1), centre + 1
    for _ in range(25):  # to less than 1e-7 pixels
        middle = (low + high) / 2
        low, high = (middle, high) if kernel_std(disk_kernel(middle)) < sigma else (low, middle)
    return high


def kernel_std(kernel: Float64[Tensor, "*sides"]) -> float:
    """Return the standard deviation of a kernel along one axis, in pixels.

    Example:
        >>> round(kernel_std(box_kernel(75)), 2)
        21.65
    """
    profile = kernel if kernel.ndim == 1 else kernel.sum(0)
    return math.sqrt((profile * _offsets(len(profile) // 2) ** 2).sum().item())


def check_kernel_size(kernel_size: int) -> int:
    """Return the size, or refuse it unless it is odd and positive."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        near = max(1, kernel_size - 1)
        raise RequestError(f"`kernel_size` is odd and positive, but got {kernel_size}; use {near} or {near + 2}.")
    return kernel_size


def kernel_to_bytes(kernel: Float64[Tensor, "*sides"]) -> bytes:
    """Return a kernel's values as something that can be hashed."""
    return kernel.detach().cpu().numpy().tobytes()


def kernel_from_bytes(values: bytes) -> Float64[Tensor, " n"]:
    """Return the flat values of a kernel, or refuse them unless they average pixels symmetrically."""
    kernel = torch.from_numpy(np.frombuffer(values).copy())
    low, total = kernel.min().item(), kernel.sum().item()
    if low < 0 or abs(total - 1) > 1e-9 or not torch.allclose(kernel, kernel.flip(0)):
        raise RequestError(
            "`kernel` is symmetric, never negative and sums to one, "
            f"but got a minimum of {low:g} and a sum of {total:g}; mirror it, and divide it by its sum."
        )
    return kernel


def _check_positive(name: str, value: float | int) -> float:
    if not 0 < value < math.inf:
        raise RequestError(f"`{name}` is positive and finite, but got {value}; leave it out for the default.")
    return value


def _offsets(radius: int) -> Float64[Tensor, " k"]:
    return torch.arange(-radius, radius + 1, dtype=torch.float64)


def _normalised(kernel: Float64[Tensor, "*sides"]) -> Float64[Tensor, "*sides"]:
    return kernel / kernel.sum()
