"""``lensblend prepare align``: photos taken twice, at a narrow and a wide aperture, become aligned pairs."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.cli.flags import path, shared
from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import say
from lensblend.storage import check_writable, real, remove

if TYPE_CHECKING:
    from lensblend.preparation.aligning import Outcome, Settings, Task
    from lensblend.preparation.captures import Capture

TABLE, REPORT = "pairs.csv", "report.html"
_LISTED = 5


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part."""
    part = argparse.ArgumentParser(
        prog="lensblend prepare align",
        parents=[shared()],
        description="Lay the photo at the wide aperture on the one at the narrow aperture, crop both to what they "
        "share, and write them as pairs to train on (docs/prepare.md).",
        allow_abbrev=False,
    )
    part.add_argument("folder", type=path, metavar="RAW_FOLDER", help="holds the photos as they were taken")
    part.add_argument("-o", "--output", type=path, required=True, metavar="DIR", help="for Training/{original,bokeh}")
    part.add_argument("--pairs", type=path, metavar="FILE.csv", help="which belong together: columns narrow and wide")
    part.add_argument(
        "--model",
        choices=("homography", "affine", "similarity"),
        default="similarity",
        help="of what differs between the two; the fewer numbers, the steadier (default: similarity)",
    )
    part.add_argument(
        "--height",
        type=_count,
        default=1024,
        metavar="N",
        help="of the pairs in pixels, never enlarged (default: 1024)",
    )
    part.add_argument("--match-exposure", action="store_true", help="give the wide photo the narrow one's exposure")
    part.add_argument("--format", choices=("jpg", "png"), default="jpg", help="of the pairs (default: jpg)")
    part.add_argument("--quality", type=_quality, default=97, metavar="1-100", help="of JPEG (default: 97)")
    part.add_argument("--workers", type=_count, default=1, metavar="N", help="processes (default: 1)")
    part.add_argument("--overwrite", action="store_true", help="align anew, and replace what is there")
    return part


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**15:
        raise argparse.ArgumentTypeError(f"is a whole number from 1, but got {text!r}")
    return int(text)


def _quality(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"is a whole number from 1 to 100, but got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Align what is missing or has changed, and say what became of all.

    Raises:
        RequestError: The folders do not fit, or hold what would be replaced.
        DataError: No pair was accepted.
    """
    from lensblend.preparation.aligning import Settings, align_all, finished
    from lensblend.preparation.captures import find_captures
    from lensblend.preparation.raw import check_raw, is_raw
    from lensblend.preparation.report import write_report, write_table

    output: Path = arguments.output
    _check_apart(arguments.folder, output)
    found = find_captures(real(arguments.folder), arguments.pairs)
    for photo in [p for capture in found.captures for p in (capture.narrow, capture.wide) if is_raw(p)]:
        check_raw(photo)
        break
    _say_passed_over(found.passed_over)
    check_writable(output)
    settings = Settings(
        arguments.model, arguments.height, arguments.match_exposure, arguments.format, arguments.quality
    )
    earlier = _earlier(output, settings, arguments.overwrite)
    tasks = _tasks(found.captures, output, settings, earlier)
    done = dict(earlier)
    for task in tasks:
        done.pop(task.number, None)
    done |= {task.number: outcome for task in tasks if (outcome := finished(task)) is not None}
    left = [task for task in tasks if task.number not in done]
    say(f"{len(tasks)} captures in {arguments.folder}" + (f"; {len(done)} aligned earlier" if done else ""))
    for count, outcome in enumerate(align_all(left, arguments.workers), 1):
        done[outcome.number] = outcome
        say(f"[{count}/{len(left)}] {_line(outcome)}")
    outcomes = [done[number] for number in sorted(done)]
    write_table(output / TABLE, outcomes, settings)
    write_report(output / REPORT, outcomes, settings, found.passed_over)
    accepted = sum(outcome.problem is None for outcome in outcomes)
    say(f"{accepted} of {len(outcomes)} pairs accepted, in {output}; look at {output / REPORT}")
    if not accepted:
        raise DataError(f"No pair was accepted; {output / TABLE} says why of each.")


def _line(outcome: Outcome) -> str:
    if outcome.problem is not None:
        return f"{outcome.name}: refused, {outcome.problem}"
    return f"{outcome.name}: {outcome.figures['inliers']} inliers, residual {outcome.figures['residual']:.2f} px"


def _check_apart(folder: Path, output: Path) -> None:
    if real(folder) == real(output):
        raise RequestError(f"`{output}` holds the photos themselves; choose another --output.")


def _say_passed_over(lines: Sequence[str]) -> None:
    for line in lines[:_LISTED]:
        say(f"Passed over: {line}")
    if len(lines) > _LISTED:
        say(f"Passed over: {len(lines) - _LISTED} more; {REPORT} lists all")


def _earlier(output: Path, settings: Settings, overwrite: bool) -> dict[int, Outcome]:
    """Return by number what an earlier start recorded; to overwrite removes it.

    Raises:
        RequestError: The output holds pairs that were made with other options, or by others.
    """
    from lensblend.preparation.aligning import RECORDS, TRAINING, read_record

    files = [file for file in sorted((output / TRAINING).glob("*/*")) if file.is_file()]
    records = {file: read_record(file) for file in sorted((output / RECORDS).glob("*.json"))}
    ours = {file.stem for file in records}
    foreign = [file for file in files if file.stem not in ours]
    if foreign:
        raise RequestError(f"`{foreign[0]}` was not made by this command; choose another --output.")
    if overwrite:
        for file in (*files, *records):
            remove(file)
        return {}
    if any(record is not None and record.settings not in (None, settings) for record in records.values()):
        raise RequestError(
            f"`{output}` holds pairs that were aligned with other options; add --overwrite, or choose another --output."
        )
    return {record.outcome.number: record.outcome for record in records.values() if record is not None}


def _tasks(captures: Sequence[Capture], output: Path, settings: Settings, earlier: Mapping[int, Outcome]) -> list[Task]:
    """Return what there is to do; a capture that was there earlier keeps its number, and new ones come after all."""
    from lensblend.preparation.aligning import Task

    known = {outcome.narrow: number for number, outcome in earlier.items()}
    numbers = itertools.count(max(earlier, default=-1) + 1)
    return [
        Task(c, known[str(c.narrow)] if str(c.narrow) in known else next(numbers), output, settings) for c in captures
    ]
