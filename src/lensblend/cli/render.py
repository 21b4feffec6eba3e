"""``lensblend render``: photos and a trained network in, rendered photos, or a prior network's maps, out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lensblend.cli.flags import run_flags, shared
from lensblend.errors import DataError, RequestError, printable
from lensblend.runs.messages import say
from lensblend.storage import check_writable, fitting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lensblend.inference.prior_maps import Guide
    from lensblend.runs.checkpoints import Trained

Step = Callable[[Path, Path], None]
GUIDANCE = ("saliency", "disparity")  # maps whose source can be named on the command line


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend render",
        parents=[shared()],
        description="Render bokeh into photos of any size; with a saliency or depth network, picture its maps.",
    )
    verb.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER", help="photos, or folders of photos")
    verb.add_argument(
        "--model",
        required=True,
        nargs="+",
        metavar="CHECKPOINT",
        help="a .ckpt file, or a run's or phase's folder; several render the mean of what each renders",
    )
    verb.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the rendered photos")
    verb.add_argument("--weights", action="store_true", help="also write the weight maps as pictures")
    verb.add_argument("--depth", action="store_true", help="also picture inverse depth, where the network predicts it")
    for name in GUIDANCE:
        verb.add_argument(
            f"--{name}",
            metavar="SOURCE",
            help=f"for networks that take {name}: a folder of maps named like the photos, any network as FILE.onnx or "
            "PRESET:FILE.onnx, or weights of the network that gave it in the training (default: as in the training)",
        )
    verb.add_argument(
        "--blend-at",
        choices=["network", "photo"],
        default="network",
        help="blend at the network's size and scale back (the paper), or at the photo's full size",
    )
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return verb


def render(arguments: argparse.Namespace) -> None:
    """Render every photo; those that cannot be are named before the work begins, and do not stop the others."""
    targets = _targets(arguments.photos, arguments.output)
    check_writable(arguments.output)
    from rich.progress import track

    from lensblend.inference.guidance import guides_of
    from lensblend.inference.rendering import choose_device
    from lensblend.runs.checkpoints import load_ensemble

    trained = load_ensemble(arguments.model)
    network = trained.network.to(choose_device(arguments.device))
    if arguments.depth and "disparity" not in network.estimates:
        raise RequestError(
            f"{trained.path} holds {type(network).__name__}, which predicts no depth; leave `--depth` out, or give "
            "a depth network's or the joint model's checkpoint."
        )
    pictures = not network.renders or arguments.weights or arguments.depth
    if pictures and (problems := _collisions(targets)):
        raise RequestError("\n".join(problems))
    guides = guides_of(trained, {name: vars(arguments)[name] for name in GUIDANCE})
    failures = _unusable(targets, guides)
    if failures:
        say("These photos will be left out:\n  " + "\n  ".join(failures.values()))
    step = _render(trained, arguments, guides) if network.renders else _estimate(trained)
    good = {source: target for source, target in targets.items() if source not in failures}
    for source, target in track(good.items(), "Rendering", disable=not good):
        try:
            step(source, target)
        except (DataError, RequestError) as error:
            failures[source] = str(error)
    say(f"{len(targets) - len(failures)} of {len(targets)} photos rendered into {arguments.output}")
    if failures:
        raise DataError("Not rendered:\n  " + "\n  ".join(failures.values()))


def _unusable(targets: Mapping[Path, Path], guides: Mapping[str, Guide]) -> dict[Path, str]:
    """Return why photos cannot be rendered, as far as headers tell: unreadable, or without a map that is needed."""
    from lensblend.data.files import FilePairs, PairFiles
    from lensblend.data.images import read_size
    from lensblend.data.listing import check_holds

    failures = {}
    for source, target in targets.items():
        pair = FilePairs([PairFiles(source.stem, source, None, {})])
        try:
            check_holds(target, read_size(source))
            problems = [problem for guide in guides.values() for problem in guide.problems(pair)]
        except DataError as error:
            problems = [str(error)]
        if problems:
            failures[source] = "; ".join(problems)
    return failures


def _collisions(targets: Mapping[Path, Path]) -> list[str]:
    """Return which pictures of weights or maps, called after their photos, would be written over something."""
    stems: dict[str, Path] = {}
    problems = []
    for source, target in targets.items():
        if target.stem in stems:
            problems.append(f"The maps of {source} and {stems[target.stem]} would have one name; rename a photo")
        stems[target.stem] = source
    for source, target in targets.items():
        before, _, rest = target.stem.rpartition("-W") if "-W" in target.stem else target.stem.rpartition("-")
        if before in stems and (rest in ("depth", "saliency") or rest[:1].isdigit()) and target.suffix == ".png":
            problems.append(f"{source} is called like a map of {stems[before]}; rename it")
    return problems


def _render(trained: Trained, arguments: argparse.Namespace, guides: Mapping[str, Guide]) -> Step:
    """Return what renders one photo into one file."""
    from lensblend.data.images import read_photo_with_metadata, write_image
    from lensblend.data.pairs import Pair
    from lensblend.inference.pictures import to_8bit
    from lensblend.inference.prior_maps import estimates
    from lensblend.inference.rendering import render_photo, weight_maps
    from lensblend.runs.checkpoints import check_renders

    network = check_renders(trained)
    names = network.map_names

    def step(source: Path, target: Path) -> None:
        photo = read_photo_with_metadata(source)
        pair = Pair(source.stem, photo.pixels, None)
        guidance = {name: guide(pair) for name, guide in guides.items()}
        rendering = render_photo(network, photo.pixels, trained.image_size, arguments.blend_at, guidance)
        write_image(target, to_8bit(rendering.bokeh[0]), exif=photo.exif, icc=photo.icc)
        for index, weight in enumerate(weight_maps(rendering) if arguments.weights else ()):
            name = names[index].replace(" ", "") if index < len(names) else "copy"
            write_image(target.with_name(fitting(target.stem, f"-W{index}-{name}.png")), weight)
        if arguments.depth:
            _write_map(target, "depth", estimates(rendering.aux)["disparity"][0, 0].cpu().numpy(), photo.pixels)

    return step


def _estimate(trained: Trained) -> Step:
    """Return what pictures the maps of one photo: saliency, or inverse depth, white = nearest."""
    from lensblend.data.images import read_photo_with_metadata
    from lensblend.inference.prior_maps import estimate

    def step(source: Path, target: Path) -> None:
        photo = read_photo_with_metadata(source)
        for name, plane in estimate(trained.network, photo.pixels, trained.image_size).items():
            _write_map(target, "depth" if name == "disparity" else name, plane, photo.pixels)

    return step


def _write_map(target: Path, name: str, plane: NDArray[np.float32], photo: NDArray[np.uint8]) -> None:
    """Write a map at the photo's size, beside its rendering."""
    import torch

    from lensblend.data.images import write_image
    from lensblend.data.transforms import resize_map
    from lensblend.inference.pictures import to_8bit

    height, width = photo.shape[:2]
    file = target.with_name(fitting(target.stem, f"-{name}.png"))
    write_image(file, to_8bit(torch.from_numpy(resize_map(plane, (height, width)))))


def _targets(photos: list[Path], output: Path) -> dict[Path, Path]:
    """Return the file to write for each photo.

    Raises:
        RequestError: A photo does not exist, a photo would be overwritten, two would be written to one file, or a
            folder is in the way.
    """
    from lensblend.data.listing import list_images, passed_over, rendered_name

    problems = [f"{path} does not exist" for path in photos if not path.exists()]
    sources = [file for path in photos if path.exists() for file in (list_images(path) if path.is_dir() else [path])]
    targets: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    for source in sources:
        target = output / rendered_name(source)
        if target.resolve() == source.resolve():
            problems.append(f"{source} would be overwritten by its rendering; choose another --output")
        elif target in taken and taken[target].resolve() != source.resolve():
            problems.append(f"{source} and {taken[target]} would both be written to {target}")
        elif target.is_dir():
            problems.append(f"{target} is a folder; move it, or choose another --output")
        targets[source], taken[target] = target, source
    for path in (path for folder in photos if folder.is_dir() for path in passed_over(folder)):
        print(printable(f"Passed over: {path}, of a format that is not read; convert it to PNG or JPEG"), flush=True)
    if problems:
        raise RequestError("\n".join(problems))
    return targets


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), render)


if __name__ == "__main__":
    main()
