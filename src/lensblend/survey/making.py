"""Make a study of folders of renderings: images under random ids, and a key that says what they are."""

from __future__ import annotations

import io
import itertools
import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lensblend.data.doubts import refuse_one_folder_twice
from lensblend.data.images import read_size, read_srgb
from lensblend.errors import RequestError, StorageError
from lensblend.inference.evaluation import match_folders
from lensblend.storage import cannot_write, json_text, write_atomically
from lensblend.survey.study import BLURRED, IMAGES, KEY, PUBLIC, TARGET, Shown, Study, Trial

#: Standard deviation of the blur of catch trials, as a share of the longer side: 31 pixels of 1536.
BLUR = 0.02
_LONGEST_NAME = 100
_ENCODERS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
Track = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class Request:
    """What a study is made of.

    Attributes:
        targets: Folder of the originals.
        methods: Folder of the renderings, by the method's name.
        images: How many photos are chosen.
        mode: ``levels`` or ``pairs``.
        catch: How many of these photos have a catch trial.
        seed: Chooses the photos; each rater's order depends on it.
        title: Heads the pages.
        suffix: ``png``, without loss, or ``jpg``.
    """

    targets: Path
    methods: Mapping[str, Path]
    images: int = 10
    mode: str = "levels"
    catch: int = 2
    seed: int = 0
    title: str = "A study"
    suffix: str = "png"


def make(request: Request, output: Path, track: Track = lambda names: names) -> Study:
    """Write a study: images first, the document that makes it one last.

    Args:
        request: What of.
        output: A new folder.
        track: Shows how far it is with the images.

    Returns:
        What raters may know.

    Raises:
        RequestError: The request does not fit, or the folder is there.
        DataError: Images are missing, unreadable or of different sizes.
        StorageError: The study could not be written.
    """
    _check(request)
    files = _files(request)
    chosen = sorted(random.Random(request.seed).sample(sorted(files), request.images))
    catch = random.Random(f"catch {request.seed}").sample(chosen, request.catch)
    images: dict[str, Shown] = {}
    trials = [trial for name in chosen for trial in _trials(request, name, files[name], name in catch, images)]
    # By their random ids: in the order of the request, they would tell what belongs together.
    ordered = tuple(sorted(trials, key=lambda trial: trial.id))
    study = Study(_new_id(), request.title, request.mode, request.seed, request.suffix, ordered)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.mkdir()
    except FileExistsError:
        raise RequestError(f"`{output}` is there already, and nothing is replaced; choose another --output.") from None
    except OSError as error:
        raise StorageError(cannot_write(output, error)) from error
    said = {name: {"image": shown.image, "method": shown.method} for name, shown in images.items()}
    folders = {name: str(folder) for name, folder in request.methods.items()}
    key = {"study": study.study, "folders": {TARGET: str(request.targets), **folders}, "images": said}
    write_atomically(output / KEY, json_text(key) + "\n", 0o600)
    # In the order of the ids as well: the files' times tell nothing.
    for name in track(sorted(images)):
        shown = images[name]
        pixels = _pixels(files[shown.image], shown.method)
        write_atomically(output / IMAGES / f"{name}.{request.suffix}", _encoded(pixels, request.suffix))
    write_atomically(output / PUBLIC, study.text())
    return study


def _check(request: Request) -> None:
    """Refuse names and numbers that make no study."""
    least = 2 if request.mode == "pairs" else 1
    if len(request.methods) < least:
        raise RequestError(f"A study of {request.mode} needs {least} methods or more: NAME=FOLDER for each.")
    for name in request.methods:
        if not name.isprintable() or not 0 < len(name.strip()) <= _LONGEST_NAME:
            raise RequestError(f"A method's name is 1 to {_LONGEST_NAME} letters, but got {name!r}.")
        if name in (TARGET, BLURRED):
            raise RequestError(f"`{name}` is what catch trials are called in the answers; choose another name.")
    if not 0 <= request.catch <= request.images:
        raise RequestError(f"`--catch` is at most the number of images, {request.images}, but got {request.catch}.")
    refuse_one_folder_twice({"--targets": request.targets, **request.methods})


def _files(request: Request) -> dict[str, dict[str, Path]]:
    """Return the files by photo, then by method; the originals' are the target's."""
    files: dict[str, dict[str, Path]] = {}
    for method, folder in request.methods.items():
        for name, rendering, target in match_folders(folder, request.targets, "shown"):
            files.setdefault(name, {TARGET: target})[method] = rendering
    if len(files) < request.images:
        raise RequestError(
            f"`{request.targets}` holds {len(files)} images, fewer than --images {request.images}; "
            f"add --images {len(files)} (and --catch with no more)."
        )
    return files


def _trials(
    request: Request, name: str, files: Mapping[str, Path], is_catch: bool, images: dict[str, Shown]
) -> list[Trial]:
    """Return the trials of one photo, and enter their images into the key."""

    def new(method: str) -> str:
        image = _new_id()
        images[image] = Shown(name, method)
        return image

    height, width = read_size(files[TARGET])
    target, methods = new(TARGET), {method: new(method) for method in request.methods}
    if request.mode == "levels":
        shown = [(image,) for image in methods.values()] + ([(new(TARGET),)] if is_catch else [])
        return [Trial(_new_id(), target, images, height, width) for images in shown]
    pairs = [*itertools.combinations(methods.values(), 2), *([(new(TARGET), new(BLURRED))] if is_catch else [])]
    # Which one comes first would otherwise tell which method was named first.
    return [Trial(_new_id(), target, pair if secrets.randbelow(2) else pair[::-1], height, width) for pair in pairs]


def _pixels(files: Mapping[str, Path], method: str) -> NDArray[np.uint8]:
    pixels = read_srgb(files[TARGET if method == BLURRED else method])
    if method != BLURRED:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), BLUR * max(pixels.shape)), np.uint8)


def _encoded(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    """Encode pixels, and nothing beside them."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **_ENCODERS[suffix])
    return file.getvalue()


def _new_id() -> str:
    return secrets.token_hex(8)
