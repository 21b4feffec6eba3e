"""Enlarging maps so that their edges follow those of the photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lensblend.errors import RequestError
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resize import Window, sample_bilinear


def guided_upsample(
    maps: Float[Tensor, "b n h w"],
    guide: Float[Tensor, "b 3 h w"],
    full_guide: Float[Tensor, "b 3 h_full w_full"],
    radius: int = 2,
    eps: float = 1e-3,
    extent: tuple[float, float] = (1.0, 1.0),
    place: tuple[Window, Sequence[int]] | None = None,
) -> Float[Tensor, "b n h_full w_full"]:
    r"""Enlarge maps to a photo's size along the photo's own edges (fast guided filter, colour guide).

    In each window of ``2 radius + 1`` pixels a map is explained as a linear function of the photo's colour,

    .. math:: p \approx a^\top I + b, \qquad
        a = (\Sigma + \epsilon \, U)^{-1} \operatorname{cov}(I, p), \qquad b = \bar p - a^\top \bar I

    and the means of ``a`` and ``b`` over the windows of each pixel, enlarged bilinearly, are applied to the photo at
    its full size. Windows are cut at the border. Linear in the maps, and a constant map stays constant: maps that sum
    to one at each pixel still do, though single values may leave their range. Differentiable in all three arguments.
    Half precision is raised to single.

    Args:
        maps: Any number of maps, at the size at which they were predicted.
        guide: The photo at that size, in [0, 1].
        full_guide: The photo at the size that is wanted, in [0, 1].
        radius: Of the windows, in pixels of ``maps``.
        eps: Variance of the guide, in its squared units, below which an area counts as flat and is averaged.
        extent: Which share of the rows and columns of ``maps`` and ``guide``, from the upper left, ``full_guide``
            shows; below 1 where they were extended to a multiple of a network's stride.
        place: Where ``full_guide`` is only a part of the photo: which part, and the photo's height and width.

    Raises:
        RequestError: ``radius`` or ``eps`` is not positive.

    Example:
        >>> photo = torch.rand(1, 3, 32, 48)
        >>> small = functional.avg_pool2d(photo, 4)
        >>> guided_upsample(torch.full((1, 2, 8, 12), 0.5), small, photo).shape
        torch.Size([1, 2, 32, 48])

    References:
        K. He, J. Sun and X. Tang, "Guided image filtering", IEEE TPAMI 35(6), 2013, equations 14-16 and 19-21;
        K. He and J. Sun, "Fast guided filter", arXiv:1505.00996, 2015.
    """
    if radius < 1 or not eps > 0:
        raise RequestError(f"`radius` is at least 1 and `eps` above 0, but got {radius} and {eps}; use 2 and 1e-3.")
    with torch.autocast(maps.device.type, enabled=False):
        maps, guide, full_guide = (at_least_float32(image) for image in (maps, guide, full_guide))
        slope, offset = _linear_models(maps, guide, radius, eps)
        window, size = place or (None, full_guide.shape[-2:])
        # Map by map: the coefficients of all of them would take four times the memory of the maps.
        models = torch.cat([slope, offset[:, :, None]], dim=2).unbind(1)
        full = (sample_bilinear(model, size, extent, window) for model in models)
        return torch.stack([(model[:, :3] * full_guide).sum(dim=1) + model[:, 3] for model in full], dim=1)


def _linear_models(maps: Tensor, guide: Tensor, radius: int, eps: float) -> tuple[Tensor, Tensor]:
    """Return the mean slope ``(b, n, 3, h, w)`` and offset ``(b, n, h, w)`` of the windows of each pixel."""
    # Centred first, because E[xy] - E[x]E[y] cancels digits.
    centre = guide.mean(dim=(-2, -1), keepdim=True)
    colour = guide - centre
    mean, level = _box(colour, radius), _box(maps, radius)
    batch, count, height, width = maps.shape
    products = _box((colour[:, :, None] * colour[:, None]).flatten(1, 2), radius).view(batch, 3, 3, height, width)
    variance = products - mean[:, :, None] * mean[:, None] + eps * _eye(guide)
    joint = _box((maps[:, :, None] * colour[:, None]).flatten(1, 2), radius).view(batch, count, 3, height, width)
    covariance = joint - level[:, :, None] * mean[:, None]
    slope = torch.einsum("bijyx,bnjyx->bniyx", _inverse(variance), covariance)
    offset = level - (slope * mean[:, None]).sum(dim=2)
    slope = _box(slope.flatten(1, 2), radius).view(batch, count, 3, height, width)
    return slope, _box(offset, radius) - (slope * centre[:, None]).sum(dim=2)


def _eye(guide: Tensor) -> Tensor:
    return torch.eye(3, dtype=guide.dtype, device=guide.device).view(1, 3, 3, 1, 1)


def _inverse(matrix: Tensor) -> Tensor:
    """Invert symmetric 3×3 matrices ``(b, 3, 3, h, w)`` by their cofactors."""
    a, b, c = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 0, 2]
    d, e, f = matrix[:, 1, 1], matrix[:, 1, 2], matrix[:, 2, 2]
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    rows = [
        torch.stack([first, second, third], dim=1),
        torch.stack([second, a * f - c * c, b * c - a * e], dim=1),
        torch.stack([third, b * c - a * e, a * d - b * b], dim=1),
    ]
    return torch.stack(rows, dim=1) / (a * first + b * second + c * third)[:, None, None]


def _box(image: Tensor, radius: int) -> Tensor:
    """Return means over windows that end at the border."""
    side = 2 * radius + 1
    return functional.avg_pool2d(image, side, stride=1, padding=radius, count_include_pad=False)
