"""Metrics that compare a predicted log depth with the true one."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lensblend.errors import RequestError
from lensblend.metrics.per_image import PerImageMetric
from lensblend.ops.depth import paired_differences

PAIRS = 4096
TOLERANCE = 0.02


class DepthMetric(PerImageMetric):
    """Score log depths, larger = farther, ``(b, 1, h, w)``, one value per image."""

    compares: ClassVar[str] = "log_depth"

    def prepare(self, predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return both maps in float64.

        Raises:
            RequestError: Shapes differ, or the maps are no floats of one channel.
        """
        floats = predicted.is_floating_point() and truth.is_floating_point()
        if predicted.shape != truth.shape or truth.ndim != 4 or truth.shape[1] != 1 or not floats:
            raise RequestError(
                "Log depths are floats of equal shape (b, 1, h, w), "
                f"but got {predicted.dtype} {tuple(predicted.shape)} and {truth.dtype} {tuple(truth.shape)}; "
                "predict at the truth's size."
            )
        return predicted.double(), truth.double()


class SiRmse(DepthMetric):
    r"""Measure the error of log depth that one factor per image leaves; smaller is better, 0 means equal up to it.

    .. math:: \sqrt{\overline{R^2} - \overline{R}^2}

    ``R`` is predicted minus true log depth, and bars are means over one image's pixels; 0.1 is about 10 % of the
    distance. The metric is the mean of the images' values.

    Example:
        >>> metric, truth = SiRmse(), torch.rand(2, 1, 16, 16)
        >>> metric.update(truth + 0.5, truth)
        >>> metric.compute().item() < 1e-6
        True

    References:
        D. Eigen et al., "Depth map prediction from a single image using a multi-scale deep network", NIPS 2014.
    """

    name: ClassVar[str] = "si_rmse"
    heading: ClassVar[str] = "SI-RMSE"
    convention: ClassVar[str] = "standard deviation of the error of log depth: what one factor per image leaves"
    decimals: ClassVar[int] = 4
    higher_is_better = False

    def score(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """Return standard deviations in float64."""
        return (predicted - truth).std(dim=(1, 2, 3), correction=0)


class OrdinalAccuracy(DepthMetric):
    """Measure the share of pixel pairs in the right order of depth; larger is better, 0.5 is chance.

    4096 pairs are sampled in each image, at positions that depend on its size alone, and those count whose true log
    depths differ by more than 0.02. A pair that is predicted as equally far is wrong. An image without any order has
    nothing to get wrong and scores 1; a NaN anywhere in a prediction makes its score NaN.

    Example:
        >>> metric, truth = OrdinalAccuracy(), torch.linspace(0, 3, 256).view(1, 1, 16, 16)
        >>> metric.update(2 * truth + 1, truth)
        >>> metric.compute().item()
        1.0

    References:
        W. Chen et al., "Single-image depth perception in the wild", NeurIPS 2016, whose disagreement rate is the
        complement of it over pairs that people compared.
    """

    name: ClassVar[str] = "ordinal"
    heading: ClassVar[str] = "Ordinal accuracy"
    convention: ClassVar[str] = "share of 4096 pixel pairs, log depths more than 0.02 apart, in the right order"
    decimals: ClassVar[int] = 4
    higher_is_better = True

    def score(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """Return shares in float64."""
        delta, true_delta = paired_differences(predicted, PAIRS), paired_differences(truth, PAIRS)
        ordered = true_delta.abs() > TOLERANCE
        wrong = ordered & (delta * true_delta <= 0)
        share = 1 - wrong.sum(dim=1).double() / ordered.sum(dim=1).clamp(min=1)
        return share.masked_fill(predicted.isnan().flatten(1).any(dim=1), torch.nan)
