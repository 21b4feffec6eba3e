"""The LightningModule for networks that render bokeh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lensblend.inference.pictures import cells, to_8bit
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.training.fit import Fit, Pictures


class Restoration(Fit):
    """Fit a network that renders bokeh from a photo, with one loss and one optimizer.

    Arguments are those of `lensblend.training.fit.Fit`.
    """

    network: BokehNetwork
    renders: ClassVar[bool | None] = True

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``bokeh`` and all that the network tells beside it, given the guidance that it asks for."""
        maps = {name: batch[name] for name in self.network.guidance}
        if self.network.takes_coordinates and "coordinates" in batch:
            maps["coordinates"] = batch["coordinates"]
        rendering: Rendering = self.network(batch["photo"], **maps)
        return {"bokeh": rendering.bokeh, **rendering.aux}

    def pictures(self, batch: Mapping[str, Any], answer: Mapping[str, Any]) -> Pictures:
        """Return photo, target, bokeh and weight maps of a batch of one, by caption."""
        photo, target, bokeh = (to_8bit(image[0]) for image in (batch["photo"], batch["target"], answer["bokeh"]))
        weights = answer.get("weights")
        maps = [] if weights is None else [to_8bit(weight) for weight in weights[0]]
        return cells(photo, target, bokeh, maps, self.network.map_names)
