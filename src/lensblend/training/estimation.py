"""The LightningModule for networks that estimate a map of a photo: saliency, its edges, depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lensblend.errors import RequestError
from lensblend.inference.pictures import to_8bit
from lensblend.inference.prior_maps import estimates
from lensblend.nn.rendering import PriorNetwork
from lensblend.training.fit import Fit, Pictures
from lensblend.training.truths import needed_maps, truths

MULTIPLE = 32


class Estimation(Fit):
    """Fit a prior network with one loss and one optimizer, by masks or disparities.

    Args:
        scales: Factors at which each batch is trained, all of them in one step; the losses add up. Sides are rounded
            to multiples of 32. SCRN's authors train at 0.75, 1 and 1.25.
        arguments: As of `Fit`; the network maps a photo to named maps, see `lensblend.training.truths`.

    Raises:
        RequestError: There is no scale, or one is not positive.
    """

    network: PriorNetwork

    def __init__(self, *, scales: Sequence[float | int] = (1.0,), **arguments: Any) -> None:
        super().__init__(**arguments)
        if not scales or not all(scale > 0 for scale in scales):
            raise RequestError(f"`module.scales` are positive factors, but got {list(scales)}; use [1.0].")
        self._scales = list(scales)

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network's maps by name."""
        return dict(self.network(batch["photo"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the loss, summed over the scales, and log each term's mean over them."""
        compared = self.loss.compares.values()
        totals, each = [], []
        for scale in self._scales:
            seen = batch if scale == 1 else _scaled(batch, ["photo", *needed_maps(compared)], scale)
            total, parts = self.loss(self.answer(seen), truths(seen, compared))
            totals.append(total)
            each.append(parts)
        means = {name: torch.stack([parts[name] for parts in each]).mean() for name in each[0]}
        return self.logged(torch.stack(totals).sum(), means, batch)

    def pictures(self, batch: Mapping[str, Any], answer: Mapping[str, Any]) -> Pictures:
        """Return the photo and each map beside its truth, of a batch of one, by caption."""
        pictures = {"photo": batch["photo"][0]}
        for name, plane in estimates(answer).items():
            pictures |= {f"{name}: truth": batch[name][0, 0], name: plane[0, 0]}
        return {name: to_8bit(picture) for name, picture in pictures.items()}


def _scaled(batch: Mapping[str, Any], names: Sequence[str], scale: float | int) -> dict[str, Any]:
    """Return the batch with its photos and maps of these names at another size."""
    sides = [max(round(side * scale / MULTIPLE), 1) * MULTIPLE for side in batch["photo"].shape[-2:]]
    changed = {
        name: interpolate(batch[name], sides, mode="bilinear", align_corners=False).clamp(0, 1)
        for name in names
        if name in batch
    }
    return {**batch, **changed}
