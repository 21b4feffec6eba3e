"""Which network a file of its authors holds: said on the command line by the name of a published method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.errors import one_of

if TYPE_CHECKING:
    from lensblend.runs.checkpoints import Trained

# What the released code does, where the recipes of conf/baseline do what the papers and reports say.
RELEASED = {
    "ipcv_iitm": ("model.bn_batch_stats_at_test=true",),
    "slyym": ("model.mask_activation=raw", "schedule.phases.phase1.image_size=[1024,1536]"),
    "xmu_viplab": ("model.variant=released", "model.released_weight_sharing=true"),
}


def loader(network: str | None) -> Callable[[str | Path], Trained]:
    """Return what loads a model: a checkpoint, which says what it is, or a file of a network's authors.

    Args:
        network: None for checkpoints; else a published method, `lensblend.cli.recipes.baselines`.

    Raises:
        RequestError: There is no such method.
    """
    from lensblend.runs.checkpoints import load_network

    if network is None:
        return load_network
    from lensblend.cli.recipes import baselines, recipe
    from lensblend.runs.released import load_released

    config = recipe(one_of("network", network, baselines()), *RELEASED.get(network, ()))
    return partial(load_released, baseline=network, config=config)
