"""``lensblend survey make``: folders of renderings become a blind study."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lensblend.cli.flags import path, shared
from lensblend.errors import RequestError
from lensblend.runs.messages import say
from lensblend.storage import check_writable


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part."""
    part = argparse.ArgumentParser(
        prog="lensblend survey make",
        parents=[shared()],
        description="Choose photos at random, and put every method's rendering of each beside the camera's photo, "
        "under names that tell nothing.",
        allow_abbrev=False,
    )
    part.add_argument(
        "methods", nargs="+", metavar="NAME=FOLDER", help="a method's name and its renderings, named as the targets"
    )
    part.add_argument("--targets", type=path, required=True, metavar="DIR", help="the camera's photos")
    part.add_argument("-o", "--output", type=path, required=True, metavar="STUDY", help="a new folder")
    part.add_argument("--images", type=_count, default=10, metavar="N", help="photos (default: 10, as AIM 2019)")
    part.add_argument(
        "--mode",
        choices=("levels", "pairs"),
        default="levels",
        help="five levels of each rendering beside the original (AIM 2019; default), or the closer of two renderings",
    )
    part.add_argument(
        "--catch",
        type=_none_or_more,
        metavar="N",
        help="photos that also have a trial whose answer is known (default: 2, or all of fewer)",
    )
    part.add_argument("--seed", type=_none_or_more, default=0, metavar="S", help="chooses the photos (default: 0)")
    part.add_argument("--title", default="A study of blurred backgrounds", metavar="T", help="of the page")
    part.add_argument("--format", choices=("png", "jpg"), default="png", help="of the images (default: png, no loss)")
    return part


def _count(text: str, least: int = 1) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"is a whole number from {least}, but got {text!r}")
    return int(text)


def _none_or_more(text: str) -> int:
    return _count(text, 0)


def run(arguments: argparse.Namespace) -> None:
    """Make the study, and say what comes next."""
    from lensblend.survey.making import Request, make

    output: Path = arguments.output
    methods = _methods(arguments.methods)
    check_writable(output.parent)
    catch = min(2, arguments.images) if arguments.catch is None else arguments.catch
    request = Request(
        arguments.targets,
        methods,
        arguments.images,
        arguments.mode,
        catch,
        arguments.seed,
        _title(arguments.title),
        arguments.format,
    )
    study = make(request, output, _track)
    said = f"{len(methods)} methods, {request.images} photos, {catch} catch trials"
    say(f"{output}: {len(study.trials)} trials a rater ({said}). Keep {output / 'key.json'} to yourself.")
    say(f"`lensblend survey serve {output}` shows it to raters, `lensblend survey export` writes it to be hosted.")


def _methods(texts: Sequence[str]) -> dict[str, Path]:
    """Return folders by name.

    Raises:
        RequestError: One is not of the form, or a name stands twice.
    """
    methods: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not name or not folder:
            raise RequestError(f"A method is NAME=FOLDER, such as ours=outputs/render, but got {text!r}.")
        if name in methods:
            raise RequestError(f"`{name}` names two folders; give each method a name of its own.")
        methods[name] = Path(folder)
    return methods


def _title(text: str) -> str:
    if not text.isprintable() or not 0 < len(text.strip()) <= 200:
        raise RequestError(f"`--title` is one line of 1 to 200 letters, but got {text!r}.")
    return text.strip()


def _track(names: Sequence[str]) -> Iterable[str]:
    from rich.console import Console
    from rich.progress import track

    return track(names, "Writing images", console=Console(file=sys.stderr))
