"""The LightningModule for networks that estimate a map of a photo: saliency, its edges, depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lensblend.errors import RequestError
from lensblend.inference.pictures import to_8bit
from lensblend.inference.prior_maps import estimates
from lensblend.training.restoration import Restoration
from lensblend.training.truths import truths

MULTIPLE = 32


class Estimation(Restoration):
    """Fit a prior network with one loss and one optimizer, by masks or disparities.

    Args:
        scales: Factors at which each batch is trained, all of them in one step; the losses add up. Sides are rounded
            to multiples of 32. SCRN's authors train at 0.75, 1 and 1.25.
        arguments: As of `Restoration`; the network maps a photo to named maps, see `lensblend.training.truths`.

    Raises:
        RequestError: There is no scale, or one is not positive.
    """

    def __init__(self, *, scales: Sequence[float | int] = (1.0,), **arguments: Any) -> None:
        super().__init__(**arguments)
        if not scales or not all(scale > 0 for scale in scales):
            raise RequestError(f"`module.scales` are positive factors, but got {list(scales)}; use [1.0].")
        self._scales = list(scales)

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network's maps by name."""
        return dict(self.network(batch["photo"]))

    def render(self, batch: Mapping[str, Any]) -> Any:
        """Run the network on a batch."""
        return self.answer(batch)

    def compare(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, summed over the scales, and each term's mean over them."""
        totals, each = [], []
        for scale in self._scales:
            total, parts = super().compare(batch if scale == 1 else _scaled(batch, scale))
            totals.append(total)
            each.append(parts)
        return torch.stack(totals).sum(), {n: torch.stack([p[n] for p in each]).mean() for n in each[0]}

    def picture(self, batch: Mapping[str, Any]) -> tuple[dict[str, NDArray[np.uint8]], dict[str, float]]:
        """Return the pictures of a batch of one, by caption, and its scores."""
        answer = self.answer(batch)
        pictures = {"photo": batch["photo"][0]}
        for name, plane in estimates(answer).items():
            pictures |= {f"{name}: truth": batch[name][0, 0], name: plane[0, 0]}
        known = truths(batch, [metric.compares for metric in self.scores.values()])
        each = {n: m.per_image(answer[m.compares].float(), known[m.compares]) for n, m in self.scores.items()}
        scores = {name: float(values[0]) for name, values in each.items()}
        return {name: to_8bit(picture) for name, picture in pictures.items()}, scores


def _scaled(batch: Mapping[str, Any], scale: float | int) -> dict[str, Any]:
    """Return the batch's photos and maps at another size."""
    sides = [max(round(side * scale / MULTIPLE), 1) * MULTIPLE for side in batch["photo"].shape[-2:]]
    changed = {
        name: interpolate(batch[name], sides, mode="bilinear", align_corners=False).clamp(0, 1)
        for name in ("photo", "saliency", "disparity")
        if name in batch
    }
    return {**batch, **changed}
