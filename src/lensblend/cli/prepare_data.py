"""``lensblend prepare data``: an archive or folder of a known data set becomes one that a training reads."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from lensblend.cli.flags import path, shared
from lensblend.errors import one_of


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part of the verb."""
    part = argparse.ArgumentParser(
        prog="lensblend prepare data",
        parents=[shared()],
        description="Bring an archive or a folder of a known data set into the layout that a training reads: files "
        "linked or copied as they are, lists of the splits, hashes, the quality of each pair. The source is never "
        "written to.",
        allow_abbrev=False,
    )
    part.add_argument("source", type=path, metavar="ARCHIVE|FOLDER", help="zip, tar (gzip, bzip2, xz), or a folder")
    part.add_argument(
        "--output", type=path, required=True, metavar="DIR", help="a new folder; one that was begun is gone on with"
    )
    part.add_argument(
        "--layout", metavar="NAME", help="of the source, where it is not found by itself (docs/prepare.md)"
    )
    part.add_argument("--copy", action="store_true", help="copy the files of a folder, which are linked otherwise")
    part.add_argument(
        "--no-quality", action="store_true", help="do not measure the pairs (half a second of a core each)"
    )
    part.add_argument("--workers", type=_workers, default=2, metavar="N", help="threads (default: 2)")
    part.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    return part


def run(arguments: argparse.Namespace) -> None:
    """Prepare a data set, or say what would be done."""
    from lensblend.preparation.datasets import Request, plan, prepare
    from lensblend.preparation.layouts import LAYOUTS

    layout: str | None = arguments.layout and one_of("--layout", arguments.layout, LAYOUTS)
    request = Request(
        arguments.source, arguments.output, layout, arguments.copy, not arguments.no_quality, arguments.workers
    )
    if arguments.dry_run:
        plan(request)
    else:
        prepare(request, _track)


def _track(items: Iterable[Any], count: int, what: str) -> Iterable[Any]:
    from rich.console import Console
    from rich.progress import track

    return track(items, what, total=count, console=Console(stderr=True), disable=count == 0)


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"a number of threads from 1 to 256, but got {text!r}")
    return int(text)
