"""``lensblend prepare``: captures are aligned, data sets are brought into one layout, and checked."""

from __future__ import annotations

import argparse
import importlib
import sys

from lensblend.cli.flags import run_flags

# Each is a module `lensblend.cli.prepare_<part>` with `parser()` and `run(arguments)`.
PARTS = {
    "align": "captures at a narrow and a wide aperture become aligned pairs",
    "data": "an archive or folder of a known data set becomes a checked one in the canonical layout",
    "check": "look at every file of a data set, and list all that is wrong",
}


def parser(part: str | None = None) -> argparse.ArgumentParser:
    """Return the command line of the verb, or of one part of it."""
    if part is not None:
        made: argparse.ArgumentParser = importlib.import_module(f"lensblend.cli.prepare_{part}").parser()
        return made
    verb = argparse.ArgumentParser(
        prog="lensblend prepare",
        description="What precedes a training.",
        epilog="\n".join(f"  {name:<8}{what}" for name, what in PARTS.items())
        + "\n\n`lensblend prepare PART --help` explains each.",
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
    run_flags(parser(part), importlib.import_module(f"lensblend.cli.prepare_{part}").run)


if __name__ == "__main__":
    main()
