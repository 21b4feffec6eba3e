"""``lensblend compare``: finished runs in; tables with intervals, the paper's tables and a page of pictures out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.cli import compare_depth, compare_metrics
from lensblend.cli.flags import path, run_flags, shared
from lensblend.errors import DataError
from lensblend.runs.messages import say
from lensblend.storage import check_writable, new_folder

if TYPE_CHECKING:
    from lensblend.comparison.opinions import Ratings
    from lensblend.comparison.runs import PhaseChoice
    from lensblend.comparison.studies.recipes import Recipes


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend compare",
        parents=[shared()],
        description="Score finished runs on the same validation or test images and set them side by side.",
        epilog="`lensblend compare --depth SOURCE ... --photos DIR` sets depth estimators side by side instead: "
        "`lensblend compare --depth --help`.",
    )
    verb.add_argument(
        "runs", nargs="+", type=path, metavar="FOLDER", help="runs' folders, or folders below which runs lie (sweeps)"
    )
    verb.add_argument("--output", type=path, metavar="DIR", help="default: outputs/compare/<date and time>")
    verb.add_argument("--against", metavar="NAME|FOLDER", help="the run that differences are to (default: the first)")
    verb.add_argument("--phase", metavar="NAME", help="compare this phase (default: each run's last)")
    verb.add_argument(
        "--table",
        choices=["1", "2", "3", "4", "aim2019"],
        action="append",
        default=[],
        metavar="1|2|3|4|aim2019",
        help="also write this table of the paper with our figures beside (4 compares every phase), or the AIM 2019 "
        "challenge's results and ours",
    )
    verb.add_argument(
        "--analysis",
        action="store_true",
        help="also measure weights by depth, focus and smoothness, plot them, and compute the paper's claims",
    )
    verb.add_argument(
        "--ratings", type=path, metavar="FILE", help="mos.csv of `lensblend survey score`: people's scores beside ours"
    )
    verb.add_argument(
        "--split",
        choices=["val", "test"],
        default="val",
        help="the runs' validation pairs (default), or those that nothing was chosen by",
    )
    verb.add_argument("--limit", type=_positive, metavar="N", help="score the first N images only")
    verb.add_argument(
        "--gallery-limit", type=_count, default=24, metavar="N", help="pictures on the page (default: 24; 0: no page)"
    )
    verb.add_argument(
        "--blend-at",
        choices=["network", "photo"],
        default="network",
        help="blend at the network's size and scale back (the paper; default), or at the photo's full size",
    )
    verb.add_argument(
        "--score-at",
        choices=["photo", "network"],
        default="photo",
        help="score at the photos' own size (default), or resized to the network's size",
    )
    compare_metrics.add_flags(verb)
    verb.add_argument(
        "--each-seed", action="store_true", help="a row per run also where runs differ in their seed alone"
    )
    verb.add_argument(
        "--tta",
        choices=["none", "flips"],
        default="none",
        help="flips: the mean of the renderings of a photo and its three flips",
    )
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    verb.add_argument("--again", action="store_true", help="score also what an earlier comparison has scored")
    return verb


def _positive(text: str) -> int:
    return _count(text, least=1)


def _count(text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"a whole number, {least} or more, but got {text!r}")
    return int(text)


def _choice(tables: Sequence[str]) -> PhaseChoice:
    """Return which phases of a run tables need."""
    from lensblend.comparison.runs import every_phase, last_phase

    if "4" in tables:
        return every_phase
    if "aim2019" not in tables:
        return last_phase
    from lensblend.comparison.studies.aim2019 import phases_compared

    return phases_compared


def _recipes() -> Recipes:
    """Return what runs are compared with by the tables."""
    from lensblend.cli.recipes import carried_out, recipe
    from lensblend.comparison.studies.recipes import Recipes

    return Recipes(recipe, carried_out)


def _ratings(file: Path | None) -> Ratings | None:
    """Read what people think before anything is scored."""
    if file is None:
        return None
    from lensblend.comparison.opinions import read_ratings

    return read_ratings(file)


def compare(arguments: argparse.Namespace) -> None:
    """Find the runs, score them, and write and print the tables."""
    from lensblend.comparison.runs import find_entries

    check_writable(arguments.output or Path("outputs"))
    ratings, weights = _ratings(arguments.ratings), compare_metrics.weights_named(arguments)
    entries, left_out = find_entries(arguments.runs, arguments.phase, _choice(arguments.table))
    for run in left_out:
        say(f"Left out: {run.folder}: {run.reason}")
    if not entries:
        raise DataError(f"None of the {len(left_out)} runs can be compared; see above.")
    from rich.progress import track

    from lensblend.comparison import report
    from lensblend.comparison.scored import Request
    from lensblend.comparison.studies.findings import MAPS
    from lensblend.inference.rendering import choose_device
    from lensblend.runs.files import file_sha256

    metrics = compare_metrics.build(arguments, weights)
    request = Request(
        metrics,
        choose_device(arguments.device),
        arguments.blend_at,
        arguments.score_at,
        arguments.limit,
        max(arguments.gallery_limit, MAPS if arguments.analysis else 0),
        {name: file_sha256(file) for name, file in weights.items()},
        arguments.again,
        arguments.analysis,
        compare_metrics.FOCUS[arguments.focus or "from_pair"],
        arguments.tta,
        arguments.split,
    )

    def shown(indices: Iterable[int], label: str) -> Iterable[int]:
        return track(list(indices), f"Scoring {label}")

    against = entries, left_out, arguments.against
    comparison = report.compare(*against, request, shown, arguments.each_seed)
    comparison.phase = arguments.phase
    if ratings is not None:
        comparison.rate(ratings)
    output = arguments.output or new_folder(Path(datetime.now().strftime("outputs/compare/%Y-%m-%d/%H-%M-%S")))
    comparison.recipes = _recipes() if arguments.table else None
    tables = sorted(set(arguments.table))
    say(f"\n{report.write_report(comparison, output, tables, arguments.gallery_limit)}\n")
    challenge = ", aim2019.csv" if "aim2019" in tables else ""
    page = ", gallery.html" if arguments.gallery_limit else ""
    analysis = ", analysis.csv, analysis/" if arguments.analysis else ""
    say(f"compare.md, compare.csv, scores.csv{challenge}{analysis}{page} are in {output}")


def main() -> None:
    """Run the verb and exit."""
    if compare_depth.asked(sys.argv[1:]):
        run_flags(compare_depth.parser(), compare_depth.run)
    else:
        run_flags(parser(), compare)


if __name__ == "__main__":
    main()
