"""``lensblend survey score``: answers in; mean opinion scores or strengths, with intervals, out."""

from __future__ import annotations

import argparse
import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.cli.flags import path, shared
from lensblend.runs.messages import say
from lensblend.storage import check_writable, new_folder

if TYPE_CHECKING:
    from lensblend.survey.answers import Answer


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part."""
    verb = argparse.ArgumentParser(
        prog="lensblend survey score",
        parents=[shared()],
        description="Score what raters answered: mean opinion scores (AIM 2019) of levels, strengths of pairs.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "answers",
        nargs="+",
        type=path,
        metavar="STUDY|CSV",
        help="a study's folder, or tables with the columns rater, image, method, other, value, expected, seconds",
    )
    verb.add_argument("--output", type=path, metavar="DIR", help="default: outputs/survey/<date and time>")
    verb.add_argument("--seed", type=_whole, default=0, metavar="S", help="of the intervals (default: 0)")
    verb.add_argument(
        "--resamples", type=_resamples, default=9999, metavar="N", help="for the intervals (default: 9999)"
    )
    rules = verb.add_argument_group("who is left out (mos.md says who and why)")
    rules.add_argument(
        "--catch-share",
        type=_share,
        default=0.25,
        metavar="SHARE",
        help="failed more than this share of catch trials (default: 0.25; 1: nobody)",
    )
    rules.add_argument(
        "--catch-tolerance",
        type=_whole,
        default=1,
        metavar="LEVELS",
        help="how far the level of a catch trial may be off (default: 1)",
    )
    rules.add_argument(
        "--least-answers", type=_whole, default=5, metavar="N", help="gave fewer answers (default: 5; 0: nobody)"
    )
    rules.add_argument(
        "--least-seconds",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="took less, as the median of all answers (default: 1; 0: nobody)",
    )
    rules.add_argument("--keep-constant", action="store_true", help="do not leave out who gave one level throughout")
    return verb


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 999999999, but got {text!r}")
    return int(text)


def _resamples(text: str) -> int:
    if not 100 <= _whole(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"a whole number from 100 to 1000000, but got {text!r}")
    return int(text)


def _share(text: str) -> float:
    if not 0 <= _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1, but got {text!r}")
    return float(text)


def _seconds(text: str) -> float:
    if not 0 <= _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds, 0 or more, but got {text!r}")
    return float(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def run(arguments: argparse.Namespace) -> None:
    """Read the answers, score them, and write and print the tables."""
    from lensblend.survey.exclusions import Rules
    from lensblend.survey.resampling import Resampling
    from lensblend.survey.scoring import score_study

    check_writable(arguments.output or Path("outputs"))
    answers = [answer for place in arguments.answers for answer in _read(place)]
    rules = Rules(
        arguments.catch_share,
        arguments.catch_tolerance,
        arguments.least_answers,
        arguments.least_seconds,
        not arguments.keep_constant,
    )
    output = arguments.output or new_folder(Path(datetime.now().strftime("outputs/survey/%Y-%m-%d/%H-%M-%S")))
    text, files = score_study(answers, rules, Resampling(arguments.resamples, arguments.seed), output)
    say(f"{text}\n{', '.join(files)} are in {output}")


def _read(place: Path) -> list[Answer]:
    from lensblend.survey.answer_files import read_answers_csv
    from lensblend.survey.store import read_answers

    return read_answers(place) if place.is_dir() else read_answers_csv(place)
