"""An analysis in its finished form: tables as text and CSV, plots as files, and both as a section of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lensblend.comparison.gallery import Cell, Picture, Section
from lensblend.comparison.scored import Scored
from lensblend.comparison.studies import plots
from lensblend.comparison.studies.analysis import Analysed, analysis_csv, analysis_markdown, coverage, focus_cells
from lensblend.comparison.studies.claims import Claim, claim_cells, compute_claims
from lensblend.data.pairs import Pair
from lensblend.inference.evaluation import Pixels
from lensblend.storage import write_atomically

MAPS = 4
"""So many images, the first ones, are drawn with all their weight maps."""


def write_findings(
    output: Path, analysed: Sequence[Analysed], scored: Sequence[Scored], load: Callable[[int], Pair]
) -> tuple[str, Section]:
    """Write ``analysis.csv`` and the pictures in ``analysis/``, and return the rest.

    Args:
        output: The comparison's folder.
        analysed: What was measured.
        scored: Where each entry's pictures lie, in the same order.
        load: Gives an image's pair by its index.

    Returns:
        The analysis as Markdown, and as a section of the page.
    """
    clear_findings(output)
    write_atomically(output / "analysis.csv", analysis_csv(analysed))
    figures = _figures(analysed, scored, load)
    pictures = []
    for name, (caption, content) in figures.items():
        path = output / "analysis" / f"{name}.png"
        write_atomically(path, content)
        pictures.append(Picture.of_file(caption, path))
    claims = compute_claims(analysed)
    cells = claim_cells(claims)
    tables = [_marked(cells, claims), [[Cell(text) for text in line] for line in focus_cells(analysed)]]
    section = Section("Analysis", tables, pictures, coverage(analysed))
    return analysis_markdown(analysed, cells), section


def clear_findings(output: Path) -> None:
    """Remove an earlier comparison's analysis: it would stand beside tables of another."""
    (output / "analysis.csv").unlink(missing_ok=True)
    for name in ("weights-by-depth", "focus", "sharpness", "maps-*"):
        for old in (output / "analysis").glob(f"{name}.png"):
            old.unlink()


def _figures(
    analysed: Sequence[Analysed], scored: Sequence[Scored], load: Callable[[int], Pair]
) -> dict[str, tuple[str, bytes]]:
    """Return what can be drawn, by file name: a caption and a PNG."""
    figures = {}
    if any(not np.isnan(one.by_depth()).all() for one in analysed if one.maps):
        caption = "Mean weights by depth: each fifth of the image's disparity, nearest first."
        figures["weights-by-depth"] = caption, plots.weights_by_depth_plot(analysed)
    if any(one.interval("w0_focus") for one in analysed):
        caption = "W0 in focus and outside: mean over the images, with its interval."
        figures["focus"] = caption, plots.focus_plot(analysed)
    if any(one.interval("sharpness_focus") and one.interval("sharpness_background") for one in analysed):
        caption = "Sharpness in focus against sharpness of the background, as shares of the photo's own."
        figures["sharpness"] = caption, plots.sharpness_plot(analysed)
    for index, name in enumerate(list(scored[0].scores)[:MAPS]):
        pair = load(index)
        runs = []
        for one, result in zip(analysed, scored, strict=True):
            maps = {caption: _read(result.picture(index, i)) for i, caption in enumerate(one.maps)}
            runs.append((one.label, _read(result.picture(index)), maps))
        drawn = plots.maps_plot(name, pair.photo, pair.captured(), runs)
        stem = re.sub(r"[^\w.-]", "-", name)
        figures[f"maps-{stem}"] = f"{name}: renderings and weight maps, white = 1.", drawn
    return figures


def _marked(cells: Sequence[Sequence[str]], claims: Sequence[Claim]) -> list[list[Cell]]:
    marks = {"holds": "better", "does not hold": "worse"}
    rows = [[Cell(text) for text in cells[0]]]
    for line, claim in zip(cells[1:], claims, strict=True):
        rows.append([*(Cell(text) for text in line[:-1]), Cell(line[-1], marks.get(claim.verdict, ""))])
    return rows


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.array(image)
