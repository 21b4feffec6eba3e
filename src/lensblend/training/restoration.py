"""The LightningModule for networks that render bokeh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from lensblend.errors import DataError
from lensblend.inference.pictures import cells, to_8bit
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.fit import Fit, Pictures

_ROUNDING = 1e-3  # f-numbers are printed with two digits


class Restoration(Fit):
    """Fit a network that renders bokeh from a photo, with one loss and one optimizer.

    Arguments are those of `lensblend.training.fit.Fit`.
    """

    network: BokehNetwork
    renders: ClassVar[bool | None] = True

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``bokeh`` and all that the network tells beside it, given the guidance that it asks for.

        Raises:
            DataError: It takes f-numbers, and the pairs have none or others than it is said to be trained at.
        """
        maps = {name: batch[name] for name in self.network.guidance}
        if self.network.takes_coordinates and "coordinates" in batch:
            maps["coordinates"] = batch["coordinates"]
        if self.network.f_numbers is not None:
            maps["f_number"] = _known(batch, self.network.f_numbers)
        rendering: Rendering = self.network(batch["photo"], **maps)
        return {"bokeh": rendering.bokeh, **rendering.aux}

    def pictures(self, batch: Mapping[str, Any], answer: Mapping[str, Any]) -> Pictures:
        """Return photo, target, bokeh and weight maps of a batch of one, by caption."""
        photo, target, bokeh = (to_8bit(image[0]) for image in (batch["photo"], batch["target"], answer["bokeh"]))
        weights = answer.get("weights")
        maps = [] if weights is None else [to_8bit(weight) for weight in weights[0]]
        return cells(photo, target, bokeh, maps, self.network.map_names)


def _known(batch: Mapping[str, Any], within: tuple[float, float]) -> Tensor:
    """Return the f-numbers ``(b,)`` of a batch, all of them within the range that the network is said to be of."""
    if "f_number" not in batch:
        raise DataError(
            f"`{batch['id'][0]}` has no f-number, which this network is trained with; take data that knows it of each "
            "pair (data=realbokeh, data=photos, data=scenes +data.f_numbers=[2,16]), or model=depth_blend."
        )
    known: Tensor = batch["f_number"]
    least, largest = within
    for name, number in zip(batch["id"], known.tolist(), strict=True):
        if not least * (1 - _ROUNDING) <= number <= largest * (1 + _ROUNDING):
            raise DataError(
                f"`{name}` is of f/{number:.3g}, but `model.f_numbers` is [{least:g}, {largest:g}], which is to hold "
                "those of all data; widen it."
            )
    return known
