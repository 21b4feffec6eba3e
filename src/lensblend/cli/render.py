"""``lensblend render``: photos and a trained network in, rendered photos of the same size out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lensblend.errors import DataError, LensblendError, RequestError


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(prog="lensblend render", description="Render bokeh into photos of any size.")
    verb.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER", help="photos, or folders of photos")
    verb.add_argument("--model", required=True, metavar="CHECKPOINT", help="a .ckpt file, or a run's or phase's folder")
    verb.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the rendered photos")
    verb.add_argument("--weights", action="store_true", help="also write the weight maps as pictures")
    verb.add_argument(
        "--blend-at",
        choices=["network", "photo"],
        default="network",
        help="blend at the network's size and scale back (the paper), or at the photo's full size",
    )
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return verb


def render(arguments: argparse.Namespace) -> None:
    """Render every photo; one that cannot be read does not stop the others, but is named at the end."""
    targets = _targets(arguments.photos, arguments.output)
    from rich.progress import track

    from lensblend.data.images import read_photo_with_metadata, write_image
    from lensblend.training.checkpoints import load_network
    from lensblend.training.inference import choose_device, render_photo, weight_maps
    from lensblend.training.pictures import to_8bit

    trained = load_network(arguments.model)
    network = trained.network.to(choose_device(arguments.device))
    names = getattr(getattr(network, "bank", None), "names", ())
    failures = []
    for source, target in track(targets.items(), "Rendering"):
        try:
            photo = read_photo_with_metadata(source)
            rendering = render_photo(network, photo.pixels, trained.image_size, arguments.blend_at)
            write_image(target, to_8bit(rendering.bokeh[0]), exif=photo.exif, icc=photo.icc)
        except DataError as error:
            failures.append(str(error))
            continue
        if arguments.weights:
            for index, weight in enumerate(weight_maps(rendering)):
                name = names[index].replace(" ", "") if index < len(names) else "copy"
                write_image(target.with_name(f"{target.stem}-W{index}-{name}.png"), weight)
    print(f"{len(targets) - len(failures)} of {len(targets)} photos rendered into {arguments.output}")
    if failures:
        raise DataError("Not rendered:\n  " + "\n  ".join(failures))


def _targets(photos: list[Path], output: Path) -> dict[Path, Path]:
    """Return the file to write for each photo.

    Raises:
        RequestError: A photo does not exist, a photo would be overwritten, or two would be written to one file.
    """
    from lensblend.data.images import list_images

    problems = [f"{path} does not exist" for path in photos if not path.exists()]
    sources = [file for path in photos if path.exists() for file in (list_images(path) if path.is_dir() else [path])]
    targets: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    for source in sources:
        target = output / source.name
        if target.resolve() == source.resolve():
            problems.append(f"{source} would be overwritten by its rendering; choose another --output")
        elif target in taken and taken[target].resolve() != source.resolve():
            problems.append(f"{source} and {taken[target]} would both be written to {target}")
        targets[source], taken[target] = target, source
    if problems:
        raise RequestError("\n".join(problems))
    return targets


def main() -> None:
    """Run the verb and exit."""
    arguments = parser().parse_args()
    try:
        render(arguments)
    except LensblendError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
