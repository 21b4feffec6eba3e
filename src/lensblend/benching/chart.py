"""A chart of what a measurement found: seconds against a score, or against operations, one point per system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lensblend.benching.cases import Row
from lensblend.benching.scores import Scores
from lensblend.inference.figures import name_points, panels_of, png, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = "#0072b2"
FAR = 5.0


def chart(rows: Sequence[Row], scores: Scores | None) -> bytes | None:
    """Draw each system's median seconds a photo, of its first row that was measured.

    Args:
        rows: What was measured.
        scores: What stands on the other axis; None for multiply-accumulates a photo. A system without a score is left
            out.

    Returns:
        A PNG file; None where there is no point.
    """
    points = list(points_of(rows, scores))
    if not points:
        return None
    with style():
        figure, (panel,) = panels_of(1, 1, (7.2, 4.8))
        for _, x, y in points:
            panel.plot(x, y, "o", color=COLOUR, markersize=7, markeredgecolor="white")
        panel.set(xlabel="seconds a photo (left = faster)", ylabel=scores.metric if scores else "GMAC a photo")
        _spread(panel, "x", [x for _, x, _ in points])
        if not scores:
            _spread(panel, "y", [y for _, _, y in points])
        panel.grid(color="#e5e5e5")
        panel.margins(0.2)
        name_points(figure, panel, points, {name: "black" for name, _, _ in points})
        return png(figure)


def _spread(panel: Axes, name: str, values: Sequence[float]) -> None:
    """Draw an axis by ratios where values lie far apart, with its ticks as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if min(values) > 0 and max(values) / min(values) > FAR:
        panel.set(**{f"{name}scale": "log"})
        axis = panel.xaxis if name == "x" else panel.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def points_of(rows: Sequence[Row], scores: Scores | None) -> list[tuple[str, float, float]]:
    """Return each system's name, seconds a photo, and score or GMAC a photo, see `chart`."""
    points: dict[str, tuple[str, float, float]] = {}
    for row in rows:
        name, seconds = row.case.system.name, row.seconds_a_photo
        if name in points or row.measured is None or seconds is None:
            continue
        other = scores.of.get(name) if scores else row.measured.macs / 1e9 / row.case.batch
        if other is not None:
            points[name] = name, seconds, other
    return list(points.values())
