"""``lensblend compare --depth``: depth estimators and photos in; their maps side by side out (Dutta 2021, Fig. 3)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from lensblend.cli.flags import path, shared
from lensblend.errors import RequestError
from lensblend.runs.messages import say
from lensblend.storage import check_writable, new_folder

FLAG = "--depth"


def parser() -> argparse.ArgumentParser:
    """Return the command line of this way to compare."""
    verb = argparse.ArgumentParser(
        prog="lensblend compare",
        parents=[shared()],
        description="Set depth estimators side by side, map by map; without --depth, runs are compared.",
        allow_abbrev=False,
    )
    verb.add_argument(
        FLAG,
        nargs="*",
        required=True,
        metavar="SOURCE",
        help="each a checkpoint or run's folder whose network estimates depth, FILE.onnx, PRESET:FILE.onnx, a folder "
        "of maps named like the photos (white = nearest), or MegaDepth's published file",
    )
    verb.add_argument("--photos", type=path, required=True, metavar="DIR", help="the photos")
    verb.add_argument(
        "--truth", type=path, metavar="DIR", help="true disparity, named like the photos (1 = nearest): adds a table"
    )
    verb.add_argument("--limit", type=_positive, metavar="N", help="the first N photos only")
    verb.add_argument("--output", type=path, metavar="DIR", help="default: outputs/compare/<date and time>")
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return verb


def asked(arguments: Sequence[str]) -> bool:
    """Tell whether a command line of ``lensblend compare`` asks for depth."""
    return any(argument.split("=")[0] == FLAG for argument in arguments)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"a whole number, 1 or more, but got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Estimate the depth of every photo, and write the sheet, the page and, where the truth is known, the table."""
    if not arguments.depth:
        raise RequestError("`--depth` names no estimator; give one or more, such as a depth network's run.")
    check_writable(arguments.output or Path("outputs"))
    from lensblend.comparison.depth_maps import compare_depth, estimators_of, photos_in
    from lensblend.comparison.depth_report import write_depth
    from lensblend.inference.guidance import MapFiles
    from lensblend.inference.rendering import choose_device

    if arguments.truth is not None and not arguments.truth.is_dir():
        raise RequestError(f"`--truth {arguments.truth}` is not a folder; name the folder of the true maps.")
    device = choose_device(arguments.device)
    photos = photos_in(arguments.photos, arguments.limit)
    estimators = estimators_of(arguments.depth, len(photos.ids))
    for guide in estimators.values():
        guide.move_to(device)
    truth = None if arguments.truth is None else MapFiles("disparity", str(arguments.truth))
    rows = compare_depth(estimators, photos, truth, _shown)
    output = arguments.output or new_folder(Path(datetime.now().strftime("outputs/compare/%Y-%m-%d/%H-%M-%S")))
    about = [f"{label}: {source}" for label, source in zip(estimators, arguments.depth, strict=True)]
    text, files = write_depth(rows, output, [*about, f"photos: {arguments.photos}"])
    say(f"{text}\n\n{', '.join(files)} are in {output}")


def _shown(ids: Sequence[str]) -> Iterable[str]:
    from rich.console import Console
    from rich.progress import track

    return track(ids, "Estimating depth", console=Console(file=sys.stderr))
