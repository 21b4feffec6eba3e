"""``lensblend runs rm``: the runs that are named are removed, after a question, and nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from lensblend.cli.asking import add_yes, agreed
from lensblend.cli.flags import path, shared
from lensblend.errors import printable


def parser() -> argparse.ArgumentParser:
    """Return the command line of the part."""
    verb = argparse.ArgumentParser(
        prog="lensblend runs rm",
        parents=[shared()],
        description="Remove runs with all their files. Nothing is removed where one of them cannot be.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "runs", nargs="+", type=path, metavar="RUN", help="a run's own folder, as `lensblend runs` lists it"
    )
    add_yes(verb)
    return verb


def run(arguments: argparse.Namespace) -> None:
    """Look at what is named, ask, and remove it."""
    from lensblend.runs.folders import size_of, size_words
    from lensblend.runs.removal import check_run, remove_run
    from lensblend.storage import real

    runs: list[Path] = list({real(folder.parent) / folder.name: folder for folder in arguments.runs}.values())
    for folder in runs:
        check_run(folder)
    sizes = [size_of(folder) for folder in runs]
    for folder, size in zip(runs, sizes, strict=True):
        print(printable(f"{folder}: {size_words(size)}"))
    what = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    if not agreed(f"Remove {what}, {size_words(sum(sizes))}, for good?", arguments.yes):
        return
    for folder in runs:
        remove_run(folder)
    print(f"Removed {len(runs)} run{'' if len(runs) == 1 else 's'}, {size_words(sum(sizes))}.")
