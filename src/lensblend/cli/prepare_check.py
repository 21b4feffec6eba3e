"""``lensblend prepare check``: every file of a data set is looked at, and all that is wrong is listed in one run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.cli.flags import path, shared
from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import say
from lensblend.storage import check_writable, json_text, write_atomically

if TYPE_CHECKING:
    from lensblend.preparation.checking import Report
    from lensblend.preparation.inspection import Look


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part."""
    verb = argparse.ArgumentParser(
        prog="lensblend prepare check",
        parents=[shared()],
        description="Decode every file of a data set, compare every pair, and list all that is wrong.",
        epilog="Exit code 1 where anything is wrong; notes alone are no fault.",
        allow_abbrev=False,
    )
    verb.add_argument("folder", nargs="?", type=path, metavar="FOLDER", help="a data set in any known layout")
    verb.add_argument("--photos", type=path, metavar="DIR", help="instead of FOLDER: photos, with --targets")
    verb.add_argument("--targets", type=path, metavar="DIR", help="their partners, which have equal names")
    verb.add_argument(
        "--manifest",
        type=path,
        metavar="FILE",
        help="CSV with the columns file and sha256, against which all is held (FOLDER is then its own by default)",
    )
    verb.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    verb.add_argument("--fast", action="store_true", help="do not measure how target and photo fit each other")
    verb.add_argument("--csv", type=path, metavar="FILE", help="also write the table as CSV")
    verb.add_argument("--json", type=path, metavar="FILE", help="also write the table and counts as JSON")
    return verb


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 256, but got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Look at the data set, print what is wrong, and write it.

    Raises:
        DataError: Something is wrong with the data set.
    """
    folder, targets = _folders(arguments)
    for file in (arguments.csv, arguments.json):
        if file is not None:
            check_writable(file.parent)
    from lensblend.preparation.checking import Request, check
    from lensblend.preparation.findings import findings_csv, findings_table

    request = Request(folder, targets, arguments.manifest, arguments.workers, not arguments.fast)
    report = check(request, _shown)
    if report.findings:
        say(f"{findings_table(report.findings)}\n")
    if arguments.csv is not None:
        write_atomically(arguments.csv, findings_csv(report.findings))
    if arguments.json is not None:
        write_atomically(arguments.json, json_text(_content(report)) + "\n")
    if report.counts(notes=False):
        raise DataError(report.summary())
    say(report.summary())


def _folders(arguments: argparse.Namespace) -> tuple[Path, Path | None]:
    """Return the data set's folder and none, or the folders of photos and of targets."""
    photos: Path | None = arguments.photos
    targets: Path | None = arguments.targets
    folder: Path | None = arguments.folder or (arguments.manifest and arguments.manifest.parent)
    if (photos is None) != (targets is None) or (photos and arguments.folder):
        raise RequestError("Give FOLDER, or else both --photos and --targets.")
    if photos is not None:
        return photos, targets
    if folder is None:
        raise RequestError("Nothing to look at: give FOLDER, --photos and --targets, or --manifest.")
    return folder, None


def _shown(looks: Iterator[Look], total: int) -> Iterator[Look]:
    from rich.console import Console
    from rich.progress import track

    return iter(track(looks, "Looking", total=total, console=Console(file=sys.stderr)))


def _content(report: Report) -> dict[str, object]:
    findings = [
        {"file": f.file, "kind": f.kind, "note": f.is_note, "what": f.what, "remedy": f.helps()}
        for f in report.findings
    ]
    counts = {"problems": report.counts(notes=False), "notes": report.counts(notes=True)}
    return {"layout": report.layout, "files": report.files, "pairs": report.pairs, **counts, "findings": findings}
