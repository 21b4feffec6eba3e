"""What all metrics share: one value per image, and a mean over images; and, unless they say otherwise, 8-bit photos."""

from __future__ import annotations

from abc import abstractmethod
from collections import ChainMap
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lensblend.errors import RequestError

# What a metric says of itself on its class.
FACTS = ("name", "heading", "convention", "decimals", "higher_is_better", "compares")
# Resampling overshoots [0, 1] a little; [−1, 1] and 0–255 are further away.
TARGET_RANGE = (-0.5, 1.5)


def to_levels(photo: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Round a photo in [0, 1] to the 256 levels that a file would hold; the result is in 0 to 255, float32.

    Example:
        >>> to_levels(torch.tensor([-0.1, 0.5, 1.1]).view(1, 3, 1, 1)).flatten()
        tensor([  0., 128., 255.])
    """
    return photo.float().mul(255).clamp_(0, 255).round_()


class PerImageMetric(Metric):
    """Score images one by one, and report the mean over all of them, whatever the batches and processes.

    Photos are sRGB in [0, 1] and are rounded to 8 bit before they are compared. Values outside are clipped, as
    in a file; a NaN in a rendering makes its score, and so the mean, NaN. Values are float64 or float32 with autocast
    off; the sum is float64. A metric of something else than photos overrides `prepare` and names it in ``compares``;
    where its truth has a range, it calls `look_at` there and says in `check_range` which.

    Every metric says the attributes below on its class, and nothing else in the project knows them.

    Attributes:
        name: The key in files, logs and configurations; it stands for one convention.
        heading: What tables and pages call it.
        convention: What decides its values, in a line, for who compares them with others' (docs/conventions.md).
        decimals: How many of them tables show.
        higher_is_better: Whether the larger of two values is the better one; else the smaller is.
        compares: The key of what is scored among what a network returns and what is known.
        beside: Maps that it takes beside these, by name: ``focus``.
        may_lack: Whether an image may have no score, which then is NaN, and is no part of the mean.
    """

    name: ClassVar[str]
    heading: ClassVar[str]
    convention: ClassVar[str]
    decimals: ClassVar[int]
    higher_is_better: bool  # not a `ClassVar`: torchmetrics declares it
    compares: ClassVar[str] = "bokeh"
    beside: ClassVar[tuple[str, ...]] = ()
    may_lack: ClassVar[bool] = False
    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor
    extremes: Tensor

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Refuse a metric that leaves out what it is to say of itself.

        Raises:
            RequestError: It does.
        """
        super().__init_subclass__(**arguments)
        said: ChainMap[str, Any] = ChainMap(*(dict(vars(kind)) for kind in cls.__mro__))
        missing = [fact for fact in FACTS if said.get(fact) is None]
        # Without `score` it is what several metrics share.
        if missing and cls.score is not PerImageMetric.score:
            raise RequestError(
                f"The metric {cls.__name__} does not say its `{'`, `'.join(missing)}`; "
                f"a metric has the class attributes {', '.join(FACTS)}."
            )

    @classmethod
    def title(cls) -> str:
        """Return the heading with the direction in which values are better, as tables print it."""
        return f"{cls.heading} {'↑' if cls.higher_is_better else '↓'}"

    @classmethod
    def written(cls, value: float, signed: bool = False) -> str:
        """Return a value, or with its sign a difference, as tables print it; a dash where no image has one."""
        if cls.may_lack and isnan(value):
            return "–"
        return f"{value:{'+' if signed else ''}.{cls.decimals}f}"

    @classmethod
    def in_file(cls, value: float, digits: str = "") -> str:
        """Return an image's value as it stands in a CSV file: in full, or as a format says; empty where it has none."""
        if cls.may_lack and isnan(value):
            return ""
        return format(value, digits) if digits else repr(value)

    @classmethod
    def beats(cls, value: float, other: float) -> bool:
        """Tell whether a value is better than another; a NaN never is."""
        return value > other if cls.higher_is_better else value < other

    @classmethod
    def mean_of(cls, values: Sequence[float]) -> float:
        """Return the mean of images' values, NaN where one is."""
        return float(np.mean(values))

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        # Of the truths on a GPU, the least value with its sign turned, and the largest.
        self.add_state("extremes", torch.full((2,), -torch.inf), dist_reduce_fx="max")

    @abstractmethod
    def score(self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """Return one value per image of what `prepare` made of a batch: of photos in 8-bit levels, 0 to 255."""

    def prepare(self, predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Check a batch, and bring it to the form in which it is compared.

        Raises:
            RequestError: Shapes differ, or photos are not floats in [0, 1]; see `look_at`.
        """
        _check_photos(predicted, truth)
        self.look_at(truth)
        return to_levels(predicted), to_levels(truth)

    def look_at(self, truth: Tensor) -> None:
        """Check the values of a truth, on a GPU not before the mean is computed: a look would wait for all work there.

        Raises:
            RequestError: On the CPU, `check_range` refuses them; on a GPU, `compute` raises it.
        """
        if not truth.numel():
            return
        low, high = truth.aminmax()
        if _at_hand(truth):
            self.check_range(low.item(), high.item())
        else:
            self.extremes = torch.maximum(self.extremes.to(low.device), torch.stack([-low, high]).float())

    def check_range(self, low: float, high: float) -> None:
        """Refuse truths that would give a number that lies: photos far from [0, 1].

        Args:
            low: Their least value, or infinity where there is none.
            high: Their largest, or minus infinity.

        Raises:
            RequestError: They are refused.
        """
        if low < TARGET_RANGE[0] or high > TARGET_RANGE[1]:
            raise RequestError(f"Targets are in [0, 1], but got values from {low:g} to {high:g}; bring them to [0, 1].")

    @torch.no_grad()
    def per_image(
        self, predicted: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"], **maps: Tensor
    ) -> Float[Tensor, " b"]:
        """Score every image of a batch.

        Args:
            predicted: Renderings, sRGB in [0, 1], or what else ``compares`` names.
            truth: The captured photos, sRGB in [0, 1], or what is known of it.
            maps: Those that ``beside`` names, ``(b, 1, h, w)``.

        Raises:
            RequestError: What is compared does not fit; see `prepare`.
        """
        with torch.autocast(truth.device.type, enabled=False):
            return self.score(*self.prepare(predicted, truth))

    def update(self, predicted: Tensor, truth: Tensor, **maps: Tensor) -> None:
        """Add a batch of images to the mean."""
        values = self.per_image(predicted, truth, **maps)
        self.total = self.total + values.sum(dtype=torch.float64)
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """Return the mean of the images' values.

        Raises:
            RequestError: No image was scored, because then there is no mean; or truths on a GPU are refused.
        """
        if self.count == 0:
            raise RequestError(f"`{self.name}` is a mean over images, but got none; check that the split is not empty.")
        turned, high = self.extremes.tolist()
        self.check_range(-turned, high)
        return self.total / self.count


MetricClasses = Mapping[str, type[PerImageMetric]]


def _check_photos(bokeh: Tensor, target: Tensor) -> None:
    """Refuse what are no two batches of photos alike."""
    if bokeh.shape != target.shape or target.ndim != 4 or target.shape[1] != 3:
        raise RequestError(
            "`bokeh` and `target` are equally large photos (b, 3, h, w), "
            f"but got {tuple(bokeh.shape)} and {tuple(target.shape)}; render at the target's size."
        )
    if not (bokeh.is_floating_point() and target.is_floating_point()):
        raise RequestError(f"Photos are floats in [0, 1], but got {bokeh.dtype} and {target.dtype}; divide by 255.")


def _at_hand(tensor: Tensor) -> bool:
    """Say whether values can be looked at without waiting for a device."""
    return tensor.device.type == "cpu"
