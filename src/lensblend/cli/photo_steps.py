"""What ``lensblend render`` does with one photo: read it, render it or estimate its maps, write what came of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import lensblend
from lensblend.cli.controls import check_aim, controls_of
from lensblend.cli.photo_files import STREAM, Job, kept_back
from lensblend.errors import DataError
from lensblend.runs.messages import say
from lensblend.storage import json_text, write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lensblend.data.originals import Original
    from lensblend.inference.prior_maps import Guide
    from lensblend.inference.rendering import BlendAt
    from lensblend.runs.checkpoints import Trained

Step = Callable[[Job], tuple[int, int]]
"""Renders one photo into its files, and returns its height and width."""


def settings_of(trained: Trained, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a rendering depends on beside the photo and the model: what its file says of it, and ``--json``."""
    from lensblend.runs.checkpoints import check_renders

    size = {} if arguments.image_size is None else {"image_size": list(arguments.image_size)}
    if not trained.network.renders:
        return size
    given = {name: vars(arguments)[name] for name in ("engine", "precision", "fast")}
    how = size | {name: value for name, value in given.items() if value not in (None, False)}
    controls = controls_of(arguments)
    told = controls.told(check_renders(trained))
    at = {} if told is None else {"f_number": told}
    return {"blend_at": blend_at(trained, arguments), **how, **controls.settings, **at}


def blend_at(trained: Trained, arguments: argparse.Namespace) -> BlendAt:
    """Return at which size it is blended: as asked, or else at the photo's own where the network can."""
    from lensblend.runs.checkpoints import check_renders

    return arguments.blend_at or ("photo" if check_renders(trained).blends_full_size else "network")


def mark_of(trained: Trained, settings: Mapping[str, Any]) -> str:
    """Return what a rendering's file says made it: this program's version, the model's name and hash, the settings."""
    made = {"model": model_name(trained), "sha256": trained.sha256, "settings": dict(settings)}
    return f"lensblend {lensblend.__version__} {json_text(made, indent=None)}"


def model_name(trained: Trained) -> str:
    """Return what a model is called, without the folders above it: a run's name and phase, a file's, an address."""
    from lensblend.runs.hub import origin

    path = trained.path.absolute()
    return "/".join(path.parts[-3:-1]) if trained.is_run else origin(path) or path.name


def map_names(trained: Trained, arguments: argparse.Namespace) -> list[str]:
    """Return the names of the maps that are written beside each rendering, or instead of it."""
    from lensblend.runs.checkpoints import check_renders

    if not trained.network.renders:
        return [_spoken(name) for name in trained.network.estimates]
    names = check_renders(trained).map_names if arguments.weights else ()
    return [f"W{i}-{name.replace(' ', '')}" for i, name in enumerate(names)] + ["depth"] * arguments.depth


def _spoken(name: str) -> str:
    return "depth" if name == "disparity" else name


def written_for(job: Job, names: Iterable[str], renders: bool) -> list[Any]:
    """Return the files that are written for a photo; standard output is none."""
    maps = [job.map_file(name) for name in names]
    if not renders:
        maps = [job.target] if job.single else maps
    return [file for file in ([job.target, *maps] if renders else maps) if file != STREAM]


def rendering_step(
    trained: Trained,
    arguments: argparse.Namespace,
    guides: Mapping[str, Guide],
    advance: Callable[[float], None] | None = None,
) -> Step:
    """Return what renders one photo, and tells ``advance`` how large a share of it is done."""
    from lensblend.data.originals import to_8_bits
    from lensblend.data.pairs import Pair
    from lensblend.inference.pixels import render_pixels
    from lensblend.inference.prior_maps import estimate

    controls, at = controls_of(arguments), blend_at(trained, arguments)
    network = controls.applied(trained)
    mark, names = mark_of(trained, settings_of(trained, arguments)), map_names(trained, arguments)

    def step(job: Job) -> tuple[int, int]:
        original = read(job, arguments)
        pair = Pair(job.source.stem, to_8_bits(original.pixels), None)
        guidance = {name: guide(pair) for name, guide in guides.items()}
        wanted = arguments.weights or controls.focus is not None
        rendered = render_pixels(network, original.pixels, trained.image_size, at, guidance, wanted, advance=advance)
        if controls.focus is not None:
            check_aim(controls.focus, rendered.weights, network)
        write(job, original, rendered.bokeh, mark, arguments.quality)
        for index, weight in enumerate(rendered.weights if arguments.weights else ()):
            known = index < len(network.map_names)
            name = names[index] if known else f"W{index}-copy"
            kept_back([] if known else [job.map_file(name)], arguments.overwrite)
            _write_map(job, name, weight, original, mark)
        if arguments.depth:
            disparity = estimate(trained.network, to_8_bits(original.pixels), trained.image_size)["disparity"]
            _write_map(job, "depth", _enlarged(disparity, original), original, mark)
        return original.pixels.shape[:2]

    return step


def estimating_step(trained: Trained, arguments: argparse.Namespace) -> Step:
    """Return what pictures the maps of one photo: saliency, or inverse depth, white = nearest."""
    from lensblend.data.originals import Original, to_8_bits
    from lensblend.inference.prior_maps import estimate

    mark = mark_of(trained, settings_of(trained, arguments))

    def step(job: Job) -> tuple[int, int]:
        original = read(job, arguments)
        for name, plane in estimate(trained.network, to_8_bits(original.pixels), trained.image_size).items():
            pixels = _enlarged(plane, original)
            if job.single:
                write(job, Original(original.pixels), pixels, mark, arguments.quality)
            else:
                _write_map(job, _spoken(name), pixels, original, mark)
        return original.pixels.shape[:2]

    return step


def read(job: Job, arguments: argparse.Namespace) -> Original:
    """Read a photo, and say what its rendering does not keep."""
    from lensblend.data.originals import HOLD_16_BITS, HOLD_ALPHA, read_original

    original = read_original(job.source, int(arguments.max_megapixels * 1e6))
    for loss in original.lost_in(job.image_format):
        say(f"{job.name}: {loss}")
    if job.image_format not in HOLD_ALPHA:
        original = original.flattened()
    return original if job.image_format in HOLD_16_BITS else original.in_8_bits()


def _enlarged(plane: NDArray[np.float32], original: Original) -> NDArray[np.uint8]:
    """Bring a map to the photo's size, as a picture."""
    import torch

    from lensblend.data.transforms import resize_map
    from lensblend.inference.pictures import to_8bit

    height, width = original.pixels.shape[:2]
    return to_8bit(torch.from_numpy(resize_map(plane, (height, width))))


def write(job: Job, original: Original, pixels: NDArray[Any], mark: str, quality: int) -> None:
    """Write a rendering, or a map in its place."""
    from lensblend.data.originals import encoded

    content = encoded(original, pixels, job.image_format, mark, quality, str(job.target))
    if job.target == STREAM:
        _to_standard_output(content)
    else:
        write_atomically(job.target, content)


def _write_map(job: Job, name: str, pixels: NDArray[np.uint8], original: Original, mark: str) -> None:
    """Write a map beside a rendering, marked so that nobody takes it for a photo."""
    from lensblend.data.originals import Original, encoded

    file = job.map_file(name)
    write_atomically(file, encoded(Original(original.pixels), pixels, "png", mark, where=str(file)))


def _to_standard_output(content: bytes) -> None:
    """Write a picture to standard output itself, where nothing else is written."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(1, rest) :]
    except OSError as error:
        raise DataError(
            f"Standard output could not be written ({error.strerror}); write to a file: --output FILE."
        ) from error
