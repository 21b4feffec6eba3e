"""The sheet of depth estimators: one picture, one page, and, where the truth is known, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lensblend.comparison.depth_maps import METRICS, DepthRow
from lensblend.comparison.gallery import PAGE, Picture
from lensblend.comparison.statistics import METHOD, mean_interval
from lensblend.comparison.tables import written
from lensblend.inference.evaluation import aligned, shown
from lensblend.inference.pictures import save_picture, sheet
from lensblend.storage import csv_text, remove, write_atomically

SHEET_ROWS = 8
COLOURED = (
    "Near is bright, far is dark. Each map is stretched from its own farthest hundredth to its nearest one: colours "
    "say what is nearer within a map, not how far it is, and cannot be compared between maps."
)
SCORED = (
    "SI-RMSE: of log depth, after the scale and shift of disparity with the least squared error, per photo; "
    "disparities below 0.05 count as equally far. Ordinal accuracy: share of pairs of pixels in the right order; 0.5 "
    f"is chance. In brackets: {METHOD}."
)


def write_depth(rows: Sequence[DepthRow], output: Path, about: Sequence[str]) -> tuple[str, list[str]]:
    """Write depth.png (the first photos), depth.html (all) and depth.md; with truth also depth.csv.

    Args:
        rows: Of `lensblend.comparison.depth_maps.compare_depth`.
        output: The folder; it is made.
        about: Which estimator is what, a sentence each.

    Returns:
        What depth.md says, and the names of the files.

    Raises:
        StorageError: A file cannot be written.
    """
    table = depth_cells(rows)
    cut = [f"depth.png shows the first {SHEET_ROWS} of {len(rows)} photos, depth.html all."] * (len(rows) > SHEET_ROWS)
    notes = [COLOURED, *([SCORED] if table else []), *cut]
    parts = ["# Depth", *([aligned([[shown(cell) for cell in row] for row in table])] if table else []), *notes]
    text = "\n\n".join([*parts, "\n".join(f"- {shown(line)}" for line in about)])
    files = ["depth.png", "depth.html", "depth.md", *(["depth.csv"] if table else [])]
    save_picture(sheet({row.id: row.pictures for row in rows[:SHEET_ROWS]}), output / "depth.png")
    write_atomically(output / "depth.html", _page(rows, table, about, notes))
    write_atomically(output / "depth.md", f"{text}\n")
    if table:
        write_atomically(output / "depth.csv", depth_csv(rows))
    else:
        remove(output / "depth.csv")  # an earlier one would stand beside maps of others
    return text, files


def depth_cells(rows: Sequence[DepthRow]) -> list[list[str]]:
    """Return the mean scores as cells, the head first, a row per estimator; nothing without truth."""
    if not rows[0].scores:
        return []
    cells = [["", *(metric.title() for metric in METRICS.values())]]
    for label in rows[0].scores:
        means = [
            written(mean_interval([row.scores[label][name] for row in rows]), metric)
            for name, metric in METRICS.items()
        ]
        cells.append([label, *means])
    return cells


def depth_csv(rows: Sequence[DepthRow]) -> str:
    """Return a row per estimator and photo, a column per metric."""
    lines: list[list[Any]] = [["estimator", "id", *METRICS]]
    for row in rows:
        lines += [[label, row.id, *(repr(scores[name]) for name in METRICS)] for label, scores in row.scores.items()]
    return csv_text(lines)


def _page(rows: Sequence[DepthRow], table: Sequence[Sequence[str]], about: Sequence[str], notes: Sequence[str]) -> str:
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True)
    return environment.get_template("depth.html").render(
        table=[[{"text": cell, "mark": ""} for cell in row] for row in table],
        rows=[(row.id, _pictures(row)) for row in rows],
        about=about,
        notes=notes,
        style=Markup((PAGE / "gallery.css").read_text(encoding="utf-8")),
    )


def _pictures(row: DepthRow) -> list[Picture]:
    return [Picture.of_pixels(caption, pixels, _note(row.scores, caption)) for caption, pixels in row.pictures.items()]


def _note(scores: Mapping[str, Mapping[str, float]], caption: str) -> str:
    if caption not in scores:
        return ""
    return " · ".join(f"{metric.heading} {metric.written(scores[caption][name])}" for name, metric in METRICS.items())
