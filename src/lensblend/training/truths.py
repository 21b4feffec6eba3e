"""What is compared with what: for each thing that a network returns, what the data knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from lensblend.ops.depth import log_depth
from lensblend.ops.edges import mask_edges

# The map that a comparison needs, by what is compared; conf/saliency and conf/disparity say where it comes from.
NEEDS = {
    "saliency": "saliency",
    "saliency_logits": "saliency",
    "side_logits": "saliency",
    "edge_logits": "saliency",
    "disparity": "disparity",
    "log_depth": "disparity",
    "mask": "focus",
}
# What is compared with the target itself; a pyramid's levels are, each at its size.
RENDERINGS = ("bokeh", "pyramid", "local_bokeh", "global_bokeh", "generated")


def needed_maps(compared: Iterable[str], guidance: Iterable[str] = ()) -> list[str]:
    """Return the maps that a network takes and that its losses compare with, each once.

    Example:
        >>> needed_maps(["bokeh", "edge_logits", "saliency_logits"])
        ['saliency']
    """
    return list(dict.fromkeys([*guidance, *(NEEDS[name] for name in compared if name in NEEDS)]))


def truths(batch: Mapping[str, Any], compared: Iterable[str]) -> dict[str, Tensor]:
    """Return what a batch knows of the things compared, by their names; what it does not know is left out.

    Args:
        batch: ``target``, and the maps that were asked for: ``saliency``, ``disparity``, ``focus``; all in [0, 1].
        compared: What the loss terms and metrics compare.
    """
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(compared):
        source = "target" if name in RENDERINGS else NEEDS.get(name, name)
        if source not in batch:
            continue
        known: Tensor = batch[source]
        if name == "edge_logits":
            known = mask_edges(known)
        elif name == "log_depth":
            known = log_depth(known)
        found["bokeh" if name == "pyramid" else name] = known
    return found
