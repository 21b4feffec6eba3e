"""The rows of a measurement as CSV, as Markdown and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lensblend import storage
from lensblend.benching.cases import Row
from lensblend.inference.evaluation import aligned

COLUMNS = (
    *("system", "model", "hardware", "device", "engine", "precision", "height", "width", "network_height"),
    *("network_width", "batch", "first_seconds", "seconds", "min_seconds", "max_seconds", "iqr_seconds"),
    *("photos_per_second", "ratio", "peak_bytes", "parameters", "macs", "bytes", "reason"),
)
_HEADS = (
    *("system", "computed by", "photo", "network", "batch", "first s", "s", "min–max", "IQR", "photos/s"),
    *("a photo", "GiB", "parameters", "GMAC", "MB"),
)


def values_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each row as plain values by the names of ``COLUMNS``; None for what was not measured.

    ``ratio`` is of the median seconds a photo, to the first row's.
    """
    return [_values(row, rows[0].seconds_a_photo) for row in rows]


def _values(row: Row, first: float | None) -> dict[str, Any]:
    case, found, seconds = row.case, row.measured, row.seconds_a_photo
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    values |= {"system": case.system.name, "model": case.system.model, "device": case.device, "engine": case.engine}
    values |= {"precision": case.precision, "batch": case.batch, "reason": row.reason}
    if case.image_size is not None:
        values |= dict(zip(("height", "width"), case.image_size, strict=True))
    if found is None or seconds is None:
        return values
    return values | {
        "hardware": found.hardware,
        "device": found.device,
        "height": found.image_size[0],
        "width": found.image_size[1],
        "network_height": found.network_size[0],
        "network_width": found.network_size[1],
        "first_seconds": found.first_seconds,
        "seconds": found.median,
        "min_seconds": min(found.seconds),
        "max_seconds": max(found.seconds),
        "iqr_seconds": found.spread,
        "photos_per_second": 1 / seconds,
        "ratio": None if first is None else seconds / first,
        "peak_bytes": found.peak_bytes,
        "parameters": found.parameters,
        "macs": found.macs,
        "bytes": found.bytes,
    }


def csv_text(values: Sequence[Mapping[str, Any]]) -> str:
    r"""Return rows of equal keys as CSV, empty where a value is None.

    Example:
        >>> csv_text([{"a": 1, "b": None}])
        'a,b\n1,\n'
    """
    return storage.csv_text([list(values[0]), *(list(row.values()) for row in values)])


def markdown(rows: Sequence[Row]) -> str:
    """Return the measured rows as a Markdown table, and below it a line for each that was not, with the reason."""
    measured = [(row, values) for row, values in zip(rows, values_of(rows), strict=True) if row.measured]
    parts = [aligned([_HEADS, *(_cells(row, values) for row, values in measured)])] if measured else []
    failed = [f"- {_named(row)}: {row.reason}" for row in rows if not row.measured]
    return "\n\n".join([*parts, *(["Not measured:\n\n" + "\n".join(failed)] if failed else [])])


def _named(row: Row) -> str:
    case = row.case
    size = "" if case.image_size is None else f", {_size(*case.image_size)}"
    return f"{case.system.name}, {case.device} {case.engine} {case.precision}{size}, batch {case.batch}"


def _cells(row: Row, values: Mapping[str, Any]) -> list[str]:
    ratio = values["ratio"]
    return [
        row.case.system.name,
        f"{values['device']} {values['engine']} {values['precision']}",
        _size(values["height"], values["width"]),
        _size(values["network_height"], values["network_width"]),
        str(values["batch"]),
        rounded(values["first_seconds"]),
        rounded(values["seconds"]),
        f"{rounded(values['min_seconds'])}–{rounded(values['max_seconds'])}",
        rounded(values["iqr_seconds"]),
        rounded(values["photos_per_second"]),
        "" if ratio is None else f"{rounded(ratio)}×",
        f"{values['peak_bytes'] / 2**30:.2f}",
        f"{values['parameters']:,}",
        rounded(values["macs"] / 1e9),
        rounded(values["bytes"] / 1e6),
    ]


def _size(height: int, width: int) -> str:
    return f"{height}×{width}"


def rounded(number: float | int) -> str:
    """Return a number with three significant digits, all of those before the point kept.

    Example:
        >>> rounded(0.012345), rounded(1.5), rounded(9.7), rounded(1234.5), rounded(0)
        ('0.0123', '1.50', '9.70', '1,234', '0')
    """
    if number == 0:
        return "0"
    exponent = int(f"{number:.2e}".partition("e")[2])
    return f"{number:,.{max(2 - exponent, 0)}f}"
