"""``lensblend export --format submission``: a challenge's test photos rendered and packed as its servers take them.

The package is a ZIP without folders: a PNG of each photo, under the photo's name, and ``readme.txt`` of four lines:
runtime, CPU or GPU, extra data or none, a description. The report of AIM 2019 (section 2.2) asks for "results, models,
and factsheets" and fixes no names; the four lines are those of the challenges of that series.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensblend.cli.flags import path
from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import say

if TYPE_CHECKING:
    from lensblend.cli.photo_files import Job
    from lensblend.runs.checkpoints import Trained

OF_A_SUBMISSION = ("track", "images", "extra_data", "runtime", "description", "device")
TRACKS = {"fidelity": "PSNR and SSIM against the captured photo", "perceptual": "mean opinion scores"}
README, FACTSHEET = "readme.txt", "-factsheet.md"
_DAY = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP can say


def add_submission(verb: argparse.ArgumentParser) -> None:
    """Add the options of a submission."""
    group = verb.add_argument_group("submission", "The renderings of a challenge's photos, its readme, a factsheet.")
    group.add_argument("--track", choices=list(TRACKS), help="the challenge's: what it is scored by")
    group.add_argument("--images", type=path, metavar="DIR", help="the challenge's photos")
    group.add_argument(
        "--extra-data",
        choices=("yes", "no"),
        help="whether data other than the challenge's were trained on; the readme says",
    )
    group.add_argument(
        "--runtime",
        type=_seconds,
        metavar="S",
        help="seconds a photo, for the readme (default: measured, file to file)",
    )
    group.add_argument("--description", metavar="TEXT", help="for the readme (default: the network and its phases)")
    group.add_argument("--device", help="where a network computes: auto, cpu or cuda (default: auto)")


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"seconds above 0, such as 0.8, but got {text!r}")
    return number


def submission(trained: Trained, arguments: argparse.Namespace) -> None:
    """Render the photos, check what came of it, pack it, and write the factsheet beside the package.

    Raises:
        RequestError: An option is missing, or a file would be replaced.
        DataError: A photo could not be rendered, or its rendering has another size; then nothing is packed.
    """
    from lensblend.inference.engines import device_for
    from lensblend.runs.cards import facts, markdown
    from lensblend.storage import fitting, write_atomically

    output: Path = arguments.output
    sheet = output.with_name(fitting(output.stem, FACTSHEET))
    _check(arguments, sheet)
    device = device_for("torch", arguments.device or "auto")
    with tempfile.TemporaryDirectory(prefix="lensblend-") as spool:
        jobs, seconds = _rendered(arguments, str(device), Path(spool))
        _check_renderings(jobs)
        runtime = arguments.runtime or seconds
        known = facts(trained)
        about = _readme(arguments, runtime, device.type == "cpu", arguments.description or _described(known))
        _pack(output, jobs, about)
    told = [("track", f"{arguments.track}: {TRACKS[arguments.track]}"), ("photos", str(len(jobs)))]
    how = "as given" if arguments.runtime else "measured, file to file"
    told += [("seconds a photo", f"{runtime:.2f}, {how}, on {device.type}"), ("extra data", arguments.extra_data)]
    write_atomically(sheet, markdown(f"Factsheet: {output.stem}", {"Submission": told, **known}))
    say(f"{output}: {len(jobs)} renderings and {README}, {output.stat().st_size:,} bytes; {sheet}")


def _check(arguments: argparse.Namespace, sheet: Path) -> None:
    missing = [name for name in ("track", "images", "extra_data") if not vars(arguments)[name]]
    if missing:
        flags = " and ".join(f"`--{name.replace('_', '-')}`" for name in missing)
        raise RequestError(f"{flags} would be said in the submission; give them.")
    if not arguments.images.is_dir():
        raise RequestError(f"`--images` {arguments.images} is no folder; name that of the challenge's photos.")
    if "\n" in (arguments.description or ""):
        raise RequestError("`--description` is one line of the readme; take out the line breaks.")
    if os.path.lexists(sheet) and not arguments.overwrite:
        raise RequestError(f"{sheet} exists; name another `--output`, or add --overwrite.")


def _rendered(arguments: argparse.Namespace, device: str, spool: Path) -> tuple[Sequence[Job], float]:
    """Render the photos as PNG by `lensblend render`; return them, and the mean of the seconds that each took."""
    from lensblend.cli.controls import controls_of
    from lensblend.cli.photo_files import jobs_of
    from lensblend.cli.render import QUALITY, parser, render_all

    words = [str(arguments.images), "-m", arguments.checkpoint, "-o", str(spool / "png"), "--format", "png"]
    words += ["--network", arguments.network] if arguments.network else []
    wanted = parser().parse_args([*words, "--device", device])
    wanted.quality = QUALITY
    jobs = jobs_of(wanted, None)
    lines = io.StringIO()
    render_all(jobs, wanted, controls_of(wanted), lines)
    took = [json.loads(line)["seconds"] for line in lines.getvalue().splitlines()]
    return jobs, sum(took) / len(took)


def _check_renderings(jobs: Sequence[Job]) -> None:
    """Refuse to pack where a rendering is missing or of another size than its photo.

    Raises:
        DataError: All that is wrong, a line each.
    """
    from lensblend.data.images import read_size

    problems = []
    for job in jobs:
        if not job.target.is_file():
            problems.append(f"{job.name} has no rendering")
        elif (size := read_size(job.target)) != (photo := read_size(job.source)):
            problems.append(f"{job.name} has {photo[0]}×{photo[1]} pixels, its rendering {size[0]}×{size[1]}")
    if problems:
        raise DataError("Nothing was packed:\n  " + "\n  ".join(problems))


def _described(known: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    network, training = dict(known["Network"]), dict(known["Training"])
    return f"{network['kind']}, {network['parameters']} parameters, trained in {training['phases']} with lensblend"


def _readme(arguments: argparse.Namespace, seconds: float, on_cpu: bool, description: str) -> str:
    return (
        f"runtime per image [s] : {seconds:.2f}\n"
        f"CPU[1] / GPU[0] : {int(on_cpu)}\n"
        f"Extra Data [1] / No Extra Data [0] : {int(arguments.extra_data == 'yes')}\n"
        f"Other description : {description} ({arguments.track} track)\n"
    )


def _pack(output: Path, jobs: Sequence[Job], readme: str) -> None:
    """Write the package: files by name, all of one day, so that the same content is the same bytes."""
    from lensblend.storage import flush, replace, temporary_beside

    contents: dict[str, Any] = {job.target.name: job.target for job in jobs}
    with temporary_beside(output) as temporary:
        with temporary.open("wb") as file:
            with zipfile.ZipFile(file, "w") as packed:
                for name in sorted(contents):
                    packed.writestr(_entry(name), contents[name].read_bytes())
                packed.writestr(_entry(README), readme)
            flush(file.fileno())
        replace(temporary, output)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DAY)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    return entry
