"""A list of a data set's files with their hashes: read, and held against what is there."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError
from lensblend.preparation.findings import Finding


@dataclass(frozen=True)
class Listed:
    """What a list says of a file.

    Attributes:
        sha256: In hexadecimal; empty where it says none.
        split: ``train``, ``val`` or empty.
    """

    sha256: str
    split: str


def place(path: Path) -> Path:
    """Return where a path leads by its name: a file that is a link is meant itself."""
    return Path(os.path.abspath(path))


def read_manifest(path: Path, findings: list[Finding]) -> dict[Path, Listed]:
    """Read a list: CSV with the columns ``file`` (below the list's folder) and ``sha256``, and perhaps ``split``.

    Args:
        path: The list.
        findings: Receives what is wrong with its rows.

    Raises:
        RequestError: It is no such list.
    """
    try:
        rows = list(csv.DictReader(read_text(path).splitlines()))
    except (FileNotFoundError, DataError, csv.Error) as error:
        raise RequestError(f"`{path}` is no readable list ({error}); give a CSV file.") from error
    if not rows or not {"file", "sha256"} <= rows[0].keys():
        raise RequestError(f"`{path}` has not the columns file and sha256, or no row; give such a CSV file.")
    folder = place(path.parent)
    listed: dict[Path, Listed] = {}
    for number, row in enumerate(rows, 2):
        name, digest = row["file"] or "", (row["sha256"] or "").strip().lower()
        file = place(folder / name) if name and "\0" not in name else folder
        if file == folder or not file.is_relative_to(folder):
            findings.append(Finding(path.name, "bad list", f"line {number}: `{name}` names no file below its folder"))
        elif file in listed:
            findings.append(Finding(path.name, "bad list", f"line {number}: `{name}` is there twice"))
        elif digest and not re.fullmatch("[0-9a-f]{64}", digest):
            findings.append(Finding(path.name, "bad list", f"line {number}: `{name}` has no SHA-256, but {digest!r}"))
        else:
            listed[file] = Listed(digest, (row.get("split") or "").strip())
    return listed


def held_against(
    listed: Mapping[Path, Listed], hashes: Mapping[Path, str], named: Callable[[Path], str]
) -> list[Finding]:
    """Say which listed files are absent or have other bytes, and which files are not listed.

    Args:
        listed: As read.
        hashes: Of the files that are there; empty where one could not be read.
        named: Tells how a finding calls a file.
    """
    there = {place(file): (file, digest) for file, digest in hashes.items()}
    findings = [
        Finding(named(file), "absent", "it is listed, but not there")
        for file in listed
        if file not in there and not file.is_file()
    ]
    for at, (file, digest) in there.items():
        if at not in listed:
            findings.append(Finding(named(file), "unlisted", "it is there, but not listed"))
        elif digest and listed[at].sha256 and digest != listed[at].sha256:
            says = f"its SHA-256 begins with {digest[:12]}, on the list with {listed[at].sha256[:12]}"
            findings.append(Finding(named(file), "changed", says))
    return findings
