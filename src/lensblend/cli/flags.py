"""The flag that every verb takes, and how a verb with ordinary flags runs and ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from lensblend.cli.surroundings import settle
from lensblend.errors import LensblendError, printable
from lensblend.runs.extensions import admit
from lensblend.storage import DISK_ERRORS, cannot_write


def shared() -> argparse.ArgumentParser:
    """Return the part of a command line that all verbs have."""
    part = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    part.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="your own package, whose classes configurations and checkpoints may then name (docs/extending.md)",
    )
    return part


def path(text: str) -> Path:
    """Return the path that an argument names; an empty one, of a variable without a value, is not the current folder.

    Raises:
        argparse.ArgumentTypeError: It is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("is a path, but got ''; write . for the current folder")
    return Path(text)


def size(text: str) -> tuple[int, int]:
    """Return the height and width that an argument names.

    Raises:
        argparse.ArgumentTypeError: It names none, or sides that no network takes.

    Example:
        >>> size("1024x1536")
        (1024, 1536)
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and 32 <= int(side) < 2**15 for side in sides):
        raise argparse.ArgumentTypeError(f"height and width, 32 pixels or more, such as 1024x1536, but got {text!r}")
    return int(sides[0]), int(sides[1])


def run_flags(verb: argparse.ArgumentParser, task: Callable[[argparse.Namespace], None]) -> None:
    """Run a verb with ordinary flags and exit; an error that a user can correct is answered with its message alone."""
    settle()
    arguments = verb.parse_args()
    try:
        admit(arguments.allow)
        task(arguments)
    except LensblendError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None or error.errno not in DISK_ERRORS:
            raise
        sys.stderr.write(f"{printable(cannot_write(Path(error.filename), error))}\n")
        sys.exit(1)
