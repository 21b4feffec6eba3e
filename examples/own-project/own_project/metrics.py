"""Metrics: one value per image, and their mean."""

from torch import Tensor

from lensblend.metrics.per_image import PerImageMetric


class Mae(PerImageMetric):
    """Measure the mean absolute error in 8-bit levels; smaller is better."""

    name = "mae"
    heading = "MAE"
    convention = "mean absolute error, 8-bit levels"
    decimals = 2
    higher_is_better = False

    def score(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return a value per image of photos in levels, 0 to 255."""
        return (predicted - truth).abs().mean(dim=(1, 2, 3))
