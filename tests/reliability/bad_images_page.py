"""The page of what becomes of every kind of bad image: written, read back, and what the loader adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lensblend.data.images import read_photo, read_size
from lensblend.errors import DataError
from reliability.bad_images import ENTRIES, KINDS, Kind
from reliability.rows import expect

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-images.md"
READ = "read"
# What a verb says at most of one bad file: a line for it, with a title, before the work and after it.
LINES = 5
INTRODUCTION = """# Bad images

What becomes of each of {count} kinds of images, wherever one is given. A sound pair lies beside each; paths are
shortened to `…`.

- **loader**: `lensblend.data.images.read_photo`, through which all of them go. What it refuses is a `DataError`.
- **train**: `lensblend train data=folder`; **evaluate**: `lensblend evaluate checkpoint=… data=folder`.
- **compare**: `lensblend compare RUN`, whose run was trained on a sound folder in which the image came to lie later.
- **folders**: `lensblend evaluate predictions=… targets=…`; **render**: `lensblend render PHOTO`.
- **check**: `lensblend prepare check FOLDER`, what it finds of this photo. (That the pairs here all show one picture,
  and are as sharp on both sides, is found as well, and left out below.)

"read" means the right pixels: within one of 255 levels of what was stored or of what OpenCV decodes. All else ends
with exit code 1 or 2, and with what stands here. [Row R9](benchmarks/reliability.md) compares this page with what
happens; it is written by

    python tests/reliability --full --rows R9 --rewrite

| kind | given to | exit code | what is said |
|---|---|---:|---|
"""
Outcomes = dict[tuple[str, str], str]


def loaded(kind: Kind, path: Path) -> tuple[str, list[str]]:
    """Read a photo of a kind; return what stands on the page for it, and what is wrong."""
    try:
        pixels = read_photo(path)
    except DataError as error:
        said = str(error)
        return cell(1, said), expect((kind.pixels is None, f"refused: {said}"), *told(kind, path, [said]))
    if kind.pixels is None or pixels.shape != kind.pixels.shape:
        return READ, [f"read, of shape {pixels.shape}"]
    off = float(np.abs(pixels - np.asarray(kind.pixels, np.float64)).max())
    right = read_size(path) == pixels.shape[:2]
    return READ, expect((off <= kind.within, f"off by {off:.1f} levels"), (right, "another size by its header"))


def told(kind: Kind, path: Path, lines: list[str]) -> list[tuple[bool, str]]:
    """Return checks of a refusal: one line that names the file, and what helps."""
    said = "\n".join(lines)
    names = path.name in said or f"`{path.stem}`" in said or f"{path.stem}: " in said
    return [
        (names, f"does not name the file: {said[-300:]!r}"),
        (0 < len(lines) <= LINES and "Traceback" not in said, f"{len(lines)} lines: {said[-300:]!r}"),
        (";" in said, f"names no remedy: {said[-300:]!r}"),
    ]


def cell(code: int, said: str) -> str:
    """Return a refusal as it stands on the page."""
    lines = said.replace("|", "\\|").splitlines()
    return f"{code} | {'<br>'.join(lines)}"


def page(outcomes: Mapping[tuple[str, str], str]) -> str:
    """Return the page; entry points that say the same share a row."""
    lines = []
    for kind in KINDS:
        by_outcome: dict[str, list[str]] = {}
        for entry in ENTRIES:
            if (kind.name, entry) in outcomes:
                by_outcome.setdefault(outcomes[kind.name, entry], []).append(entry)
        for outcome, entries in by_outcome.items():
            lines.append(f"| {kind.name} | {', '.join(entries)} | {'0 | read' if outcome == READ else outcome} |")
    return INTRODUCTION.format(count=len(KINDS)) + "\n".join(lines) + "\n"


def read_page(text: str) -> Outcomes:
    """Return what a page says of each kind and entry point."""
    found: Outcomes = {}
    for line in text.splitlines():
        cells = line.strip("| ").split(" | ", 3)
        if len(cells) == 4 and cells[2].isdecimal():
            outcome = READ if cells[3] == READ else f"{cells[2]} | {cells[3]}"
            found |= {(cells[0], entry): outcome for entry in cells[1].split(", ")}
    return found
