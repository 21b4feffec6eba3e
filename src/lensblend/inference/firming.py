"""Maps with the steps that surfaces have, from maps in which enlarging or a network softened them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy import ndimage


def firmed(disparity: Float32[np.ndarray, "h w"]) -> tuple[Float32[np.ndarray, "h w"], int]:
    """Turn the slopes that enlarging or a network makes of steps into steps again.

    A pixel on a steep slope takes the disparity of the nearest one that is on none.

    Args:
        disparity: Larger = nearer.

    Returns:
        Disparity, and how many pixels the photo's outlines may lie to each side of its steps.

    Example:
        >>> step = np.zeros((4, 64), np.float32)
        >>> step[:, 32:] = 0.9
        >>> soft = step.copy()
        >>> soft[:, 31], soft[:, 32] = 0.3, 0.6
        >>> bool((firmed(soft)[0] == step).all())
        True
    """
    steep = 8 / disparity.shape[1]
    sloping = np.zeros(disparity.shape, np.bool_)
    for axis in (0, 1):
        step = np.diff(disparity, axis=axis)
        before = np.insert(step, 0, 0, axis=axis)
        after = np.insert(step, step.shape[axis], 0, axis=axis)
        sloping |= (before * after > 0) & (np.minimum(abs(before), abs(after)) > steep)
    if not sloping.any() or sloping.all():
        return disparity, 1
    distance, nearest = ndimage.distance_transform_edt(sloping, return_indices=True)
    width = 4 * float(distance[sloping].mean())
    # A few single pixels on a slope are noise, or a thing one pixel wide.
    edge = min(max(round(width / 2), 1), 4) if sloping.mean() > 1e-3 else 1
    firm = disparity[tuple(nearest)]
    # The median rounds off stairs, and keeps to one of the two sides of a step.
    return ndimage.median_filter(firm, 2 * edge + 1) if edge > 1 else firm, edge
