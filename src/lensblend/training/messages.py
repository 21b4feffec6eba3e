"""What a training says to the person who started it."""

from __future__ import annotations

from pytorch_lightning.utilities import rank_zero_only


@rank_zero_only
def say(text: str) -> None:
    """Print a line at once, from the first of several processes only."""
    print(text, flush=True)


def is_first_process() -> bool:
    """Tell whether this process writes files and speaks, among several that train together."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0
