"""What can be wrong with a data set: the kinds, each with its remedy, and one finding of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lensblend.errors import printable
from lensblend.storage import csv_text

# By kind: what helps. A loader's own message knows better where it is `unreadable`.
REMEDIES = {
    "unreadable": "copy or download it again",
    "empty": "copy or download it again",
    "unread format": "save it as JPEG, PNG or TIFF, or remove it",
    "wrong suffix": "rename it",
    "too small": "remove its pair, or find a larger one",
    "no partner": "add its partner, or remove it",
    "several": "keep one",
    "alike names": "rename or remove one",
    "size": "align the two, or remove the pair",
    "orientation": "turn one as the other is shown",
    "map shape": "make the map again, of the photo as it is shown",
    "equal": "put the captured target in its place, or remove the pair",
    "swapped": "exchange photo and target",
    "misaligned": "align the pair again (`lensblend prepare align`), or exclude it",
    "unrelated": "find the right partner, or remove the pair",
    "duplicate": "remove one",
    "leakage": "keep it in one split, or exclude one",
    "absent": "add it, or strike it off the list",
    "changed": "copy or download it again, or write the list anew",
    "unlisted": "list it, or remove it",
    "bad list": "correct the list",
}
# What may well be meant: it is said, and nothing fails.
NOTES = {
    "colour mode": "none needed: it is read as 8-bit RGB",
    "exposure": "look whether both show the same light",
    "nearly equal": "look whether both are wanted",
    "belongs to nothing": "none needed: it is not used",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        file: Its path below the data set's folder.
        kind: One of `REMEDIES` or `NOTES`.
        what: What is wrong with it.
        remedy: What helps; by default that of its kind.
    """

    file: str
    kind: str
    what: str
    remedy: str = ""

    @property
    def is_note(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.kind in NOTES

    def cells(self) -> list[str]:
        """Return file, kind, what and remedy, as they may be printed on one line."""
        return [visible(text) for text in (self.file, self.kind, self.what, self.helps())]

    def helps(self) -> str:
        """Return what helps."""
        return self.remedy or REMEDIES.get(self.kind) or NOTES[self.kind]


HEAD = ["file", "kind", "what", "remedy"]


def visible(text: str) -> str:
    r"""Return a text on one line, as a terminal may print it.

    Example:
        >>> visible("a\nb\x1b[2J")
        'a\\nb\\x1b[2J'
    """
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def findings_table(findings: Sequence[Finding]) -> str:
    """Return findings as lines of columns, the head first."""
    rows = [HEAD, *(finding.cells() for finding in findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def findings_csv(findings: Sequence[Finding]) -> str:
    """Return findings as CSV; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    return csv_text([HEAD, *(finding.cells() for finding in findings)])
