"""The scores of a training's result on pairs that nothing was chosen by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import torch

from lensblend.data.pairs import Source
from lensblend.inference.evaluation import aligned, mean_cells, means, score_network
from lensblend.inference.folding import folded
from lensblend.metrics.per_image import PerImageMetric
from lensblend.nn.rendering import BokehNetwork
from lensblend.runs.checkpoints import load_network
from lensblend.runs.messages import say


def score_test(
    folder: Path,
    source: Source,
    metrics: Mapping[str, PerImageMetric],
    device: torch.device,
    limit: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, float | int]:
    """Score a phase's best checkpoint on test pairs, as ``lensblend evaluate split=test`` does, and say the means.

    Args:
        folder: The phase's folder.
        source: The data set, with the maps that the network takes.
        metrics: By name; those of renderings are taken.
        device: Where the network computes.
        limit: Use the first so many pairs only.
        check: Called before each pair; may raise where the training is to stop.

    Returns:
        ``count``, and the means by name; nothing where there are no test pairs, or the network does not render.
    """
    pairs = source.test()
    chosen = {name: metric for name, metric in metrics.items() if metric.compares == "bokeh"}
    count = min(len(pairs.ids), limit or len(pairs.ids))
    if not count or not chosen:
        return {}
    trained = load_network(folder)
    if not trained.network.renders:
        say(f"\nThe test pairs are not scored: {type(trained.network).__name__} estimates maps.")
        return {}

    def indices() -> Iterator[int]:
        for index in range(count):
            check()
            yield index

    say(f"\nScoring {trained.path} on {count} test pair{'s' if count > 1 else ''}")
    network = folded(cast("BokehNetwork", trained.network)).to(device)
    scores = means(score_network(network, chosen, pairs, indices(), trained.image_size, "network"))
    classes = {name: type(metric) for name, metric in chosen.items()}
    say(aligned(mean_cells(classes, {f"{trained.label}, test": scores})))
    return {"count": count, **scores}
