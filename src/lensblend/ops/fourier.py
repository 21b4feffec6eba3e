"""Two-dimensional kernels: products of spectra, one forward FFT for all kernels and one inverse for each."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lensblend.ops.banded import Borders
from lensblend.ops.kernels import kernel_from_bytes, kernel_to_bytes
from lensblend.ops.padding import extend


class Transform(NamedTuple):
    """The spectrum of a photo, continued by ``radius`` pixels on each side, without its mean."""

    spectrum: Tensor
    padded_size: tuple[int, int]
    radius: int
    photo: Tensor
    mean: Tensor


def transform(photo: Tensor, borders: Borders, radius: int) -> Transform:
    """Take the spectrum that serves every kernel of up to ``radius`` pixels with these borders."""
    height, width = photo.shape[-2:]
    # Without its mean, a constant photo is as good as zero and stays constant; rounding errors get seven times smaller.
    mean = photo.mean((-2, -1), keepdim=True)
    padded = extend(extend(photo - mean, radius, -1, borders[1]), radius, -2, borders[0])
    padded_size = (_fast_length(height + 2 * radius), _fast_length(width + 2 * radius))
    return Transform(torch.fft.rfft2(padded, s=padded_size), padded_size, radius, photo, mean)


def blur_dense(transform: Transform, kernel: Tensor, keep: bool) -> Tensor:
    """Blur by a product of spectra; ``keep`` the kernel's for the next photo of this size, dtype and device."""
    spectrum, padded_size, radius, photo, mean = transform
    height, width = photo.shape[-2:]
    padded = torch.fft.irfft2(spectrum * _spectrum(kernel, padded_size, photo, keep), s=padded_size)
    return padded[..., radius : radius + height, radius : radius + width] + mean


def _fast_length(length: int) -> int:
    """Return the next multiple of 16 without prime factors above 7: others cost an FFT up to 1.4 times as much."""
    candidate = -(-length // 16) * 16
    while 210**12 % candidate:  # 210 = 2 · 3 · 5 · 7
        candidate += 16
    return candidate


def _spectrum(kernel: Tensor, size: tuple[int, int], photo: Tensor, keep: bool) -> Tensor:
    if keep:
        return cached_spectrum(kernel_to_bytes(kernel), len(kernel), size, photo.dtype, photo.device)
    return _build_spectrum(kernel, size, photo.dtype, photo.device)


@lru_cache(maxsize=12)
def cached_spectrum(
    kernel: bytes, side: int, size: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the spectrum of a kernel of ``side`` pixels, centred on the first pixel of an image."""
    with torch.inference_mode(False):  # validation runs in inference mode; training must be able to use the same tensor
        return _build_spectrum(kernel_from_bytes(kernel).view(side, side), size, dtype, device)


def _build_spectrum(kernel: Tensor, size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    side = kernel.shape[-1]
    centred = functional.pad(kernel, (0, size[1] - side, 0, size[0] - side)).roll((-(side // 2),) * 2, (0, 1))
    return torch.fft.rfft2(centred).real.to(device, dtype)  # real, because kernels are symmetric
