"""Render photos of any size with a trained network, as the paper tests it or at full resolution."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lensblend.data.sizes import turned
from lensblend.data.transforms import resize_lanczos, resize_map
from lensblend.errors import DataError, LensblendError, RequestError, one_of
from lensblend.inference.pictures import to_8bit
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.ops.resize import resize_bilinear

BlendAt = Literal["network", "photo"]


def choose_device(name: str) -> torch.device:
    """Return the device a user asked for: ``auto`` takes a GPU where there is one.

    Raises:
        RequestError: The device is unknown or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Where nothing is computed, such as on `meta`, nothing can be read back.
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"`device` {name!r} cannot be used: {str(error).splitlines()[0]}; try auto or cpu."
        ) from None
    return device


def device_of(network: nn.Module) -> torch.device:
    """Return where a network computes; one without weights computes on the CPU."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def to_batch(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Turn 8-bit pixels ``(h, w, 3)`` into a batch of one in [0, 1]."""
    return torch.from_numpy(image.copy()).to(device).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def render_photo(
    network: BokehNetwork,
    photo: NDArray[np.uint8],
    image_size: tuple[int, int],
    blend_at: BlendAt = "network",
    guidance: Mapping[str, NDArray[np.float32]] | None = None,
    strength: float | int = 1.0,
) -> Rendering:
    """Render bokeh into a photo of any size with a network that works at another size.

    Args:
        network: In evaluation mode.
        photo: 8-bit sRGB, ``(h, w, 3)``.
        image_size: Height and width at which the network works; the photo is resized to it with Lanczos, its aspect
            ratio not kept. An upright photo takes a lying size turned, and the other way round.
        blend_at: ``network`` blends at that size and scales the result back bilinearly (Dutta 2021, section 5.1);
            ``photo`` scales only the weight maps, and blurs and blends the photo itself with kernels scaled alike, so
            that what is in focus keeps its full resolution.
        guidance: What the network needs beside the photo (its attribute ``guidance``), as maps of any size.
        strength: Factor on the widths of the blurs that a blending network chooses from; 1 is as it was trained.

    Returns:
        ``bokeh`` of the photo's size, one in the batch, and the network's intermediates.

    Raises:
        RequestError: ``blend_at`` is unknown, the network cannot blend at full resolution, or ``strength`` is not
            positive or not 1 where there are no blurs to scale.
    """
    one_of("blend_at", blend_at, get_args(BlendAt))
    if not 0 < strength < math.inf:
        raise RequestError(f"`strength` is positive and finite, but got {strength}; use 1 for blurs as trained.")
    if strength != 1:
        network = network.scaled(strength)
    image_size = turned(image_size, photo.shape[:2])
    small, maps = seen_by(network, photo, image_size, guidance or {})
    if blend_at == "network":
        rendering = _run(network, small, **maps)
        height, width = photo.shape[:2]
        if (height, width) == image_size:
            return rendering
        return Rendering(resize_bilinear(rendering.bokeh, (height, width)), rendering.aux)
    if not network.blends_full_size:
        raise RequestError(f"{type(network).__name__} cannot blend at full resolution; use `blend_at=network`.")
    return _run(network, small, full_photo=to_batch(photo, small.device), **maps)


def seen_by(
    network: nn.Module,
    photo: NDArray[np.uint8],
    image_size: tuple[int, int],
    guidance: Mapping[str, NDArray[np.float32]],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a photo and its maps as a network sees them: at its size, on its device, batches of one."""
    device = device_of(network)
    maps = {
        name: torch.from_numpy(resize_map(plane, image_size).copy()).to(device)[None, None]
        for name, plane in guidance.items()
    }
    return to_batch(resize_lanczos(photo, image_size), device), maps


def _run(network: nn.Module, photo: Tensor, **guidance: Tensor) -> Rendering:
    """Render, or say in one line why the network does not."""
    rendering: Any = explained(network, photo, **guidance)
    if not isinstance(rendering, Rendering):
        raise DataError(f"{type(network).__name__} returns {type(rendering).__name__}, not a rendering.")
    return rendering


def explained(network: nn.Module, photo: Tensor, **guidance: Tensor) -> Any:
    """Call a network; what goes wrong in it is said in one line.

    Raises:
        DataError: In place of PyTorch's own errors: sizes that do not fit, no memory.
    """
    with explaining(network, photo.shape[-2:]):
        return network(photo, **guidance)


@contextlib.contextmanager
def explaining(network: nn.Module, size: Sequence[int]) -> Iterator[None]:
    """Say in one line what goes wrong in a network, or in what it began, for a photo of this height and width.

    Raises:
        DataError: In place of PyTorch's own errors.
    """
    try:
        yield
    except LensblendError:
        raise
    except Exception as error:
        height, width = size
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{type(network).__name__} failed on a photo of {height}×{width}: {reason}") from error


def weight_maps(rendering: Rendering) -> list[NDArray[np.uint8]]:
    """Return a rendering's blending weights as 8-bit grey pictures, sharpest copy first, white = 1."""
    weights = rendering.aux.get("weights")
    return [] if weights is None else [to_8bit(w) for w in weights[0]]
