"""A page of rendered photos: one self-contained HTML file, and one PNG sheet of the same rows."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lensblend.training.pictures import save_picture, sheet

SHEET_ROWS = 8
STYLE = """
body { margin: 2rem auto; max-width: 96rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
body { background: #16181b; color: #d8dadd; }
h1 { font-size: 1.3rem; font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #33373c; font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; }
tbody tr:last-child { color: #fff; font-weight: 600; }
section { margin: 2rem 0; }
h2 { font-size: 1rem; font-weight: 600; margin: 0 0 .5rem; }
h2 small { font-weight: 400; color: #9aa0a6; margin-left: 1rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .5rem; }
figure { margin: 0; }
img { width: 100%; display: block; image-rendering: auto; }
img.small { image-rendering: pixelated; }
figcaption { font-size: .8rem; color: #9aa0a6; padding-top: .2rem; }
"""
SMALL = 256


class Gallery:
    """Collect rows of captioned pictures with their scores."""

    def __init__(self) -> None:
        self._rows: dict[str, Mapping[str, NDArray[np.uint8]]] = {}
        self._scores: dict[str, Mapping[str, float]] = {}

    def add(self, name: str, row: Mapping[str, NDArray[np.uint8]], scores: Mapping[str, float]) -> None:
        """Add a row: pictures by caption, and the scores of its rendering."""
        self._rows[name] = row
        self._scores[name] = scores

    def write(self, folder: Path, title: str, table: Mapping[str, Mapping[str, float]]) -> None:
        """Write ``gallery.html`` with every row, and ``sheet.png`` with the first few.

        Args:
            folder: Receives both.
            title: Heads the page.
            table: Mean scores by name of what was scored, shown above the pictures.
        """
        folder.mkdir(parents=True, exist_ok=True)
        sections = "\n".join(self._section(name) for name in self._rows)
        page = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
            f"<body><h1>{html.escape(title)}</h1>\n{_table(table)}\n{sections}\n</body></html>\n"
        )
        (folder / "gallery.html").write_text(page, encoding="utf-8")
        rows = dict(list(self._rows.items())[:SHEET_ROWS])
        save_picture(sheet(rows), folder / "sheet.png")

    def _section(self, name: str) -> str:
        scores = " · ".join(f"{metric} {value:.4g}" for metric, value in self._scores[name].items())
        figures = "".join(_figure(caption, pixels) for caption, pixels in self._rows[name].items())
        return (
            f"<section><h2>{html.escape(name)}<small>{html.escape(scores)}</small></h2>"
            f'<div class="row">{figures}</div></section>'
        )


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(rows.values()), {}))
    head = "".join(f"<th>{html.escape(column)}</th>" for column in ["", *columns])
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{row[column]:.4f}</td>' for column in columns)}</tr>"
        for name, row in rows.items()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(caption: str, pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    # Pictures this small are stored without loss and shown pixel by pixel; photos as JPEG of high quality.
    small = pixels.shape[1] < SMALL
    picture = Image.fromarray(pixels)
    picture.save(buffer, format="PNG" if small else "JPEG", **({} if small else {"quality": 92}))
    kind, mark = ("png", ' class="small"') if small else ("jpeg", "")
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    image = f'<img{mark} alt="{text}" src="data:image/{kind};base64,{data}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
