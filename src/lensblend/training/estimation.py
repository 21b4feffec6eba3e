"""The LightningModule for networks that estimate a map of a photo: saliency, its edges, depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lensblend.errors import RequestError
from lensblend.inference.pictures import to_8bit
from lensblend.inference.prior_maps import estimates
from lensblend.nn.rendering import PriorNetwork
from lensblend.training.fit import Fit, Pictures
from lensblend.training.truths import truths

MULTIPLE = 32
# Where Lightning's checkpoints count steps: those of this module, and those that Lightning takes itself.
COUNTED = "epoch_loop.manual_optimization.optim_step_progress"
COUNTED_BEFORE = "epoch_loop.automatic_optimization.optim_progress"


class Estimation(Fit):
    """Fit a prior network with one loss and one optimizer, by masks or disparities.

    Args:
        scales: Factors at which each batch is trained, one after the other, a step of the optimizer each. Sides are
            rounded to multiples of 32. SCRN's authors train at 0.75, 1 and 1.25.
        arguments: As of `Fit`; the network maps a photo to named maps, see `lensblend.training.truths`.

    Raises:
        RequestError: There is no scale, or one is not positive.
    """

    network: PriorNetwork
    renders: ClassVar[bool | None] = False

    def __init__(self, *, scales: Sequence[float | int] = (1.0,), **arguments: Any) -> None:
        super().__init__(**arguments)
        if not scales or not all(scale > 0 for scale in scales):
            raise RequestError(f"`module.scales` are positive factors, but got {list(scales)}; use [1.0].")
        self._scales = list(scales)
        self.automatic_optimization = len(self._scales) == 1

    @classmethod
    def steps_by_itself(cls, arguments: Mapping[str, Any]) -> bool:
        """Tell whether it has several scales: a step for each."""
        return len(arguments.get("scales") or [1.0]) > 1

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network's maps by name."""
        return dict(self.network(batch["photo"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Log the loss, summed over the scales, and each term's mean over them; of several scales, step at each."""
        known = truths(batch, self.loss.compares.values())
        totals: list[Tensor] = []
        each = []
        for scale in self._scales:
            if totals and totals[-1].requires_grad:
                self._step(totals[-1])
            answer = self.answer({"photo": _scaled(batch["photo"], scale).clamp(0, 1)})
            total, parts = self.loss(answer, {name: _scaled(truth, scale) for name, truth in known.items()})
            totals.append(total)
            each.append(parts)
        means = {name: torch.stack([parts[name] for parts in each]).mean() for name in each[0]}
        logged = self.logged(torch.stack(totals).sum(), means, batch)
        if self.automatic_optimization or logged is None:
            return logged
        self._step(totals[-1], is_last=True)
        return None

    def _step(self, total: Tensor, is_last: bool = False) -> None:
        """Take one step of the optimizer; of a batch's, Lightning counts the last alone."""
        optimizer: Any = self.optimizers(use_pl_optimizer=is_last)
        optimizer.zero_grad()
        self.manual_backward(total)
        if not is_last:
            self.trainer.strategy.optimizer_step(optimizer, lambda: None)
            return
        optimizer.step()
        if self._rates is not None:
            self._rates.step()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on counting steps where a training left off that took one for all scales, as earlier versions did."""
        super().on_load_checkpoint(dict(checkpoint))
        loops = checkpoint.get("loops", {}).get("fit_loop", {})
        if not self.automatic_optimization and COUNTED in loops and not loops[COUNTED]["total"]["completed"]:
            before = loops[COUNTED_BEFORE]["optimizer"]["step"]
            loops[COUNTED] = {which: dict(counts) for which, counts in before.items()}

    def pictures(self, batch: Mapping[str, Any], answer: Mapping[str, Any]) -> Pictures:
        """Return the photo and each map beside its truth, of a batch of one, by caption."""
        pictures = {"photo": batch["photo"][0]}
        for name, plane in estimates(answer).items():
            pictures |= {f"{name}: truth": batch[name][0, 0], name: plane[0, 0]}
        return {name: to_8bit(picture) for name, picture in pictures.items()}


def _scaled(images: Tensor, scale: float | int) -> Tensor:
    """Return images or maps at another size, as SCRN's authors resize them: corners stay on corners."""
    if scale == 1:
        return images
    sides = [max(round(side * scale / MULTIPLE), 1) * MULTIPLE for side in images.shape[-2:]]
    return interpolate(images, sides, mode="bilinear", align_corners=True)
