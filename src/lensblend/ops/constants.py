"""Tensors that depend on no pixel: made on the CPU, and kept on every device that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache

import torch
from torch import Tensor, nn


def may_keep(image: Tensor) -> bool:
    """Say whether what goes with an image may be kept: never while tracing, where fakes would outlive their trace."""
    return not torch.compiler.is_compiling() and type(image) in (Tensor, nn.Parameter)


def constant(
    build: Callable[..., Tensor], *arguments: Hashable, image: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Return ``build(*arguments)`` beside an image, and keep it: to copy it anew, a step would wait for the GPU.

    Args:
        build: Makes the tensor on the CPU, the same one for the same arguments.
        arguments: Its arguments.
        image: On whose device the tensor is wanted.
        dtype: Of the tensor; None for the image's.

    Example:
        >>> image = torch.zeros(1, 1, 2, 2)
        >>> constant(torch.arange, 3, image=image) is constant(torch.arange, 3, image=image)
        True
    """
    make = _kept if may_keep(image) else _made
    return make(build, arguments, image.dtype if dtype is None else dtype, image.device)


def _made(
    build: Callable[..., Tensor], arguments: tuple[Hashable, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    with torch.inference_mode(False):  # validation runs in inference mode; training must be able to use the same tensor
        return build(*arguments).to(device, dtype)


_kept = lru_cache(maxsize=64)(_made)
