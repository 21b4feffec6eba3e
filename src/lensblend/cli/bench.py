"""``lensblend bench``: what networks cost where they run, or where a training's time goes, as tables and a chart."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.cli.children import ended, run_child, stopping_in_order
from lensblend.cli.flags import path, run_flags, shared, size
from lensblend.errors import DataError, RequestError, one_of, printable
from lensblend.runs.commands import override
from lensblend.runs.messages import say
from lensblend.storage import check_writable, new_folder

if TYPE_CHECKING:
    from lensblend.benching.cases import Case, Row, System

TRAINING = "training"
DEVICES = ("auto", "cpu", "cuda")
ROUNDS = {TRAINING: 20, "systems": 5}


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend bench",
        parents=[shared()],
        usage="lensblend bench [MODEL ...] [--baseline NAME ... | --all] [options]\n"
        "       lensblend bench training [OVERRIDE ...] [--rounds N] [--output DIR]",
        description="Measure seconds, memory and operations of networks, each combination in a process of its own; or "
        "where the time of a training goes. What cannot be measured is a row with its reason.",
    )
    verb.add_argument(
        "systems",
        nargs="*",
        metavar="MODEL",
        help="checkpoints, exported files, runs' or phases' folders, hf://OWNER/NAME, or `default`, the model in the "
        "box (default: that one, unless baselines are named); or the word `training` and Hydra overrides, as of "
        "`lensblend train`",
    )
    which = verb.add_mutually_exclusive_group()
    which.add_argument("--baseline", nargs="+", metavar="NAME", help="published methods, with random weights")
    which.add_argument("--all", action="store_true", help="all published methods")
    verb.add_argument("--device", nargs="+", metavar="D", help="auto, cpu, cuda (default: auto)")
    verb.add_argument("--engine", nargs="+", metavar="E", help="torch, compile, onnx, openvino (default: torch)")
    verb.add_argument("--precision", nargs="+", metavar="P", help="fp32, bf16, fp16, int8 (default: fp32)")
    verb.add_argument(
        "--image-size",
        nargs="+",
        type=size,
        metavar="HxW",
        help="of photos (default: the size a model works at; 1024x1536 for baselines)",
    )
    verb.add_argument("--batch", nargs="+", type=_count, metavar="N", help="photos at once (default: 1)")
    verb.add_argument(
        "--rounds",
        type=_count,
        metavar="N",
        help=f"batches timed after the first (default: {ROUNDS['systems']}); of a training, steps of each phase "
        f"(default: {ROUNDS[TRAINING]})",
    )
    verb.add_argument(
        "--scores", type=path, metavar="FILE", help="compare.csv of `lensblend compare`, for the chart's other axis"
    )
    verb.add_argument("--output", type=path, metavar="DIR", help="default: outputs/bench/<date and time>")
    return verb


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"a whole number, 1 or more, but got {text!r}")
    return int(text)


def bench(arguments: argparse.Namespace) -> None:
    """Measure what the command line asks for."""
    check_writable(arguments.output or Path("outputs"))
    if arguments.systems[:1] == [TRAINING]:
        _bench_training(arguments, arguments.systems[1:])
    else:
        _bench_systems(arguments)


def _bench_systems(arguments: argparse.Namespace) -> None:
    from lensblend.benching.report import write_systems
    from lensblend.benching.scores import scores_of
    from lensblend.benching.surroundings import surroundings

    systems = _systems(arguments)
    cases = _cases(arguments, systems)
    scores = scores_of(systems, arguments.scores) if arguments.scores else None
    about = surroundings(_command())
    with stopping_in_order():
        rows = _measured(cases)
    output = arguments.output or _new_folder()
    say(f"\n{write_systems(rows, scores, about, output)}\n")
    measured = [row for row in rows if row.measured]
    say(f"bench.md, bench.csv, bench.json{', chart.png' if (output / 'chart.png').exists() else ''} are in {output}")
    if not measured:
        raise DataError(f"None of the {len(rows)} rows could be measured: {rows[0].reason}")


def _systems(arguments: argparse.Namespace) -> list[System]:
    """Return what is to be measured, each once.

    Raises:
        RequestError: A model is not there, or a baseline is not known.
    """
    from lensblend.benching.cases import System
    from lensblend.cli.recipes import baselines, recipe
    from lensblend.runs.checkpoints import find_checkpoint

    known = baselines()
    named = known if arguments.all else list(dict.fromkeys(arguments.baseline or []))
    for name in named:
        one_of("baseline", name, known)
    models = list(dict.fromkeys(arguments.systems)) or ([] if named else ["default"])
    for model in models:
        find_checkpoint(model)
    return [
        *(System(model, model=model) for model in models),
        *(System(name, node=recipe(name)["model"]) for name in named),
    ]


def _cases(arguments: argparse.Namespace, systems: Sequence[System]) -> list[Case]:
    """Return every combination that the flags ask for.

    Raises:
        RequestError: A flag's value is not known, or there is no GPU.
    """
    import torch

    from lensblend.benching.cases import cases_of
    from lensblend.inference.engines import ENGINES, PRECISIONS

    devices, engines, precisions, sizes, batches = (
        list(dict.fromkeys(given or [default]))
        for given, default in (
            (arguments.device, "auto"),
            (arguments.engine, "torch"),
            (arguments.precision, "fp32"),
            (arguments.image_size, None),
            (arguments.batch, 1),
        )
    )
    for key, values, known in (
        ("device", devices, DEVICES),
        ("engine", engines, ENGINES),
        ("precision", precisions, PRECISIONS),
    ):
        for value in values:
            one_of(key, value, known)
    if "cuda" in devices and not torch.cuda.is_available():
        raise RequestError("`device` 'cuda' cannot be used: PyTorch finds no GPU here; try auto or cpu.")
    rounds = arguments.rounds or ROUNDS["systems"]
    return list(cases_of(systems, sizes, devices, engines, precisions, batches, rounds))


def _measured(cases: Sequence[Case]) -> list[Row]:
    """Measure one case after the other; what fails is said at once."""
    from rich.console import Console
    from rich.progress import Progress

    from lensblend.benching.cases import Row
    from lensblend.benching.measuring import measure
    from lensblend.benching.processes import in_own_process

    rows = []
    with Progress(console=Console(stderr=True)) as progress:
        shown = progress.add_task("Measuring", total=len(cases))
        for case in cases:
            progress.update(shown, description=printable(case.system.name).replace("[", r"\["))
            try:
                rows.append(Row(case, in_own_process(measure, case)))
            except DataError as error:
                rows.append(Row(case, reason=str(error)))
                said = printable(f"{case.system.name}: {error}")
                progress.console.print(said, markup=False, highlight=False, soft_wrap=True)
            progress.advance(shown)
    return rows


def _bench_training(arguments: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Train briefly as ``lensblend train`` does, in a folder that is removed, and write where the time went.

    Raises:
        RequestError: A flag or an override would have no effect.
        LensblendError: The training failed; its own message has been printed.
    """
    from lensblend.benching.surroundings import surroundings
    from lensblend.benching.training import arguments_of, check_overrides, phases_in, write_training

    _refuse_idle(arguments)
    check_overrides(overrides)
    rounds = arguments.rounds or ROUNDS[TRAINING]
    about = surroundings(_command())
    with tempfile.TemporaryDirectory(prefix="lensblend-") as folder:
        # What it says is no table.
        code = run_child("train", *arguments_of(overrides, rounds), override("run_dir", folder), stdout=2)
        if code != 0:
            raise ended(f"Nothing was measured: the training ended with exit code {code}; see above.", code)
        phases = phases_in(Path(folder))
    output = arguments.output or _new_folder()
    say(f"\n{write_training(phases, rounds, about, output)}\n")
    say(f"bench.md, bench.csv, bench.json are in {output}")


def _refuse_idle(arguments: argparse.Namespace) -> None:
    """Refuse flags of networks beside a training."""
    for name in ("baseline", "all", "device", "engine", "precision", "image_size", "batch", "scores"):
        if vars(arguments)[name]:
            raise RequestError(
                f"`--{name.replace('_', '-')}` would have no effect on `bench training`: leave it out, and give "
                "overrides of `lensblend train`, such as trainer=gpu."
            )


def _new_folder() -> Path:
    return new_folder(Path(datetime.now().strftime("outputs/bench/%Y-%m-%d/%H-%M-%S")))


def _command() -> str:
    return shlex.join(["lensblend", "bench", *sys.argv[1:]])


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), bench)


if __name__ == "__main__":
    main()
