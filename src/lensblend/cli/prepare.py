"""``lensblend prepare``: captures are aligned, data sets are brought into one layout, and checked."""

from __future__ import annotations

import argparse

from lensblend.cli.parts import parts_parser, run_part

# Each is a module `lensblend.cli.prepare_<part>` with `parser()` and `run(arguments)`.
PARTS = {
    "align": "captures at a narrow and a wide aperture become aligned pairs",
    "data": "an archive or folder of a known data set becomes a checked one in the canonical layout",
    "check": "look at every file of a data set, and list all that is wrong",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line of the verb."""
    return parts_parser("prepare", "What precedes a training.", PARTS)


def main() -> None:
    """Run one part of the verb on its own command line."""
    run_part("prepare", parser(), PARTS)


if __name__ == "__main__":
    main()
