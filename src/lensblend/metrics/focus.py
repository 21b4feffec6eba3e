"""Metrics of a part of the photo: what is in focus, what is not, and the outline between the two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from lensblend.errors import RequestError
from lensblend.metrics.fidelity import PSNR_LIMIT, SIDE, Psnr, Ssim
from lensblend.metrics.per_image import PerImageMetric
from lensblend.ops.gradients import sobel
from lensblend.ops.ssim import ssim_map, uniform_window

#: From which value of a map of focus on a pixel is in focus.
IN_FOCUS = 0.5
#: Share of an image's pixels below which a region is too small to be scored.
LEAST_SHARE = 0.01
#: Half the width of the band along the outline, as a share of the shorter side.
BAND = 0.01
#: What Sobel's kernels answer to a slope of one level per pixel.
_SLOPE = 8.0


class RegionMetric(PerImageMetric):
    """Score a region of each image that its map of focus decides; one whose region is too small has no score.

    Too small is a region of less than `LEAST_SHARE`, 1 %, of the pixels that the metric looks at. Such an image is
    left out of the mean, and its value is NaN; which images that are depends on their maps alone, not on what is
    scored. If all are, the mean is NaN.

    ``score`` is what the metric gives where the region is the whole image.
    """

    beside: ClassVar[tuple[str, ...]] = ("focus",)
    may_lack: ClassVar[bool] = True
    lacking: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("lacking", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @classmethod
    def mean_of(cls, values: Sequence[float]) -> float:
        """Return the mean over the images that have a score; NaN where none has."""
        known = [value for value in values if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")

    @abstractmethod
    def score_within(
        self,
        bokeh: Float[Tensor, "b 3 h w"],
        target: Float[Tensor, "b 3 h w"],
        region: Bool[Tensor, "b 1 h2 w2"],
    ) -> Float[Tensor, " b"]:
        """Return one value per image of photos in levels; what it is of an empty region does not matter."""

    @abstractmethod
    def region(self, sharp: Bool[Tensor, "b 1 h w"]) -> tuple[Bool[Tensor, "b 1 h2 w2"], Bool[Tensor, " b"]]:
        """Return the pixels that count, and whether each image has enough of them.

        Args:
            sharp: Which pixels are in focus.
        """

    @torch.no_grad()
    def per_image(self, predicted: Tensor, truth: Tensor, **maps: Tensor) -> Float[Tensor, " b"]:
        """Score the region of every image of a batch; NaN where it is too small.

        Args:
            predicted: Renderings, sRGB in [0, 1].
            truth: The captured photos, sRGB in [0, 1].
            maps: ``focus``, ``(b, 1, h, w)``: in focus is what is above one half.

        Raises:
            RequestError: What is compared does not fit; see `prepare`.
        """
        return self._scored(predicted, truth, maps)[0]

    def update(self, predicted: Tensor, truth: Tensor, **maps: Tensor) -> None:
        """Add the images of a batch that have a score to the mean."""
        values, known = self._scored(predicted, truth, maps)
        # A NaN of a rendering is to stay one, that of a missing region is not: `nansum` would hide both.
        self.total = self.total + torch.where(known, values, 0).sum(dtype=torch.float64)
        self.count = self.count + known.sum()
        self.lacking = self.lacking + (~known).sum()

    def compute(self) -> Tensor:
        """Return the mean of the images' values; NaN where there are images, and none has one."""
        if self.count == 0 and self.lacking > 0:
            return torch.full_like(self.total, torch.nan)
        return super().compute()

    def _scored(self, predicted: Tensor, truth: Tensor, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        sharp = self._sharp(truth, maps)
        with torch.no_grad(), torch.autocast(truth.device.type, enabled=False):
            region, known = self.region(sharp)
            values = self.score_within(*self.prepare(predicted, truth), region)
            return torch.where(known, values, torch.nan), known

    def _sharp(self, truth: Tensor, maps: dict[str, Any]) -> Bool[Tensor, "b 1 h w"]:
        focus = maps.get("focus")
        wanted = (len(truth), 1, *truth.shape[-2:])
        if focus is None or tuple(focus.shape) != wanted:
            got = "none" if focus is None else str(tuple(focus.shape))
            raise RequestError(f"`{self.name}` needs a map `focus` of the photos' size {wanted}, but got {got}.")
        return torch.as_tensor(focus > IN_FOCUS)


class _Psnr(RegionMetric, Psnr):
    """PSNR of a region."""

    def score_within(self, bokeh: Tensor, target: Tensor, region: Tensor) -> Tensor:
        """Return dB in float64, of the mean squared error over the region's pixels and all channels."""
        error = (bokeh - target).square().double().mean(dim=1, keepdim=True)
        mean = _mean_within(error, region)
        return (10 * torch.log10(255**2 / mean)).clamp(max=PSNR_LIMIT)


class _Ssim(RegionMetric, Ssim):
    """SSIM of a region: the mean of the index at its pixels whose window lies inside the image."""

    def score_within(self, bokeh: Tensor, target: Tensor, region: Tensor) -> Tensor:
        """Return the index in float64."""
        window = uniform_window(SIDE)
        index = ssim_map(bokeh, target, window, data_range=255.0, sample_covariance=True, dtype=torch.float64)
        return _mean_within(index.mean(dim=1, keepdim=True), region)

    @staticmethod
    def inner(sharp: Tensor) -> Tensor:
        """Return the part of a map at whose pixels the index is known."""
        margin = SIDE // 2
        return sharp[..., margin : sharp.shape[-2] - margin, margin : sharp.shape[-1] - margin]


class PsnrIn(_Psnr):
    """Measure the PSNR of what is in focus; larger is better.

    Example:
        >>> bokeh, target, focus = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
        >>> target[..., 4:], focus[..., 4:] = 0.2, 1
        >>> round(PsnrIn().per_image(bokeh, target, focus=focus).item(), 4)
        13.9794
    """

    name: ClassVar[str] = "psnr_in"
    heading: ClassVar[str] = "PSNR in focus"
    convention: ClassVar[str] = "psnr of the pixels in focus; images with less than 1 % of them left out"

    def region(self, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is in focus."""
        return sharp, _enough(sharp)


class PsnrOut(_Psnr):
    """Measure the PSNR of what is out of focus; larger is better.

    Example:
        >>> bokeh, target, focus = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
        >>> target[..., 4:], focus[..., 4:] = 0.2, 1
        >>> PsnrOut().per_image(bokeh, target, focus=focus).item()
        60.0
    """

    name: ClassVar[str] = "psnr_out"
    heading: ClassVar[str] = "PSNR elsewhere"
    convention: ClassVar[str] = "psnr of the pixels out of focus; images with less than 1 % of them left out"

    def region(self, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is out of focus."""
        return ~sharp, _enough(~sharp)


class SsimIn(_Ssim):
    """Measure the SSIM of what is in focus: the mean of the index at its pixels; larger is better.

    Windows of pixels near its outline reach beyond it.
    """

    name: ClassVar[str] = "ssim_in"
    heading: ClassVar[str] = "SSIM in focus"
    convention: ClassVar[str] = "ssim, its map's mean over the pixels in focus; images with less than 1 % left out"

    def region(self, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is in focus."""
        inner = self.inner(sharp)
        return inner, _enough(inner)


class SsimOut(_Ssim):
    """Measure the SSIM of what is out of focus: the mean of the index at its pixels; larger is better.

    Windows of pixels near its outline reach beyond it.
    """

    name: ClassVar[str] = "ssim_out"
    heading: ClassVar[str] = "SSIM elsewhere"
    convention: ClassVar[str] = "ssim, its map's mean over the pixels out of focus; images with less than 1 % left out"

    def region(self, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is out of focus."""
        inner = ~self.inner(sharp)
        return inner, _enough(inner)


class Edges(RegionMetric):
    r"""Measure how far gradients along the outline of what is in focus are off; smaller is better, 0 means equal.

    .. math:: \frac{1}{3 |B|} \sum_{p \in B} \sum_c \frac{\bigl|\, \|S \hat I_c(p)\| - \|S I_c(p)\| \,\bigr|}{8}

    ``S`` is Sobel's pair of kernels on 8-bit levels with the border repeated, so that a slope of one level per pixel
    counts 1. The band ``B`` holds the pixels that have both what is in focus and what is not within ``r`` pixels, in
    rows and columns: 1 % of the shorter side, rounded, at least one. An outline that a rendering has softened, or
    beside which it has left a seam or a halo, costs; a shift of both sides' colours does not.

    Example:
        >>> bokeh, target, focus = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
        >>> target[..., 4:], focus[..., 4:] = 0.2, 1
        >>> Edges().per_image(bokeh, target, focus=focus).item()
        25.5
    """

    name: ClassVar[str] = "edges"
    heading: ClassVar[str] = "Edge error"
    convention: ClassVar[str] = (
        "mean absolute difference of Sobel gradients, 8-bit levels per pixel, within 1 % of the outline of focus"
    )
    decimals: ClassVar[int] = 2
    higher_is_better = False

    def score(self, bokeh: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Return levels per pixel in float64, over the whole image."""
        return _slopes_apart(bokeh, target).mean(dim=(1, 2, 3), dtype=torch.float64)

    def score_within(self, bokeh: Tensor, target: Tensor, region: Tensor) -> Tensor:
        """Return levels per pixel in float64."""
        return _mean_within(_slopes_apart(bokeh, target).double().mean(dim=1, keepdim=True), region)

    def region(self, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Return the band along the outline; enough is what has enough pixels on both sides."""
        reach = max(1, round(BAND * min(sharp.shape[-2:])))
        near_sharp, near_soft = (
            max_pool2d(side.float(), 2 * reach + 1, stride=1, padding=reach) > 0 for side in (sharp, ~sharp)
        )
        return near_sharp & near_soft, _enough(sharp) & _enough(~sharp)


def _slopes_apart(bokeh: Tensor, target: Tensor) -> Tensor:
    """Return how far the gradients' magnitudes are apart, in levels per pixel, ``(b, 3, h, w)``."""
    ours, theirs = (sobel(photo).square().sum(dim=2).sqrt() for photo in (bokeh, target))
    return (ours - theirs).abs() / _SLOPE


def _mean_within(values: Tensor, region: Tensor) -> Tensor:
    """Return the mean of ``(b, 1, h, w)`` over each image's region, in float64."""
    inside = torch.where(region, values, 0).sum(dim=(1, 2, 3))
    return inside / region.sum(dim=(1, 2, 3))


def _enough(region: Tensor) -> Tensor:
    """Tell of each image whether its region can be scored."""
    pixels = max(1, region.shape[-2] * region.shape[-1])
    return region.sum(dim=(1, 2, 3)) >= max(1.0, LEAST_SHARE * pixels)
