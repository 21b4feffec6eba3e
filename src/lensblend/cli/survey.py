"""``lensblend survey``: people say how close renderings are to the camera's photos."""

from __future__ import annotations

import argparse

from lensblend.cli.parts import parts_parser, run_part

# Each is a module `lensblend.cli.survey_<part>` with `parser()` and `run(arguments)`.
PARTS = {
    "make": "folders of renderings become a blind study",
    "serve": "show a study to raters on this machine or network, and keep their answers",
    "score": "answers become mean opinion scores, or strengths, with intervals",
    "export": "write a study as files to be hosted anywhere; raters send a file of answers",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line of the verb."""
    return parts_parser("survey", "An opinion study with real people (docs/survey.md).", PARTS)


def main() -> None:
    """Run one part of the verb on its own command line."""
    run_part("survey", parser(), PARTS)


if __name__ == "__main__":
    main()
