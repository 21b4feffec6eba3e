"""``lensblend runs clean``: what runs can do without is listed and, after a question, removed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lensblend.cli.asking import add_yes, agreed
from lensblend.cli.flags import path, shared
from lensblend.errors import RequestError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from lensblend.runs.removal import Spare


def parser() -> argparse.ArgumentParser:
    """Return the command line of the part."""
    from lensblend.runs.removal import SPARE

    verb = argparse.ArgumentParser(
        prog="lensblend runs clean",
        parents=[shared()],
        description="Remove what runs in and below a folder can do without; those that are being trained stay whole.",
        epilog="\n".join(f"  {kind:<10}{what}" for kind, what in SPARE.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument("folder", type=path, metavar="FOLDER", help="a run's folder, or one below which runs lie")
    verb.add_argument(
        "--only", action="append", choices=list(SPARE), default=[], metavar="KIND",
        help=f"only this, also several times: {', '.join(SPARE)} (default: all)",
    )  # fmt: skip
    how = verb.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="list it, and remove nothing")
    add_yes(how)
    return verb


def run(arguments: argparse.Namespace) -> None:
    """List what can go, ask, and remove it."""
    from lensblend.runs.folders import run_folders, size_words
    from lensblend.runs.removal import SPARE, remove_spare, spare

    folder: Path = arguments.folder
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder; give a run's folder, or one below which runs lie.")
    kinds = arguments.only or list(SPARE)
    of_runs = {run_dir: [part for part in spare(run_dir) if part.kind in kinds] for run_dir in run_folders(folder)}
    found = {run_dir: parts for run_dir, parts in of_runs.items() if parts}
    every = [part for parts in found.values() for part in parts]
    if not every:
        print(printable(f"{folder}: nothing to remove."))
        return
    _say_what(every, kinds)
    total = f"{size_words(sum(part.size for part in every))} in {len(found)} run{'' if len(found) == 1 else 's'}"
    if arguments.dry_run:
        print(f"{total} would be removed.")
    elif agreed(f"Remove {total} for good?", arguments.yes):
        for run_dir, parts in found.items():
            remove_spare(run_dir, parts)
        print(f"Removed {total}.")


def _say_what(every: Sequence[Spare], kinds: Sequence[str]) -> None:
    """List files and folders, then what they are and how large together."""
    from lensblend.runs.folders import size_words
    from lensblend.runs.removal import SPARE

    for part in every:
        print(printable(f"{part.path}: {size_words(part.size)}"))
    print()
    for kind in kinds:
        of_kind = [part.size for part in every if part.kind == kind]
        if of_kind:
            print(f"{kind}: {len(of_kind)}, {size_words(sum(of_kind))} ({SPARE[kind]})")
