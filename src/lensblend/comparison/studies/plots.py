"""Pictures of an analysis: weights by depth, focus, sharpness, weight maps side by side (Dutta 2021, Figs. 6, 8, 9)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, isnan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lensblend.comparison.rows import learned
from lensblend.comparison.statistics import Interval
from lensblend.comparison.studies.analysis import SHARPNESS, Analysed, target_of
from lensblend.comparison.studies.measures import FIFTHS
from lensblend.inference.figures import DOTS_PER_INCH, cut, name_points, panels_of, png, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any colour vision tell apart, but for the yellow, too pale on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "os^Dvphd"
CELL_WIDTH = 2.4  # inches


def weights_by_depth_plot(analysed: Sequence[Analysed]) -> bytes:
    """Draw, in a panel per entry with weights, how much of each copy is shown in each fifth of the depths.

    The bars of a fifth are stacked to 1. A copy has the same colour in every panel: the more blurred, the darker.

    Returns:
        A PNG file.
    """
    shown = [one for one in analysed if one.maps and not np.isnan(one.by_depth()).all()]
    columns = min(3, len(shown))
    rows = ceil(len(shown) / columns)
    with style():
        figure, panels = panels_of(rows, columns, (3.1 * columns + 1.6, 2.35 * rows + 0.5))
        colours = _colours(name for one in shown for name in _copies(one))
        for panel, one in zip(panels, shown, strict=False):
            bottom = np.zeros(FIFTHS)
            for name, means in zip(_copies(one), one.by_depth(), strict=True):
                panel.bar(range(FIFTHS), means, 0.86, bottom, color=colours[name], edgecolor="white", linewidth=0.6)
                bottom += means
            panel.set_title(_wrapped(one.label), fontsize=8.5)
            panel.set(xlim=(-0.6, FIFTHS - 0.4), ylim=(0, 1), xticks=[0, 2, 4])
            panel.set_xticklabels(["nearest", "fifth of depth", "farthest"])
            panel.tick_params(axis="x", length=0)
        for panel in panels[len(shown) :]:
            panel.remove()
        for row in range(rows):
            panels[row * columns].set_ylabel("mean weight")
        from matplotlib.patches import Patch

        handles = [Patch(facecolor=colour, edgecolor="#888888", label=name) for name, colour in colours.items()]
        figure.legend(handles=handles, loc="outside right center", title="shown there", reverse=True)
        return png(figure)


def focus_plot(analysed: Sequence[Analysed]) -> bytes:
    """Draw, in a line per entry, how much of the photo itself is shown in focus and outside, with intervals.

    Returns:
        A PNG file.
    """
    shown = [one for one in analysed if one.interval("w0_focus")]
    with style():
        figure, (panel,) = panels_of(1, 1, (7.2, 0.34 * len(shown) + 1.1))
        for place, one in enumerate(shown):
            inside, outside = one.interval("w0_focus"), one.interval("w0_background")
            if inside is None or outside is None:
                continue
            said = {"label": "in focus"} if place == 0 else {}
            _bar(panel, inside, place - 0.1, COLOURS[0], "o", **said)
            said = {"label": "outside"} if place == 0 else {}
            _bar(panel, outside, place + 0.1, COLOURS[1], "s", **said)
        panel.set_yticks(range(len(shown)), [one.label for one in shown])
        panel.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xlabel="W0: share of the sharp photo that is shown")
        panel.grid(axis="x", color="#e5e5e5")
        figure.legend(loc="outside upper right", ncols=2)
        return png(figure)


def sharpness_plot(analysed: Sequence[Analysed]) -> bytes:
    """Draw each entry, the photo and the target as a point: how sharp the focus is, and how smooth the background.

    Entries that differ only in their seed have one colour, and those of one phase one marker.

    Returns:
        A PNG file.
    """
    points = {one.label: [one.interval(name) for name in SHARPNESS] for one in analysed}
    points["target"] = [target_of(analysed)[name] for name in SHARPNESS]
    known = [(label, x.mean, y.mean) for label, (x, y) in points.items() if x is not None and y is not None]
    known.append(("photo", 1.0, 1.0))
    looks = {**_looks(analysed), "target": ("#000000", "*"), "photo": ("#000000", "X")}
    with style():
        figure, (panel,) = panels_of(1, 1, (8.0, 5.5))
        for label, x, y in known:
            colour, marker = looks[label]
            panel.plot(x, y, marker, color=colour, markersize=11 if label == "target" else 7, markeredgecolor="white")
        panel.set(xlabel="sharpness in focus (photo = 1; right = sharper)")
        panel.set_ylabel("sharpness of background (photo = 1; down = smoother)")
        panel.grid(color="#e5e5e5")
        panel.margins(0.12)
        name_points(figure, panel, known, {label: look[0] for label, look in looks.items()})
        return png(figure)


def maps_plot(
    name: str,
    photo: NDArray[np.uint8],
    target: NDArray[np.uint8],
    runs: Sequence[tuple[str, NDArray[np.uint8], Mapping[str, NDArray[np.uint8]]]],
) -> bytes:
    """Draw one image: photo and target, then for each run its rendering and weight maps, all on one grey scale.

    Args:
        name: The image's.
        photo: All-in-focus photo.
        target: Captured bokeh.
        runs: Each run's label, rendering and weight maps by caption, white = 1.

    Returns:
        A PNG file.
    """
    columns = max(2, 1 + max(len(maps) for _, _, maps in runs))
    height = CELL_WIDTH * photo.shape[0] / photo.shape[1]
    with style():
        figure, panels = panels_of(
            len(runs) + 1, columns, ((CELL_WIDTH + 0.05) * columns, (height + 0.24) * (len(runs) + 1))
        )
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        cells: dict[int, tuple[str, NDArray[np.uint8]]] = {0: (f"{name}: photo", photo), 1: ("target", target)}
        for row, (label, bokeh, maps) in enumerate(runs, start=1):
            cells[row * columns] = (label, bokeh)
            for column, (caption, weight) in enumerate(maps.items(), start=1):
                cells[row * columns + column] = (caption, weight)
        for place, panel in enumerate(panels):
            if place not in cells:
                panel.set_axis_off()
                continue
            caption, pixels = cells[place]
            panel.set_title(cut(caption, 44), fontsize=7, loc="left", pad=2)
            # Enlarged, a pixel stays a pixel: what is seen is what was rendered.
            way = "nearest" if pixels.shape[1] < CELL_WIDTH * DOTS_PER_INCH else "hanning"
            drawn = panel.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=way)
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set(visible=True, color="#b0b0b0", linewidth=0.5)
            if pixels.ndim == 2 and not panels[columns - 1].child_axes:
                # A network with maps has two or more: beside the target there is room.
                scale = panels[columns - 1].inset_axes((0.1, 0.45, 0.8, 0.08))
                bar = figure.colorbar(drawn, cax=scale, orientation="horizontal", ticks=[0, 127.5, 255])
                bar.ax.set_xticklabels(["0", "0.5", "1"])
                bar.set_label("weight, in all maps")
        return png(figure)


def _bar(panel: Axes, interval: Interval, place: float, colour: str, marker: str, label: str | None = None) -> None:
    around = None if isnan(interval.low) else [[interval.mean - interval.low], [interval.high - interval.mean]]
    panel.errorbar(interval.mean, place, xerr=around, fmt=marker, color=colour, capsize=2.5, linewidth=1.2, label=label)


def _copies(one: Analysed) -> list[str]:
    """Return what each map weighs, from its caption: ``W1 · gaussian 25`` weighs ``gaussian 25``."""
    return [caption.split(" · ", 1)[-1] for caption in one.maps]


def _colours(names: Iterable[str]) -> dict[str, str]:
    """Give each copy a colour, the photo's the lightest, and the darker the larger its kernel."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    ordered = sorted(set(names), key=lambda name: ([int(number) for number in re.findall(r"\d+", name)], name))
    places = np.linspace(0.97, 0.05, max(2, len(ordered)))
    return {name: to_hex(colormaps["cividis"](float(place))) for name, place in zip(ordered, places, strict=False)}


def _looks(analysed: Sequence[Analysed]) -> dict[str, tuple[str, str]]:
    """Give each entry a colour, shared by runs that differ only in their seed, and a marker for its phase."""
    kinds = list(dict.fromkeys(learned(one.entry) for one in analysed))
    phases = list(dict.fromkeys(one.entry.phase for one in analysed))
    return {
        one.label: (
            COLOURS[kinds.index(learned(one.entry)) % len(COLOURS)],
            MARKERS[phases.index(one.entry.phase) % len(MARKERS)],
        )
        for one in analysed
    }


def _wrapped(label: str, width: int = 38) -> str:
    return "\n".join(textwrap.wrap(label, width)[:2])
