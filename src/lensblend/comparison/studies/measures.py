"""What one rendering shows of its network: which copy it uses at which depth, what it keeps sharp and what it blurs."""

from __future__ import annotations

from math import nan

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from torch import Tensor

from lensblend.data.pairs import Pair
from lensblend.inference.rendering import to_batch
from lensblend.ops.colour import luma
from lensblend.ops.resize import resize_bilinear

FORMAT = 1
"""Raise it with every change to what a measure is: what was measured before is then measured anew."""

FIFTHS = 5
_MARGIN, _LEAST_MARGIN = 0.01, 2  # of the shorter side; in pixels


def weights_by_depth(
    weights: Float[np.ndarray, "n h w"], disparity: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "n 5"]:
    """Return the mean of each weight map over each fifth of an image's pixels, the nearest fifth first.

    The fifths are quantiles of the image's own disparity. Pixels of equal disparity count alike, wherever they lie:
    a surface that reaches from one fifth into the next adds its mean to both.

    Args:
        weights: Blending weights, in [0, 1].
        disparity: Larger = nearer, in any unit; finite.

    Example:
        >>> weights_by_depth(np.array([[[0.0, 0.2, 0.4, 0.6, 0.8]]]), np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]))
        array([[0.8, 0.6, 0.4, 0.2, 0. ]])
    """
    _, surface, count = np.unique(-disparity.ravel(), return_inverse=True, return_counts=True)
    means = []
    for weight in weights:
        level = np.bincount(surface, weight.ravel().astype(np.float64)) / count
        means.append([part.mean() for part in np.array_split(np.repeat(level, count), FIFTHS)])
    return np.array(means)


def detail(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Return the gradient magnitude of a picture's luma: Sobel's operator in both directions, unnormalised.

    Example:
        >>> ramp = np.repeat(np.arange(0, 50, 10, dtype=np.uint8)[None, :, None], 5, axis=0).repeat(3, axis=2)
        >>> detail(ramp)[2].round(3)
        array([0.157, 0.314, 0.314, 0.314, 0.157])
    """
    grey = luma(to_batch(picture, torch.device("cpu")))[0, 0].numpy().astype(np.float64)
    return np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))


def regions(mask: Bool[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Return the pixels well inside a mask and those well outside it.

    Those nearer to the mask's outline than 1 % of the shorter side, and than 2 pixels, are in neither: there, the
    gradient is that of the outline itself, and of what one side spreads onto the other. The image's border is no
    outline.

    Args:
        mask: True where the target is in focus; somewhere true and somewhere false.
    """
    margin = max(_LEAST_MARGIN, round(_MARGIN * min(mask.shape)))
    return ndimage.distance_transform_edt(mask) > margin, ndimage.distance_transform_edt(~mask) > margin


def relative_detail(
    picture: UInt8[np.ndarray, "h w 3"], photo: UInt8[np.ndarray, "h w 3"], region: Bool[np.ndarray, "h w"]
) -> float:
    """Return the mean of `detail` in a region, as a share of the photo's there: 1 = as sharp as the photo.

    It is NaN where the region is empty, or flat in the photo.
    """
    own = float(detail(photo)[region].mean()) if region.any() else 0.0
    return float(detail(picture)[region].mean()) / own if own > 0 else nan


def measure(
    pair: Pair, bokeh: UInt8[np.ndarray, "h w 3"], weights: Float[Tensor, "n h2 w2"] | None
) -> dict[str, float]:
    """Measure one rendering; what cannot be measured, because the pair has no mask or disparity, is NaN.

    Args:
        pair: What was rendered; what follows is of its size.
        bokeh: The rendering.
        weights: Blending weights, sharpest copy first; they are enlarged bilinearly to the photo's size. None for a
            network without them.

    Returns:
        ``w{i}_fifth{j}``: mean of weight map i over the j-th fifth of the depths, 1 = nearest.
        ``w0_focus``, ``w0_background``: mean of the weight of the photo itself inside and outside the focus mask.
        ``sharpness_focus``, ``sharpness_background``: see `relative_detail`, well inside and outside the mask.
        ``target_sharpness_focus``, ``target_sharpness_background``: the target's.
    """
    mask = pair.maps.get("mask")
    mask = mask if mask is not None and mask.any() and not mask.all() else None
    measured: dict[str, float] = {}
    if weights is not None:
        height, width = pair.photo.shape[:2]
        if weights.shape[-2:] != (height, width):
            weights = resize_bilinear(weights[None], (height, width))[0]
        maps = weights.float().cpu().numpy()
        measured |= _by_depth(maps, pair)
        measured["w0_focus"] = nan if mask is None else float(maps[0][mask].mean(dtype=np.float64))
        measured["w0_background"] = nan if mask is None else float(maps[0][~mask].mean(dtype=np.float64))
    inside, outside = (None, None) if mask is None else regions(mask)
    for whose, picture in (("", bokeh), ("target_", pair.captured())):
        for name, region in (("focus", inside), ("background", outside)):
            share = nan if region is None else relative_detail(picture, pair.photo, region)
            measured[f"{whose}sharpness_{name}"] = share
    return measured


def _by_depth(maps: Float[np.ndarray, "n h w"], pair: Pair) -> dict[str, float]:
    disparity = pair.maps.get("disparity")
    means = np.full((len(maps), FIFTHS), nan)
    # One distance everywhere, or holes: then there is no near and far to tell apart.
    if disparity is not None and np.isfinite(disparity).all() and np.ptp(disparity) > 0:
        means = weights_by_depth(maps, disparity)
    return {f"w{i}_fifth{j + 1}": float(mean) for i, row in enumerate(means) for j, mean in enumerate(row)}
