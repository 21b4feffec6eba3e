"""The rows of a comparison's table, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan, nan

from lensblend.comparison.statistics import Difference, Interval

BETWEEN = "; "  # folders of one row


@dataclass(frozen=True)
class Opinion:
    """What people think of a run.

    Attributes:
        mos: Mean opinion score, 0 to 4, smaller is better, with its interval.
        images: Over how many images.
    """

    mos: Interval
    images: int

    @property
    def written(self) -> str:
        """The score as tables print it, with its interval where there is one."""
        mean, low, high = (f"{value:.2f}" for value in (self.mos.mean, self.mos.low, self.mos.high))
        return mean if isnan(self.mos.low) else f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Line:
    """One row of the comparison: a run, or the mean of runs that differ in their seed alone.

    Attributes:
        label: Names it.
        folder: The run's; of several, all of them, with `BETWEEN` between.
        phase: Which of its phases.
        parameters: Of its network.
        means: By metric.
        differences: By metric, to the row that all are compared with; None for that row itself.
        opinion: What people think of it, where they were asked.
        seeds: Of how many runs.
        spreads: By metric, the standard deviation of the runs' means; NaN of one run.
        seconds: Of the network's own pass per photo, where all were measured on one device; else NaN.
    """

    label: str
    folder: str
    phase: str
    parameters: int
    means: dict[str, Interval]
    differences: dict[str, Difference] | None
    opinion: Opinion | None = None
    seeds: int = 1
    spreads: Mapping[str, float] = field(default_factory=dict)
    seconds: float = nan
