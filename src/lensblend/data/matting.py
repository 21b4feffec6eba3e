"""What a masked photo is made of: the subject's own colours, and the background continued behind it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

_REACHES = (16, 96)  # parts of the width that colours are averaged over, coarse first
_SEEN = 0.02  # where the subject covers less, a pixel shows the background alone
_LEAST = 1e-4


class Parts(NamedTuple):
    """The two layers of a photo, in the light that it was given in.

    Attributes:
        subject: Colours of the subject, ``(h, w, 3)``; also where it does not cover.
        background: Colours of what is behind it, everywhere.
    """

    subject: Float32[np.ndarray, "h w 3"]
    background: Float32[np.ndarray, "h w 3"]


def part(photo: Float32[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"]) -> Parts:
    """Part a photo into a subject and what is behind it.

    The background is the photo where nothing covers it, and continues smoothly behind the subject. The subject's
    colours are local means of what is surely its own, corrected so that the two parts make up the photo again.

    Args:
        photo: In linear light.
        alpha: How much of each pixel the subject covers, in [0, 1].

    Example:
        >>> red, blue = np.array([1, 0, 0], np.float32), np.array([0, 0, 1], np.float32)
        >>> alpha = np.zeros((8, 16), np.float32)
        >>> alpha[:, 4:8], alpha[:, 8] = 1, 0.5
        >>> photo = alpha[..., None] * red + (1 - alpha[..., None]) * blue
        >>> parts = part(photo, alpha)
        >>> bool(np.allclose(parts.background, blue)), bool(np.allclose(parts.subject[:, 8], red, atol=0.05))
        (True, True)

    References:
        M. Forte, "Approximate fast foreground colour estimation", ICIP 2021: local means of either part, corrected by
        what they miss; twice, first over wide surroundings, then over narrow ones.
    """
    background = continued(photo, alpha <= _SEEN)
    cover, subject = alpha[..., None], photo
    for reach in _REACHES:
        size = 2 * max(photo.shape[1] // reach, 1) + 1
        weight = ndimage.uniform_filter(alpha, size, mode="nearest")[..., None]
        mean = ndimage.uniform_filter(cover * subject, (size, size, 1), mode="nearest") / np.maximum(weight, _LEAST)
        mean = np.where(weight > _LEAST, mean, subject)
        missed = photo - cover * mean - (1 - cover) * background
        subject = np.clip(mean + cover * missed, 0, None)
    return Parts(subject.astype(np.float32), background)


def continued(
    photo: Float32[np.ndarray, "h w 3"], known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Float32[np.ndarray, "h w 3"]:
    """Fill what is not known of a photo smoothly from its surroundings; what is known stays as it is.

    Each hole takes the mean of what is known at the finest scale at which anything is (pull and push). Where nothing
    is known at all, the photo is returned.
    """
    if not known.any():
        return photo
    light = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None]
    weight = torch.from_numpy(known.astype(np.float32))[None, None]
    filled = _filled(light * weight, weight)[0].numpy().transpose(1, 2, 0)
    return np.where(known[..., None], photo, filled).astype(np.float32)


def _filled(light: Tensor, weight: Tensor) -> Tensor:
    """Return light over weight, with holes filled from half the size, and so on."""
    known = light / weight.clamp_min(_LEAST)
    if bool((weight > 0).all()) or max(weight.shape[-2:]) == 1:
        return known
    small_light, small_weight = (avg_pool2d(plane, 2, ceil_mode=True) for plane in (light, weight))
    coarse = _filled(small_light, small_weight)
    behind = interpolate(coarse, weight.shape[-2:], mode="bilinear", align_corners=False)
    share = weight.clamp(max=1)
    return share * known + (1 - share) * behind
