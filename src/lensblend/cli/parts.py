"""A verb of several parts, each a module ``lensblend.cli.<verb>_<part>`` with ``parser()`` and ``run(arguments)``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from typing import Any

from lensblend.cli.flags import run_flags


def parts_parser(verb: str, description: str, parts: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the command line of the verb itself, which names a part.

    Args:
        verb: Its name.
        description: What it is for.
        parts: What each part does.
    """
    parser = argparse.ArgumentParser(
        prog=f"lensblend {verb}",
        description=description,
        epilog="\n".join(f"  {name:<8}{what}" for name, what in parts.items())
        + f"\n\n`lensblend {verb} PART --help` explains each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("part", choices=list(parts), metavar="PART")
    return parser


def part_module(verb: str, part: str) -> Any:
    """Import one part of a verb; the others are not needed."""
    return importlib.import_module(f"lensblend.cli.{verb}_{part}")


def run_part(verb: str, parser: argparse.ArgumentParser, parts: Mapping[str, str]) -> None:
    """Run the part that the command line names on what follows its name, and exit."""
    if len(sys.argv) < 2 or sys.argv[1] not in parts:
        parser.parse_args(sys.argv[1:2])
    module = part_module(verb, sys.argv.pop(1))
    run_flags(module.parser(), module.run)
