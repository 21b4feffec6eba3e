"""``lensblend survey export``: a study as files to be hosted anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from lensblend.cli.flags import path, shared
from lensblend.errors import RequestError
from lensblend.runs.messages import say
from lensblend.storage import check_writable


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part."""
    part = argparse.ArgumentParser(
        prog="lensblend survey export",
        parents=[shared()],
        description="Write a study's page and images to be hosted anywhere. Answers stay in each rater's browser until "
        "the rater downloads them as a file; the files go into STUDY/answers/.",
        allow_abbrev=False,
    )
    part.add_argument("study", type=path, metavar="STUDY", help="a folder of `lensblend survey make`")
    part.add_argument("-o", "--output", type=path, required=True, metavar="DIR", help="a new folder")
    return part


def run(arguments: argparse.Namespace) -> None:
    """Write the files, and say what comes next.

    Raises:
        RequestError: The output is there already.
    """
    from lensblend.survey.pages import export
    from lensblend.survey.study import read_study

    study, output = read_study(arguments.study), arguments.output
    check_writable(output.parent)
    _refuse_existing(output)
    count = export(arguments.study, study, output)
    say(f"{count} files in {output}: host them anywhere, or open {output / 'index.html'}.")
    say(f"Files of answers that raters send go into {arguments.study / 'answers'}.")


def _refuse_existing(output: Path) -> None:
    if output.is_symlink() or output.exists():
        raise RequestError(f"`{output}` is there already, and nothing is replaced; choose another --output.")
