"""``lensblend demo``: the main job on embedded data, from training to rendered photos, the model in the box beside."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lensblend.cli.children import ended, run_child
from lensblend.cli.flags import path, run_flags, shared
from lensblend.runs.commands import command, override
from lensblend.runs.messages import say

_HEIGHT = 300  # pixels of a photo in the picture of all


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend demo",
        parents=[shared()],
        description="Train DBSI on embedded data in three phases, evaluate it, and render photos with it and with the "
        "model in the box.",
    )
    verb.add_argument("--output", type=path, default=Path("outputs/demo"), metavar="DIR", help="default: outputs/demo")
    verb.add_argument(
        "--model", default="default", metavar="CHECKPOINT", help="what renders beside (default: the model in the box)"
    )
    verb.add_argument("--smoke", action="store_true", help="two batches a phase, tiny images: seconds, not minutes")
    return verb


def demo(arguments: argparse.Namespace) -> None:
    """Run the verbs one after the other, as a user would, and say where to look."""
    from lensblend.runs.checkpoints import find_checkpoint

    started = time.monotonic()
    find_checkpoint(arguments.model)
    output, smoke = arguments.output, arguments.smoke
    evaluation, rendered = output / "evaluation", output / "rendered"
    debug = ["debug=smoke"] if smoke else []
    limit = ["limit=2"] if smoke else []
    run("train", "experiment=demo", override("run_dir", output), *debug)
    score = (override("checkpoint", output), override("output", evaluation), "references=true", "gallery=true")
    run("evaluate", *score, *limit)
    photo = _photo(output)
    run("render", str(photo), "--model", str(output), "--output", str(rendered), "--weights", "--overwrite")
    beside = _side_by_side(output, arguments.model)
    minutes = (time.monotonic() - started) / 60
    say(
        f"\nThe demo took {minutes:.1f} minutes. Look at\n"
        f"  {evaluation / 'gallery.html'}  photo, target, bokeh and weight maps of every validation pair\n"
        f"  {evaluation / 'sheet.png'}  the first of them as one picture\n"
        f"  {evaluation / 'metrics.json'}  the table above\n"
        f"  {rendered}  a photo rendered at its full size, and its weight maps\n"
        f"  {beside}  real photos, rendered by what was trained just now and by {_called(arguments.model)}\n"
        f"  {output / 'panels'}  how the weight maps came about, epoch by epoch"
    )


def run(verb: str, *arguments: str) -> None:
    """Run a verb as its own process, and leave it the time to end in good order when a signal arrives.

    Raises:
        LensblendError: It failed; its own message has been printed.
    """
    print(f"\n$ {command(verb, *arguments)}", flush=True)
    code = run_child(verb, *arguments)
    if code != 0:
        raise ended(f"The demo stopped: `lensblend {verb}` ended with exit code {code}; see above.", code)


def _photo(output: Path) -> Path:
    """Write the photo to render: the right-hand view of the Motorcycle; training sees crops of the left-hand one."""
    from skimage import data

    from lensblend.data.images import write_image

    photo = output / "photo" / "motorcycle.jpg"
    photo.parent.mkdir(parents=True, exist_ok=True)
    _, right, _ = data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    write_image(photo, right)
    return photo


def _side_by_side(output: Path, model: str) -> Path:
    """Render real photos with what the demo has trained and with another model, and lay them out as one picture.

    They are scikit-image's. Scenes of the training have shown the astronaut, cut out of that photo; those of the
    validation, the cat and the cup.
    """
    from skimage import data

    from lensblend.data.images import read_photo, write_image
    from lensblend.inference.pictures import save_picture, sheet

    photos: dict[str, Callable[[], Any]] = {"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee}
    folder = output / "real"
    files = [folder / "photo" / f"{name}.png" for name in photos]
    for file, photo in zip(files, photos.values(), strict=True):
        write_image(file, photo())
    models = {"demo": str(output), "model": model}
    for name, checkpoint in models.items():
        to = ("--output", str(folder / name), "--overwrite")
        run("render", *map(str, files), "--model", checkpoint, *to)
    captions = {"photo": "photo", "demo": "the demo's network", "model": _called(model)}
    rows = {
        file.stem: {caption: read_photo(folder / name / file.name) for name, caption in captions.items()}
        for file in files
    }
    picture = output / "real.png"
    save_picture(sheet(rows, _HEIGHT), picture)
    return picture


def _called(model: str) -> str:
    return "the model in the box" if model == "default" else Path(model).name


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), demo)


if __name__ == "__main__":
    main()
