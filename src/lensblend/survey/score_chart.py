"""A chart of methods' scores with their intervals, the best at the top."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from lensblend.errors import printable
from lensblend.inference.figures import cut, panels_of, png, style
from lensblend.survey.resampling import Estimate

COLOUR = "#0072b2"
MOS_LABEL = "MOS with 95 % interval (0 = almost identical, 4 = mostly different)"
STRENGTH_LABEL = "strength with 95 % interval (natural logarithm; right = preferred more often)"


def score_chart(scores: Sequence[tuple[str, Estimate]], label: str) -> bytes:
    """Draw each method's score as a point with its interval as a line.

    Args:
        scores: By method, the best first.
        label: Of the axis.

    Returns:
        A PNG file.
    """
    with style():
        figure, (panel,) = panels_of(1, 1, (7.2, 0.9 + 0.3 * len(scores)))
        for place, (_, score) in enumerate(scores):
            if not isnan(score.low):
                panel.plot([score.low, score.high], [place, place], color=COLOUR, linewidth=1.6)
            panel.plot(score.value, place, "o", color=COLOUR, markersize=6, markeredgecolor="white")
        panel.set_yticks(range(len(scores)), [cut(" ".join(printable(method).split()), 44) for method, _ in scores])
        panel.set(ylim=(len(scores) - 0.5, -0.5), xlabel=label)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", color="#e5e5e5")
        panel.margins(x=0.08)
        return png(figure)
