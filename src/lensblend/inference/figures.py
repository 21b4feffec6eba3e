"""How plots look, and the PNG files that they become."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
QUIET = "#595959"
NEAR = 20  # pixels


@contextmanager
def style() -> Iterator[None]:
    """Draw as all plots of this project are drawn, while the block runs; a letter that the font lacks is a box."""
    import matplotlib

    look: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    # Names are text: what stands between dollars in one is no formula.
    look |= {"text.parse_math": False, "legend.frameon": False, "axes.axisbelow": True, "axes.edgecolor": QUIET}
    with matplotlib.rc_context(look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from font", UserWarning)
        yield


def panels_of(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Make a figure that belongs to no window and to no global list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, the same bytes for the same content."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def name_points(figure: Figure, panel: Axes, points: Sequence[tuple[str, float, float]], colours: Mapping) -> None:
    """Name each point beside it, as near as there is room, with a line to it where that is not at once beside it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    frame = panel.get_window_extent()
    places = [panel.transData.transform((x, y)) for _, x, y in points]
    taken = [np.array([*(place - 9), *(place + 9)]) for place in places]
    for (label, x, y), place in sorted(zip(points, places, strict=True), key=lambda named: named[1][1]):
        text = panel.annotate(cut(label, 44), (x, y), (0, 0), textcoords="offset pixels", fontsize=7.5, zorder=4)
        text.set(color=colours[label], va="center", ha="left")
        extent = text.get_window_extent()
        offset = _free_place(place, (extent.width, extent.height), (*frame.min, *frame.max), taken)
        text.set_position(offset)
        left, middle = place + offset
        taken.append(np.array([left, middle - extent.height / 2, left + extent.width, middle + extent.height / 2]))
        near = left if abs(left - place[0]) < abs(left + extent.width - place[0]) else left + extent.width
        if np.hypot(near - place[0], middle - place[1]) > NEAR:
            ends = panel.transData.inverted().transform(np.array([[near, middle], place]))
            panel.plot(*ends.T, color=colours[label], linewidth=0.7, alpha=0.6, zorder=1, scalex=False, scaley=False)


def _free_place(
    place: NDArray[np.float64],
    size: tuple[float, float],
    frame: tuple[float, float, float, float],
    taken: Sequence[NDArray[np.float64]],
) -> tuple[float, float]:
    """Return how far from a point, in pixels, its name starts: the nearest of 24 directions that covers nothing."""
    width, height = size
    boxes = np.array(taken)
    for distance in range(12, 400, 8):
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            x, y = distance * np.cos(angle), distance * np.sin(angle)
            left, low = place[0] + x - (width if x < 0 else 0), place[1] + y - height / 2
            apart = (left > boxes[:, 2]) | (left + width < boxes[:, 0])
            apart |= (low > boxes[:, 3]) | (low + height < boxes[:, 1])
            held = frame[0] < left and left + width < frame[2] and frame[1] < low and low + height < frame[3]
            if held and apart.all():
                return float(left - place[0]), float(y)
    return 12.0, 0.0


def cut(label: str, width: int) -> str:
    """Return a label of at most so many letters; what was cut off is an ellipsis."""
    return label if len(label) <= width else f"{label[: width - 1]}…"
