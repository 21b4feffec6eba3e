"""What a training says to the person who started it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pytorch_lightning.utilities import rank_zero_only

from lensblend.errors import printable


def know_node(environment: Mapping[str, str]) -> None:
    """Keep the first process of a second machine from taking itself for the training's first.

    Lightning knows a process's place once its trainer has been built; before, it looks at variables that a machine
    which was told only ``NODE_RANK`` does not have.

    Args:
        environment: Variables of this process.
    """
    node = int(environment.get("NODE_RANK") or environment.get("GROUP_RANK") or 0)
    if node > 0 and is_first_process():
        # Any but 0, until Lightning sets the right one.
        setattr(rank_zero_only, "rank", node)  # noqa: B010


@rank_zero_only
def say(text: str) -> None:
    """Print a line at once, from the first of several processes only."""
    print(printable(text), flush=True)


def is_first_process() -> bool:
    """Tell whether this process writes files and speaks, among several that train together."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


know_node(os.environ)
