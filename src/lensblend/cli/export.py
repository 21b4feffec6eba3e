"""``lensblend export``: a checkpoint in; a file that others can use, without its training and without pickles, out."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lensblend
from lensblend.cli.flags import path, run_flags, shared, size
from lensblend.cli.submission import OF_A_SUBMISSION, add_submission, submission
from lensblend.errors import RequestError
from lensblend.runs.messages import say
from lensblend.storage import check_writable

if TYPE_CHECKING:
    from lensblend.runs.checkpoints import Trained


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend export",
        parents=[shared()],
        description="Write a trained network as one file to be handed on, with all that it takes to rebuild it.",
    )
    verb.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a .ckpt file, a run's or phase's folder, or hf://OWNER/NAME; or see --network",
    )
    verb.add_argument(
        "--network",
        metavar="NAME",
        help="what a file that its network's authors published holds, by the name of a baseline: dbsi, dmshn, ... "
        "(docs/models/authors.md)",
    )
    verb.add_argument("--format", choices=[*FORMATS, "submission"], default="safetensors", help="default: safetensors")
    verb.add_argument(
        "--output",
        required=True,
        type=path,
        metavar="FILE",
        help="the file to write: NAME.FORMAT; NAME.zip of a submission",
    )
    verb.add_argument(
        "--photo-size",
        type=size,
        metavar="HxW",
        help="of ONNX: height and width of photos into which it blends at that size; without, photos have any size, "
        "and it blends at the network's",
    )
    verb.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="of ONNX: in which the backbone computes (default: fp32); int8 is calibrated on photos",
    )
    verb.add_argument("--overwrite", action="store_true", help="replace the file, where there is one")
    add_card(verb)
    verb.add_argument(
        "--card", action="store_true", help="also write MODEL_CARD.md beside the file: what the records say"
    )
    add_submission(verb)
    return verb


def add_card(verb: argparse.ArgumentParser) -> None:
    """Add the options of how weights are stored, and of what is said of them."""
    verb.add_argument("--half", action="store_true", help="store weights in half precision: half the size")
    verb.add_argument("--licence", metavar="TEXT", help="of the weights, to be written into the file")
    verb.add_argument("--attributions", metavar="NAME", help="the file that says whose photos it was trained on")
    verb.add_argument(
        "--f-number", type=_f_number, metavar="N", help="the aperture that its renderings show; of a network that is "
        "told f-numbers, as ONNX, the one that the file renders at (default: the least of its training)"
    )  # fmt: skip


def _f_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"a number above 0, such as 1.8, but got {text!r}")
    return number


def export(arguments: argparse.Namespace) -> None:
    """Read the checkpoint, write the file, and say what is in it."""
    output: Path = arguments.output
    suffix = SUFFIXES.get(arguments.format, f".{arguments.format}")
    if output.suffix != suffix:
        raise RequestError(f"`--output` {output} is to end in {suffix}, by which its format is known.")
    for unused in UNUSED[arguments.format]:
        if vars(arguments)[unused]:
            raise RequestError(
                f"`--{unused.replace('_', '-')}` would have no effect on the format {arguments.format}; leave it out."
            )
    if output.is_dir():
        raise RequestError(f"`--output` {output} is a folder; name a file in it.")
    for file in [output, *([output.with_name(CARD)] if arguments.card else [])]:
        if os.path.lexists(file) and not arguments.overwrite:
            raise RequestError(f"`--output` {file} exists; name another file, or add --overwrite.")
    check_writable(output.parent)
    from lensblend.cli.released import loader

    trained = loader(arguments.network)(arguments.checkpoint)
    if arguments.format == "submission":
        submission(trained, arguments)
        return
    how = FORMATS[arguments.format](trained, arguments)
    weights = sum(parameter.numel() for parameter in trained.network.parameters())
    say(
        f"{output}: {type(trained.network).__name__}, {weights:,} parameters, {output.stat().st_size:,} bytes, "
        f"from {trained.path}{how}"
    )


def card_of(trained: Trained, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what is said of a network: what its file says, and what the command line says beside or instead."""
    card = {name: vars(arguments)[name] for name in ("licence", "attributions", "f_number")}
    return {**trained.card, **{name: value for name, value in card.items() if value is not None}}


def write_safetensors(trained: Trained, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write a network's file, and return the record that is in it.

    Raises:
        RequestError: An option would have no effect, or a weight is too large for half precision.
    """
    from lensblend.runs.checkpoints import check_renders
    from lensblend.runs.publishing import published
    from lensblend.runs.safetensors_files import write_network

    if arguments.f_number is not None and trained.network.renders and check_renders(trained).f_numbers is not None:
        raise RequestError(
            "`--f-number` would have no effect: the network is told one whenever it renders; leave it out, or write "
            "ONNX, which renders at one."
        )
    record = published(trained.record, trained.config, card_of(trained, arguments))
    write_network(trained.network.state_dict(), record, arguments.output, arguments.half)
    return record


def _safetensors(trained: Trained, arguments: argparse.Namespace) -> str:
    from lensblend.storage import write_atomically

    record, output = write_safetensors(trained, arguments), arguments.output
    if not arguments.card:
        return ""
    card: Path = output.with_name(CARD)
    write_atomically(card, card_page(trained, record["card"], output, output.stem))
    return f"; {card}"


def card_page(
    trained: Trained, card: Mapping[str, Any], file: Path, title: str, before: Mapping[str, Any] | None = None
) -> str:
    """Return what the records say of a network, as Markdown.

    Args:
        trained: The network.
        card: What is said of it beside its records.
        file: The file it has been written to.
        title: The page's.
        before: Sections that come first.
    """
    from lensblend.runs.cards import facts, markdown
    from lensblend.runs.files import file_sha256

    written = replace(trained, record={**trained.record, "card": card}, sha256=file_sha256(file))
    return markdown(title, {**(before or {}), **facts(written)})


def _onnx(trained: Trained, arguments: argparse.Namespace) -> str:
    from lensblend.inference.exporting import exported
    from lensblend.inference.folding import folded
    from lensblend.runs.checkpoints import check_renders
    from lensblend.runs.contents import RECORD
    from lensblend.storage import json_text, write_atomically

    network, photo_size = folded(check_renders(trained)), arguments.photo_size
    if network.f_numbers is not None:  # kernels are constants of a graph
        arguments.f_number = arguments.f_number or network.f_numbers[0]
        network = network.at_f_number(arguments.f_number)
    about = {
        "version": lensblend.__version__,
        "config_hash": trained.record["config_hash"],
        "commits": trained.record.get("commits", {}),
        "image_size": list(trained.image_size),
        "photo_size": photo_size,
        "card": card_of(trained, arguments),
    }
    precision = arguments.precision or "fp32"
    metadata = {RECORD: json_text({**about, "precision": precision}, indent=None)}
    content, found = exported(network, trained.image_size, photo_size, metadata, precision)
    write_atomically(arguments.output, content)
    levels = f"{255 * found.largest:.2g} levels of 8 bits at most"
    at = "" if arguments.f_number is None else f" at f/{arguments.f_number:g}"
    return f"{at}; {precision}, differs from PyTorch by {levels} ({found.psnr:.0f} dB)"


FORMATS: dict[str, Callable[[Trained, argparse.Namespace], str]] = {"safetensors": _safetensors, "onnx": _onnx}
"""Each writes the file, and returns what is to be said of it beside its size."""
CARD = "MODEL_CARD.md"
SUFFIXES = {"submission": ".zip"}
UNUSED = {
    "safetensors": ("photo_size", "precision", *OF_A_SUBMISSION),
    "onnx": ("half", "card", *OF_A_SUBMISSION),
    "submission": ("photo_size", "precision", "half", "card", "licence", "attributions", "f_number"),
}


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), export)


if __name__ == "__main__":
    main()
