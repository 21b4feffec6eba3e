"""``lensblend survey``: people rate renderings, and their answers become scores."""

from __future__ import annotations

import argparse
import importlib
import sys

from lensblend.cli.flags import run_flags

# Each is a module `lensblend.cli.survey_<part>` with `parser()` and `run(arguments)`.
PARTS = {"score": "answers become mean opinion scores, or strengths, with intervals"}


def parser(part: str | None = None) -> argparse.ArgumentParser:
    """Return the command line of the verb, or of one part of it."""
    if part is not None:
        made: argparse.ArgumentParser = importlib.import_module(f"lensblend.cli.survey_{part}").parser()
        return made
    verb = argparse.ArgumentParser(
        prog="lensblend survey",
        description="Opinion studies with real people.",
        epilog="\n".join(f"  {name:<8}{what}" for name, what in PARTS.items())
        + "\n\n`lensblend survey PART --help` explains each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument("part", choices=list(PARTS), metavar="PART")
    return verb


def main() -> None:
    """Run one part of the verb on its own command line."""
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        parser().parse_args(sys.argv[1:2])
    part = sys.argv.pop(1)
    run_flags(parser(part), importlib.import_module(f"lensblend.cli.survey_{part}").run)


if __name__ == "__main__":
    main()
