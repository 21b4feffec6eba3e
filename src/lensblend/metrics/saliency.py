"""Metrics that compare the logits of a saliency map with a mask."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lensblend.errors import RequestError
from lensblend.metrics.per_image import PerImageMetric

BETA_SQUARED = 0.3
LEVELS = 256


class SaliencyMetric(PerImageMetric):
    """Score saliency, the sigmoid of logits, against a mask or a soft truth in [0, 1].

    Saliency is compared as it is, in float64: neither rounded to 8 bit nor stretched to the range [0, 1].
    """

    compares: ClassVar[str] = "saliency_logits"

    def prepare(self, predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return saliency and truth in float64.

        Raises:
            RequestError: Shapes differ, or are not those of maps; or the truth is not in [0, 1], see `look_at`.
        """
        if predicted.shape != truth.shape or truth.ndim != 4 or truth.shape[1] != 1:
            raise RequestError(
                "Logits and their truth are equally large maps (b, 1, h, w), "
                f"but got {tuple(predicted.shape)} and {tuple(truth.shape)}; bring both to the photo's size."
            )
        if not (predicted.is_floating_point() and truth.is_floating_point()):
            raise RequestError(
                f"Logits and their truth are floats, but got {predicted.dtype} and {truth.dtype}; "
                "convert a mask by `.float()`, and divide 8-bit values by 255."
            )
        self.look_at(truth)
        return predicted.double().sigmoid(), truth.double()

    def check_range(self, low: float, high: float) -> None:
        """Refuse truths outside [0, 1], and NaN, which a threshold would hide.

        Raises:
            RequestError: They are refused.
        """
        if not (low >= 0 and high <= 1):
            raise RequestError(
                f"The truth of saliency is in [0, 1], but got values from {low:g} to {high:g}; "
                "divide 8-bit values by 255."
            )


class MeanAbsoluteError(SaliencyMetric):
    r"""Measure the mean of :math:`|p - t|` over an image's pixels, in [0, 1]; smaller is better.

    A soft truth is compared as it is. Published values are often those of maps that were stretched to [0, 1] and
    written as 8-bit files before.

    Example:
        >>> metric = MeanAbsoluteError()
        >>> metric.update(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "mae"
    heading: ClassVar[str] = "MAE"
    convention: ClassVar[str] = "mean absolute difference of saliency and mask, nothing rounded or stretched"
    decimals: ClassVar[int] = 4
    higher_is_better = False

    def score(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """Return the error in float64."""
        return (predicted - truth).abs().mean(dim=(1, 2, 3))


class FMeasure(SaliencyMetric):
    r"""Measure the best weighted mean of precision and recall, in [0, 1]; larger is better.

    .. math:: F = \max_k \frac{(1 + \beta^2) \, \mathrm{TP}_k}{\mathrm{TP}_k + \mathrm{FP}_k + \beta^2 P},
              \qquad \beta^2 = 0.3, \quad k = 1, \dots, 255

    At threshold :math:`k` a pixel is foreground where its saliency is at least :math:`k / 255`; the truth is
    foreground, :math:`P` pixels, where it is at least 0.5. The best threshold is each image's own, and the metric is
    the mean of the images' values. Published maxima are another number: they take one threshold for a whole data set.
    An image without foreground scores 0 whatever its saliency.

    Example:
        >>> metric = FMeasure()
        >>> mask = torch.eye(4)[None, None]
        >>> metric.update(mask - 0.5, mask)
        >>> metric.compute().item()
        1.0

    References:
        R. Achanta et al., "Frequency-tuned salient region detection", CVPR 2009 (the measure and its weight).
    """

    name: ClassVar[str] = "f_measure"
    heading: ClassVar[str] = "F-measure"
    convention: ClassVar[str] = "largest F over the thresholds 1/255 to 1 of each image, beta squared 0.3"
    decimals: ClassVar[int] = 4
    higher_is_better = True

    def score(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """Return the measure in float64."""
        mask = truth >= 0.5
        level = (predicted * (LEVELS - 1)).nan_to_num().long()
        histogram = _count(level + LEVELS * mask, 2 * LEVELS).view(-1, 2, LEVELS)
        # How many pixels lie at a level or above it, of the background and of the foreground; level 0 is no threshold.
        # Whole numbers, because a GPU adds up floats in no fixed order.
        false, true = histogram.flip(-1).cumsum(-1).flip(-1)[..., 1:].double().unbind(dim=1)
        positives = histogram[:, 1].sum(dim=-1, keepdim=True).double()
        scores = (1 + BETA_SQUARED) * true / (true + false + BETA_SQUARED * positives).clamp_min(BETA_SQUARED)
        return _or_nan(scores.amax(dim=-1), predicted)


class Iou(SaliencyMetric):
    """Measure the intersection over union of saliency and truth, both foreground from 0.5 on; larger is better.

    Two empty masks agree: their value is 1.

    Example:
        >>> metric = Iou()
        >>> metric.update(torch.full((1, 1, 4, 4), 2.0), torch.eye(4)[None, None])
        >>> metric.compute().item()
        0.25
    """

    name: ClassVar[str] = "iou"
    heading: ClassVar[str] = "IoU"
    convention: ClassVar[str] = "intersection over union of the mask and of saliency from 0.5 on"
    decimals: ClassVar[int] = 4
    higher_is_better = True

    def score(self, predicted: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """Return the ratio in float64."""
        found, mask = predicted >= 0.5, truth >= 0.5
        overlap = (found & mask).sum(dim=(1, 2, 3)).double()
        union = (found | mask).sum(dim=(1, 2, 3)).double()
        return _or_nan(torch.where(union > 0, overlap / union.clamp_min(1), 1.0), predicted)


def _count(values: Int64[Tensor, "b 1 h w"], bins: int) -> Int64[Tensor, "b bins"]:
    """Count how often each of the values 0 to ``bins - 1`` occurs in each image, without waiting for a GPU."""
    flat = values.flatten(1)
    return flat.new_zeros(len(flat), bins).scatter_add_(1, flat, torch.ones_like(flat))


def _or_nan(values: Float[Tensor, " b"], saliency: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Make a value NaN where a threshold would have hidden the NaN in its image."""
    return torch.where(saliency.isnan().any(dim=3).any(dim=2).any(dim=1), torch.nan, values)
