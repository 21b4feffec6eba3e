"""Write what was measured: bench.csv, bench.json, bench.md and chart.png."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensblend.benching.cases import Row
from lensblend.benching.chart import chart
from lensblend.benching.scores import Scores
from lensblend.benching.surroundings import as_table
from lensblend.benching.tables import csv_text, markdown, values_of
from lensblend.storage import json_text, remove, write_atomically

_EXPLAINED = (
    "Photos are random pixels; reading and writing them is not in it, and maps that a network takes are given. "
    "A trained network works at its own size and blends at the photo's; a published method has random weights and "
    "works at the photo's size. `first s`: the first batch of a fresh process, with empty caches; `s`: the median of "
    "{rounds} after it, then the least and the most, and the distance of the quartiles; `a photo`: seconds a photo to "
    "the first row's. `GiB`: the most memory at once, on a GPU what PyTorch allocated there, else the whole process. "
    "`GMAC`: multiply-accumulates a batch of convolutions and matrix products; transforms and element-wise work are "
    "not in it. `MB`: on disk."
)


def write_systems(rows: Sequence[Row], scores: Scores | None, about: Mapping[str, str], output: Path) -> str:
    """Write what systems cost, and return the tables.

    Args:
        rows: One at least.
        scores: For the chart; None for operations in their place.
        about: Where, when and with what.
        output: The folder; it is made.
    """
    hardware = dict.fromkeys(row.measured.hardware for row in rows if row.measured)
    about = {**({"computed on": "; ".join(hardware)} if hardware else {}), **about}
    explained = _EXPLAINED.format(rounds=rows[0].case.rounds)
    picture = chart(rows, scores)
    return write(output, "# Seconds, memory and operations", markdown(rows), explained, values_of(rows), about, picture)


def write(
    output: Path,
    title: str,
    table: str,
    explained: str,
    values: Sequence[Mapping[str, Any]],
    about: Mapping[str, str],
    picture: bytes | None,
) -> str:
    """Write the files of a measurement, and return its tables.

    Args:
        output: The folder; it is made.
        title: Of the page.
        table: As Markdown.
        explained: What its columns are.
        values: The rows, of equal keys.
        about: Where, when and with what.
        picture: PNG file; None for none, and that of an earlier measurement is removed.
    """
    text = f"{table}\n\n{as_table(about)}"
    seen = ["![chart](chart.png)"] if picture else []
    write_atomically(output / "bench.md", "\n\n".join([title, explained, text, *seen]) + "\n")
    write_atomically(output / "bench.csv", csv_text(values))
    write_atomically(output / "bench.json", json_text({"about": about, "rows": values}) + "\n")
    if picture:
        write_atomically(output / "chart.png", picture)
    else:
        remove(output / "chart.png")
    return text
