"""Exact blurs of whole images that cost a small part of a dense convolution.

One-dimensional kernels are applied along both axes as products with banded matrices, block by block.
Two-dimensional kernels go through one forward FFT and one inverse per kernel.
Kernels never go below zero and sum to one, so each blurred pixel is a mean of pixels: a constant image stays constant,
and nothing leaves the photo's range by more than rounding. `docs/benchmarks/blur.md` has speed and error;
`lensblend.ops.decimated` is faster, and off by a part of a level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from lensblend.errors import RequestError
from lensblend.ops.banded import Borders, blur_separable, cached_band
from lensblend.ops.constants import may_keep
from lensblend.ops.fourier import Transform, blur_dense, cached_spectrum, transform
from lensblend.ops.padding import Border
from lensblend.ops.precision import at_least_float32, full_precision


def blur(photo: Float[Tensor, "b c h w"], kernel: Float64[Tensor, "*_k"]) -> Float[Tensor, "b c h w"]:
    """Blur every channel with a kernel from :mod:`lensblend.ops.kernels`.

    The border is mirrored without repeating the edge pixel ("reflect 101", OpenCV's default). That needs a side longer
    than half the kernel; along a shorter side the edge pixel is repeated instead ("replicate").
    Everything is computed in float32, or in float64 if the photo is, also under autocast and where the user allowed
    TF32 (gradients follow the user's switches). Gradients reach the photo, not the kernel.

    Args:
        photo: Any range.
        kernel: One-dimensional: applied along both axes. Two-dimensional and square: applied as it is.

    Example:
        >>> photo = torch.zeros(1, 1, 5, 5)
        >>> photo[0, 0, 2, 2] = 1.0
        >>> blur(photo, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64))[0, 0, 2].tolist()
        [0.0, 0.125, 0.25, 0.125, 0.0]
    """
    return next(blurs(photo, [kernel]))


def blur_stack(
    photo: Float[Tensor, "b c h w"], kernels: Sequence[Float64[Tensor, "*_k"]]
) -> Float[Tensor, "b n c h w"]:
    """Stack a photo and its copies blurred by each kernel, in the order given; see :func:`blur`.

    Cheaper than one call per kernel: two-dimensional kernels share the forward FFT.

    Returns:
        ``len(kernels) + 1`` images per photo. The first is the photo itself, bit for bit.

    Example:
        >>> blur_stack(torch.rand(2, 3, 8, 9), [torch.full((3,), 1 / 3, dtype=torch.float64)]).shape
        torch.Size([2, 2, 3, 8, 9])
    """
    return torch.stack([at_least_float32(photo), *blurs(photo, kernels)], dim=1)


def blurs(
    photo: Float[Tensor, "b c h w"], kernels: Sequence[Float64[Tensor, "*_k"]]
) -> Iterator[Float[Tensor, "b c h w"]]:
    """Give the copies of `blur_stack` one after the other, the photo itself left out: memory for one at a time.

    Example:
        >>> [copy.shape for copy in blurs(torch.rand(1, 3, 8, 9), [torch.full((3,), 1 / 3, dtype=torch.float64)])]
        [torch.Size([1, 3, 8, 9])]
    """
    photo = at_least_float32(photo).contiguous()
    keep = may_keep(photo)
    transforms: dict[Borders, Transform] = {}
    for kernel in kernels:
        with full_precision(photo.device):
            copy = _blurred(photo, kernel, kernels, transforms, keep)
        yield copy


def clear_cache() -> None:
    """Free the matrices and spectra that were kept for the next image of the same size, kernel, dtype and device."""
    cached_band.cache_clear()
    cached_spectrum.cache_clear()


def _blurred(
    photo: Tensor, kernel: Tensor, kernels: Sequence[Tensor], transforms: dict[Borders, Transform], keep: bool
) -> Tensor:
    borders = _borders(kernel, photo)
    if kernel.ndim == 1:
        return blur_separable(photo, kernel, borders, keep)
    if borders not in transforms:
        alike = [other for other in kernels if other.ndim == 2 and _borders(other, photo) == borders]
        transforms[borders] = transform(photo, borders, max(len(other) for other in alike) // 2)
    return blur_dense(transforms[borders], kernel, keep)


def _borders(kernel: Tensor, photo: Tensor) -> Borders:
    """Return how columns and rows are continued for a kernel, after checking that it is of a known shape."""
    side = len(kernel)
    if kernel.ndim not in (1, 2) or side % 2 == 0 or kernel.shape[-1] != side:
        raise RequestError(
            f"`kernel` is (k,) or (k, k) with an odd k, but got {tuple(kernel.shape)}; pad it with zeros to odd sides."
        )
    return _border(side // 2, photo.shape[-2]), _border(side // 2, photo.shape[-1])


def _border(radius: int, length: int) -> Border:
    return "reflect" if radius < length else "replicate"
