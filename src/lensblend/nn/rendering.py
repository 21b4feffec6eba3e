"""What every network takes and returns, and the kinds of networks there are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lensblend.errors import RequestError

SMALLEST_SIDE = 32
RANGE_TOLERANCE = 1e-3


class Rendering(NamedTuple):
    """A rendered photo and the named intermediates that led to it.

    Attributes:
        bokeh: The rendered photo ``(b, 3, h, w)``, sRGB in [0, 1], of the photo's size.
        aux: Named intermediates: ``weights`` ``(b, n+1, h, w)``, ``stack`` ``(b, n+1, 3, h, w)``, ``depth``,
            ``saliency``, ``mask``, ``kernels``; ``pyramid`` is a list of smaller renderings.
    """

    bokeh: Tensor
    aux: dict[str, Any]


class BokehNetwork(nn.Module):
    """A network that renders bokeh: ``forward(photo, **guidance) -> Rendering``.

    Attributes:
        guidance: Names of the maps that it takes beside the photo: ``saliency``, ``disparity``.
        takes_coordinates: Whether it also takes where in its image each pixel of the photo lies.
    """

    guidance: tuple[str, ...] = ()
    takes_coordinates: bool = False


class PriorNetwork(nn.Module):
    """A network that estimates maps of a photo, used as guidance: ``forward(photo)`` gives named maps.

    Attributes:
        estimates: Names of the maps: ``saliency``, ``disparity``.
    """

    estimates: tuple[str, ...] = ()


class Backbone(nn.Module):
    """A trunk without a head: ``forward(photo)`` gives features at the photo's size.

    Attributes:
        out_channels: How many of them each pixel has.
    """

    out_channels: int


def check_photo(photo: Tensor) -> None:
    """Raise `RequestError` unless a batch of photos is ``(b, 3, h, w)``, in [0, 1], with sides of 32 or more.

    Values are looked at on the CPU only: on a GPU it would wait for all work in flight. NaN passes, because
    what to do about it is the training loop's decision.
    """
    if photo.ndim != 4 or photo.shape[1] != 3 or not photo.is_floating_point():
        raise RequestError(
            f"A photo is a batch of RGB floats, (b, 3, h, w), but got {photo.dtype} of shape {list(photo.shape)}; "
            "use `photo[None]` for a single one, and divide 8-bit values by 255."
        )
    height, width = photo.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        raise RequestError(
            f"A photo's sides are {SMALLEST_SIDE} pixels or more, but got {height} × {width}; "
            "enlarge it, or extend it by repeating its border."
        )
    if photo.device.type != "cpu" or torch.compiler.is_compiling():
        return
    low, high = (bound.item() for bound in photo.detach().aminmax())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise RequestError(
            f"A photo's values are in [0, 1], but got {low:.4g} to {high:.4g}; divide 8-bit values by 255."
        )
