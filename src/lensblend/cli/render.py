"""``lensblend render``: photos and a trained network in, rendered photos, or a prior network's maps, out.

`lensblend.cli.photo_files` says which photos, and into which files; `lensblend.cli.photo_steps` what is done with one.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensblend.cli.controls import Controls, add_controls, controls_of
from lensblend.cli.flags import path, run_flags, shared, size
from lensblend.cli.photo_files import STREAM, Job, jobs_of, kept_back, streams_out
from lensblend.cli.ways import check_flags, check_network, check_quality
from lensblend.data.listing import FORMATS
from lensblend.errors import DataError, LensblendError, RequestError, StorageError
from lensblend.runs.messages import say

if TYPE_CHECKING:
    import torch

    from lensblend.cli.photo_steps import Step
    from lensblend.inference.prior_maps import Guide
    from lensblend.runs.checkpoints import Trained

GUIDANCE = ("saliency", "disparity")  # maps whose source can be named on the command line
LENS_TOO = ", and for the thin lens, also as one map for one photo"
MEGAPIXELS = 100
QUALITY = 95


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend render",
        parents=[shared()],
        description="Render bokeh into photos of any size; with a saliency or depth network, picture its maps.",
    )
    verb.add_argument(
        "photos", nargs="+", type=path, metavar="PHOTO|FOLDER|-", help="photos, folders of photos, - for standard input"
    )
    verb.add_argument(
        "-m",
        "--model",
        nargs="+",
        metavar="CHECKPOINT",
        help="a .ckpt or .safetensors file, a run's or phase's folder, or hf://OWNER/NAME; several render the mean of "
        "what each renders (default: `default`, the model in the box)",
    )
    verb.add_argument(
        "--network",
        metavar="NAME",
        help="what a model that its network's authors published holds, by the name of a baseline: dbsi, dmshn, ... "
        "(docs/models/authors.md)",
    )
    _add_output(verb)
    add_controls(verb)
    verb.add_argument("--weights", action="store_true", help="also write the weight maps as pictures")
    verb.add_argument("--depth", action="store_true", help="also picture inverse depth, where the network predicts it")
    for name in GUIDANCE:
        verb.add_argument(
            f"--{name}",
            metavar="SOURCE",
            help=f"for networks that take {name}{LENS_TOO if name == 'disparity' else ''}: a folder of maps named like "
            "the photos, any network as FILE.onnx or PRESET:FILE.onnx, or weights of the network that gave it in the "
            "training (default: as in the training)",
        )
    verb.add_argument(
        "--blend-at",
        choices=["network", "photo"],
        help="blend at the photo's full size, or at the network's and scale back as the paper does (default: photo, "
        "where the network can)",
    )
    verb.add_argument(
        "--image-size",
        type=size,
        metavar="HxW",
        help="at which a network works, turned like each photo (default: the size of its training)",
    )
    verb.add_argument("--device", help="where a network computes: auto, cpu or cuda (default: auto)")
    verb.add_argument("--engine", metavar="E", help="what computes it: torch, compile, onnx, openvino (default: torch)")
    verb.add_argument("--precision", metavar="P", help="fp32, bf16, fp16 or int8, as the engine offers (default: fp32)")
    verb.add_argument("--fast", action="store_true", help="blur on coarser grids: Gaussians, within half a level")
    verb.add_argument(
        "--max-megapixels",
        type=_positive,
        default=MEGAPIXELS,
        metavar="N",
        help=f"refuse larger photos before they are read (default: {MEGAPIXELS})",
    )
    return verb


def _add_output(verb: argparse.ArgumentParser) -> None:
    """Add the options of where renderings go, and in which form."""
    verb.add_argument(
        "-o",
        "--output",
        type=path,
        metavar="FILE|DIR|-",
        help="a file, by its suffix; a folder; - for standard output (default: NAME-bokeh.SUFFIX beside each photo)",
    )
    verb.add_argument("-r", "--recursive", action="store_true", help="take photos in subfolders as well")
    there = verb.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace renderings that are there")
    there.add_argument("--skip-existing", action="store_true", help="leave out photos whose renderings are there")
    verb.add_argument("--format", choices=FORMATS, help="of renderings (default: as the photo, or by -o's suffix)")
    verb.add_argument(
        "--quality", type=_quality, metavar="1-100", help=f"of JPEG and WebP (default: {QUALITY}); others lose none"
    )
    verb.add_argument("--json", action="store_true", help="say on standard output what became of each photo, as JSON")


def _quality(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"is a whole number from 1 to 100, but got {text}")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"is a number above 0, but got {text}")
    return number


def render(arguments: argparse.Namespace) -> None:
    """Render every photo; those that cannot be are named before the work begins, and do not stop the others."""
    if streams_out(arguments) and arguments.json:
        raise RequestError("`--json` and the picture would both go to standard output; give `--output` a file.")
    controls = controls_of(arguments)
    check_flags(arguments, controls)
    # Only pictures and JSON go to standard output.
    stream = sys.stdout if arguments.json else None
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        spool = tempfile.TemporaryDirectory(prefix="lensblend-") if STREAM in arguments.photos else None
        jobs = jobs_of(arguments, Path(stack.enter_context(spool)) if spool else None)
        check_quality(arguments.quality, {job.image_format for job in jobs})
        arguments.quality = arguments.quality or QUALITY
        render_all(jobs, arguments, controls, stream)


def render_all(jobs: Sequence[Job], arguments: argparse.Namespace, controls: Controls, stream: Any) -> None:
    """Render photos, and write a line of JSON to a stream for each, where there is one.

    Raises:
        DataError: Some could not be rendered; the message names all of them.
    """
    from rich.console import Console
    from rich.progress import Progress

    from lensblend.cli.lens_steps import lens_guides
    from lensblend.cli.photo_report import Report
    from lensblend.cli.photo_steps import map_names, settings_of, written_for
    from lensblend.inference.engines import device_for
    from lensblend.inference.guidance import guides_of

    device = device_for(arguments.engine or "torch", "cpu" if controls.uses_lens else arguments.device or "auto")
    trained = None if controls.uses_lens else trained_for(arguments, device)
    names = map_names(trained, arguments) if trained else []
    renders = trained is None or trained.network.renders
    _check_maps(jobs, names, renders, arguments.format)
    files = {job: written_for(job, names, renders) for job in jobs}
    settings = settings_of(trained, arguments) if trained else controls.settings
    report = Report(files, {"device": str(device), "settings": settings}, stream)
    there = {job for job in jobs if arguments.skip_existing and any(file.exists() for file in files[job])}
    wanted = [job for job in jobs if job not in there]
    kept_back([file for job in wanted for file in files[job]], arguments.overwrite)
    sources = {name: vars(arguments)[name] for name in GUIDANCE}
    guides = guides_of(trained, sources) if trained else lens_guides(controls, len(jobs))
    for job in there:
        report.skipped(job)
    for job, reason in unusable(wanted, guides, int(arguments.max_megapixels * 1e6)).items():
        report.failed(job, reason)
    if report.failures:
        say("These photos will be left out:\n  " + "\n  ".join(report.failures.values()))
    good = [job for job in wanted if job not in report.failures]
    with Progress(console=Console(stderr=True), disable=not good) as progress:
        shown = progress.add_task("Rendering", total=len(good))
        number = 0

        def advance(part: float) -> None:
            progress.update(shown, completed=number + part)

        step = _step(trained, controls, arguments, guides, advance)
        for number, job in enumerate(good):
            started = time.monotonic()
            try:
                size = step(job)
            except LensblendError as error:
                report.failed(job, str(error))
                if isinstance(error, StorageError):  # the next would not be written either
                    break
            else:
                report.rendered(job, size, time.monotonic() - started)
            progress.update(shown, completed=number + 1)
    report.conclude(arguments.output)


def _step(
    trained: Trained | None,
    controls: Controls,
    arguments: argparse.Namespace,
    guides: Mapping[str, Guide],
    advance: Callable[[float], None],
) -> Step:
    """Return what renders one photo, or pictures its maps."""
    from lensblend.cli.lens_steps import lens_step
    from lensblend.cli.photo_steps import estimating_step, rendering_step

    if trained is None:
        return lens_step(controls, arguments, guides, advance)
    if trained.network.renders:
        return rendering_step(trained, arguments, guides, advance)
    return estimating_step(trained, arguments)


def trained_for(arguments: argparse.Namespace, device: torch.device) -> Trained:
    """Load the model, and refuse what it cannot do."""
    from lensblend.cli.released import loader
    from lensblend.inference.engines import check_engine
    from lensblend.inference.folding import folded
    from lensblend.inference.served import served
    from lensblend.runs.checkpoints import check_renders, load_ensemble
    from lensblend.runs.models import model_file

    if arguments.network is not None and not arguments.model:
        raise RequestError("`--network` says what a file of its authors holds, but there is none; add `--model FILE`.")
    engine, precision = arguments.engine or "torch", arguments.precision or "fp32"
    check_engine(engine, precision, device)
    trained = load_ensemble(arguments.model or [model_file("default")], loader(arguments.network))
    if arguments.image_size is not None:
        trained = replace(trained, record={**trained.record, "image_size": list(arguments.image_size)})
    folded(trained.network).to(device)
    check_network(arguments, trained)
    if not trained.network.renders:
        return trained
    network = check_renders(trained)
    network = network.quick() if arguments.fast else network
    return replace(trained, network=served(network, engine, precision, trained.sha256))


def unusable(jobs: Sequence[Job], guides: Mapping[str, Guide], max_pixels: int) -> dict[Job, str]:
    """Return why photos cannot be rendered, as far as headers tell: unreadable, or without a map that is needed."""
    from lensblend.data.files import FilePairs, PairFiles
    from lensblend.data.images import read_size
    from lensblend.data.listing import check_holds

    failures = {}
    for job in jobs:
        pair = FilePairs([PairFiles(job.source.stem, job.source, None, {})])
        try:
            check_holds(job.maps if job.target == STREAM else job.target, read_size(job.source, max_pixels))
            problems = [problem for guide in guides.values() for problem in guide.problems(pair)]
        except DataError as error:
            problems = [str(error)]
        if problems:
            failures[job] = "; ".join(problems)
    return failures


def _check_maps(jobs: Sequence[Job], names: Sequence[str], renders: bool, image_format: str | None) -> None:
    """Refuse maps that would be written over one another or over a rendering, beside standard output, or but as PNG.

    Raises:
        RequestError: All that is wrong, a line each.
    """
    problems = []
    taken = {job.source.absolute(): f"the photo {job.name}" for job in jobs}
    taken |= {job.target.absolute(): f"the rendering of {job.name}" for job in jobs if renders}
    for job in jobs:
        if not names or (job.single and not renders):
            continue
        if job.target == STREAM:
            problems.append("Standard output takes one picture, and maps lie beside it; give `--output` a file")
        for file in map(job.map_file, names):
            place = file.absolute()
            if place in taken:
                problems.append(f"A map of {job.name} and {taken[place]} would have one name, {file}; rename a photo")
            taken[place] = f"one of {job.name}"
    if not renders and image_format not in (None, "png") and not all(job.single for job in jobs):
        problems.append(f"`--format {image_format}` would have no effect: maps in folders are PNG; leave it out")
    if not renders and len(names) > 1 and any(job.single for job in jobs):
        problems.append(f"The network estimates {' and '.join(names)}, which are several pictures; name a folder")
    if problems:
        raise RequestError("\n".join(dict.fromkeys(problems)))


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), render)


if __name__ == "__main__":
    main()
