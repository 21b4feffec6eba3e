"""What became of captures, as a table and as one self-contained page on which each pair can be looked at."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lensblend.preparation.aligning import Outcome, Settings
from lensblend.storage import replace, temporary_beside, write_atomically

PAGE = Path(__file__).parent / "page"
MOST_PICTURES = 100  # pairs shown on the page, those that fit worst; all are in its table
_SIZES = ("narrow_size", "wide_size", "size")
_FIGURES = ("matches", "inliers", "ratio", "residual", "scale", "displacement")
COLUMNS = ("number", "name", "narrow", "wide", *_SIZES, "model", *_FIGURES, "transform", "gains", "accepted", "problem")


def write_table(path: Path, outcomes: Sequence[Outcome], settings: Settings) -> None:
    """Write one row for each capture as CSV; sizes are HEIGHTxWIDTH, a transform is row by row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        figures = outcome.figures
        row = {name: "x".join(map(str, figures[name])) for name in _SIZES if name in figures}
        row |= {name: figures[name] for name in _FIGURES if name in figures}
        row |= {name: " ".join(map(repr, figures[name])) for name in ("transform", "gains") if name in figures}
        known = {"number": outcome.number, "name": outcome.name, "narrow": outcome.narrow, "wide": outcome.wide}
        said = {"accepted": str(outcome.problem is None).lower(), "problem": outcome.problem or ""}
        writer.writerow({**known, "model": settings.model, **row, **said})
    write_atomically(path, text.getvalue())


def write_report(path: Path, outcomes: Sequence[Outcome], settings: Settings, passed_over: Sequence[str]) -> None:
    """Write the page: pairs to blink between, the refused ones with the reason, and a table of all.

    Raises:
        StorageError: It could not be written.
    """
    accepted = [outcome for outcome in outcomes if outcome.problem is None]
    refused = [outcome for outcome in outcomes if outcome.problem is not None]
    shown = sorted(accepted, key=lambda outcome: -float(outcome.figures["residual"]))[:MOST_PICTURES]
    script = (PAGE / "alignment.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Environment(loader=FileSystemLoader(PAGE), autoescape=True).get_template("alignment.html")
    content = page.stream(
        settings=settings,
        accepted=accepted,
        refused=refused,
        shown=shown,
        refused_shown=refused[:MOST_PICTURES],
        passed_over=passed_over,
        style=Markup((PAGE / "alignment.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    )
    with temporary_beside(path) as temporary:
        content.dump(str(temporary), encoding="utf-8", errors="backslashreplace")
        replace(temporary, path)
