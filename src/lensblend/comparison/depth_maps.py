"""Depth estimators side by side (Dutta 2021, Fig. 3): their maps of the same photos, and how far from the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lensblend.data.files import FilePairs, PairFiles, raise_all
from lensblend.data.listing import list_images
from lensblend.data.transforms import resize_lanczos
from lensblend.errors import DataError, RequestError
from lensblend.inference.evaluation import Scores
from lensblend.inference.named_maps import named_maps
from lensblend.inference.prior_maps import Guide
from lensblend.metrics.depth import OrdinalAccuracy, SiRmse
from lensblend.metrics.per_image import MetricClasses
from lensblend.ops.depth import log_depth
from lensblend.storage import real

METRICS: MetricClasses = {metric.name: metric for metric in (SiRmse, OrdinalAccuracy)}
TRUTH = "truth"
COLOURS = "inferno"
#: Of a map's values, the shares below and above which all have the darkest and the brightest colour.
CUT = 0.01
SHOWN_HEIGHT = 480
Track = Callable[[Sequence[str]], Iterable[str]]


@dataclass
class DepthRow:
    """One photo.

    Attributes:
        id: Its name.
        pictures: The photo, then a coloured map for each estimator, and of the truth where it is known; by caption, at
            most 480 pixels high.
        scores: By estimator, then by metric; empty without truth.
    """

    id: str
    pictures: dict[str, NDArray[np.uint8]]
    scores: dict[str, Scores] = field(default_factory=dict)


def photos_in(folder: Path, limit: int | None = None) -> FilePairs:
    """Return the photos of a folder, in natural order, as pairs without targets.

    Raises:
        RequestError: It is no folder, or holds none.
        DataError: Two have one name.
    """
    files = list_images(folder)[:limit]
    doubled = [name for name, count in Counter(file.stem for file in files).items() if count > 1]
    if doubled:
        raise DataError(f"`{folder}` holds several photos called {doubled[0]}; rename all but one.")
    return FilePairs([PairFiles(file.stem, file, None, {}) for file in files])


def estimators_of(sources: Sequence[str], photos: int) -> dict[str, Guide]:
    """Return the sources of disparity by the names that they have on the sheet: the shortest that tell them apart.

    Args:
        sources: As `lensblend.inference.named_maps.named_maps` takes them.
        photos: How many there are.

    Raises:
        RequestError: One is there twice, or names nothing that estimates disparity.
    """
    paths = [real(source).parts for source in sources]
    if len(set(paths)) < len(paths):
        raise RequestError(f"`--depth` names {' '.join(sources)}, one of them twice; name each estimator once.")
    names = []
    for own in paths:
        alone = (count for count in range(1, len(own) + 1) if sum(p[-count:] == own[-count:] for p in paths) == 1)
        names.append("/".join(own[-next(alone, len(own)) :]))
    if TRUTH in names:
        names = [f"{name} (estimated)" if name == TRUTH else name for name in names]
    return {name: named_maps("disparity", source, photos) for name, source in zip(names, sources, strict=True)}


def compare_depth(
    estimators: Mapping[str, Guide], photos: FilePairs, truth: Guide | None, track: Track = lambda ids: ids
) -> list[DepthRow]:
    """Estimate the disparity of each photo by each estimator.

    Args:
        estimators: By name.
        photos: Of `photos_in`.
        truth: Where the true disparity comes from, if it is known.
        track: Shows how far it is.

    Raises:
        DataError: Maps are missing, unreadable or of other sizes; they are listed before anything is computed.
    """
    for name, guide in [*estimators.items(), *([(TRUTH, truth)] if truth else [])]:
        raise_all(guide.problems(photos), f"the maps of {name}")
    rows = []
    for index, name in enumerate(track(list(photos.ids))):
        pair = photos.load(index)
        row = DepthRow(name, {"photo": _smaller(pair.photo)})
        true = None if truth is None else truth(pair)
        for label, guide in estimators.items():
            disparity = guide(pair)
            row.pictures[label] = _smaller(coloured(disparity))
            if true is not None:
                row.scores[label] = score(disparity, true)
        if true is not None:
            row.pictures[TRUTH] = _smaller(coloured(true))
        rows.append(row)
    return rows


def coloured(disparity: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a map in colours, near = bright: each stretched from its own farthest hundredth to its nearest.

    Args:
        disparity: ``(h, w)``, larger = nearer, of any scale and shift.

    Returns:
        ``(h, w, 3)``, 8-bit; a map that is the same everywhere is dark.

    Example:
        >>> far, near = coloured(np.array([[0.0, 1.0]], np.float32))[0]
        >>> bool(near.mean() > 150 > 10 > far.mean())
        True
    """
    from matplotlib import colormaps

    low, high = np.quantile(disparity, [CUT, 1 - CUT], method="inverted_cdf")
    stretched = (disparity - low) / max(high - low, np.finfo(np.float32).tiny)
    return np.asarray(colormaps[COLOURS](stretched.clip(0, 1), bytes=True)[..., :3], np.uint8)


def aligned_disparity(disparity: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a disparity times a scale plus a shift, those of least squared error: what an estimator leaves open.

    A scale is never negative: of a map that turns near and far round, what is left is the truth's mean.

    Args:
        disparity: Larger = nearer.
        truth: The true one, of equal shape.

    References:
        R. Ranftl et al., "Towards robust monocular depth estimation", TPAMI 2022, equation 4.
    """
    own, true = disparity.astype(np.float64), truth.astype(np.float64)
    variance = own.var()
    scale = max(0.0, float(((own - own.mean()) * (true - true.mean())).mean() / variance)) if variance > 0 else 0.0
    return scale * (own - own.mean()) + true.mean()


def score(disparity: NDArray[np.float32], truth: NDArray[np.float32]) -> Scores:
    """Score an estimated disparity by the metrics of `lensblend.metrics.depth`.

    SI-RMSE is of log depth, after `aligned_disparity`, disparities below 0.05 counting as equally far. The ordinal
    accuracy needs no alignment and is of the estimate as it is.
    """
    true = log_depth(_batch(truth))
    aligned = log_depth(_batch(aligned_disparity(disparity, truth).astype(np.float32)))
    error = SiRmse().per_image(aligned, true)
    order = OrdinalAccuracy().per_image(-_batch(disparity), true)
    return {SiRmse.name: float(error[0]), OrdinalAccuracy.name: float(order[0])}


def _batch(plane: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(plane))[None, None]


def _smaller(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as large as a sheet and a page show them."""
    height, width = pixels.shape[:2]
    if height <= SHOWN_HEIGHT:
        return pixels
    return resize_lanczos(pixels, (SHOWN_HEIGHT, max(1, round(width * SHOWN_HEIGHT / height))))
