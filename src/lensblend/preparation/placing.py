"""Bring a data set's files into the layout that a training reads: linked or copied as they are, each with its hash."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lensblend.data.files import PairFiles
from lensblend.data.images import read_map_size, read_photo, read_size
from lensblend.data.scene_files import aperture_name
from lensblend.errors import RequestError
from lensblend.preparation.layouts import DataSet
from lensblend.preparation.quality import measure
from lensblend.runs.files import file_sha256
from lensblend.storage import json_text, replace, temporary_beside

Placing = Literal["link", "copy", "move"]
PROGRESS = ".prepare.jsonl"
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Place:
    """A file of the source, and where it shall lie."""

    file: str
    source: Path
    split: str
    id: str
    f_number: float | None
    is_map: bool = False


@dataclass(frozen=True)
class Placed:
    """A row of the manifest."""

    file: str
    split: str
    id: str
    f_number: float | None
    width: int
    height: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Measured:
    """A row of the table of quality; ``problems`` is empty where nothing is wrong."""

    id: str
    residual: float | None
    exposure: float | None
    gain: float
    difference: float | None
    likeness: float
    problems: str


def places(data: DataSet) -> list[Place]:
    """Say where each file of a data set shall lie, photos before their targets.

    Pairs become ``Training/{original,bokeh}/ID.jpg``, with ``original_depth`` where they have disparity; scenes of
    several apertures ``SCENE/fN.jpg``.
    """
    found: dict[str, Place] = {}
    for pair in data.pairs:
        for place in _scene_places(data, pair) if data.scenes else _pair_places(data, pair):
            found.setdefault(place.file, place)
    return list(found.values())


def _pair_places(data: DataSet, pair: PairFiles) -> Iterator[Place]:
    split = data.parts[pair.id]
    files = {"original": pair.photo, "bokeh": pair.target, "original_depth": pair.maps.get("disparity")}
    for kind, source in files.items():
        if source is not None:
            name = f"Training/{kind}/{pair.id}{source.suffix.lower()}"
            yield Place(name, source, split, pair.id, pair.f_number, kind == "original_depth")


def _scene_places(data: DataSet, pair: PairFiles) -> Iterator[Place]:
    scene, split = data.scenes[pair.id], data.parts[pair.id]
    for source, number in ((pair.photo, data.photo_f_number), (pair.target, pair.f_number)):
        if source is not None and number is not None:
            yield Place(f"{scene}/{aperture_name(number)}{source.suffix.lower()}", source, split, scene, number)


class Progress:
    """What was done before: a line for each finished file and pair, in a file of the output until all is done.

    Args:
        output: Folder of the prepared data set.
        request: What is asked for; another one is not gone on with.

    Raises:
        RequestError: The output holds something else, or another request's work.
    """

    def __init__(self, output: Path, request: dict[str, Any]) -> None:
        self.path = output / PROGRESS
        rows = _rows(self.path)
        if rows and rows[0] != request:
            raise RequestError(
                f"`{output}` holds the begin of another preparation; name another --output or remove it."
            )
        if not rows and output.is_dir() and any(output.iterdir()):
            raise RequestError(f"`{output}` is not empty; name a new or empty folder as --output.")
        self.files = {row["file"]: Placed(**row) for row in rows[1:] if "file" in row}
        self.pairs = {row["id"]: Measured(**row) for row in rows[1:] if "file" not in row}
        if not rows:
            output.mkdir(parents=True, exist_ok=True)
            self._append(request)

    def add(self, row: Placed | Measured) -> None:
        """Note one more."""
        if isinstance(row, Placed):
            self.files[row.file] = row
        else:
            self.pairs[row.id] = row
        self._append(asdict(row))

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_text(row, indent=None) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # the last one, cut when the command was stopped
    return rows


def place_all(wanted: Sequence[Place], output: Path, how: Placing, workers: int, done: Progress, track: Track) -> None:
    """Place and hash what was not before.

    Args:
        wanted: Files.
        output: Folder.
        how: ``link`` makes symbolic links, ``copy`` copies, ``move`` is a second name of the same file.
        workers: Threads.
        done: Of before; is added to.
        track: Shows how far it is.
    """
    left = [place for place in wanted if place.file not in done.files or not (output / place.file).exists()]

    def one(place: Place) -> Placed:
        path = output / place.file
        _put(place.source, path, how)
        height, width = (read_map_size if place.is_map else read_size)(path)
        return Placed(
            place.file, place.split, place.id, place.f_number, width, height, path.stat().st_size, file_sha256(path)
        )

    with ThreadPoolExecutor(workers) as pool:
        for row in track(pool.map(one, left), len(left), "Placing"):
            done.add(row)


def measure_all(pairs: Sequence[PairFiles], workers: int, done: Progress, track: Track) -> None:
    """Measure the quality of the pairs that were not before, each as it lies in its source."""
    left = [pair for pair in pairs if pair.id not in done.pairs]

    def one(pair: PairFiles) -> Measured:
        photo, target = read_photo(pair.photo), read_photo(pair.target or pair.photo)
        quality = measure(photo, target)
        numbers: dict[str, Any] = {
            name: None if value is None else round(value, 4) for name, value in asdict(quality).items()
        }
        return Measured(pair.id, **numbers, problems="; ".join(quality.problems(photo.shape[1]).values()))

    with ThreadPoolExecutor(workers) as pool:
        for row in track(pool.map(one, left), len(left), "Measuring"):
            done.add(row)


def _put(source: Path, path: Path, how: Placing) -> None:
    with temporary_beside(path) as temporary:
        if how == "link":
            temporary.symlink_to(os.path.realpath(source))
        elif how == "copy":
            shutil.copyfile(source, temporary)
        else:
            try:
                os.link(source, temporary)
            except OSError:  # a file system without second names
                shutil.copyfile(source, temporary)
        replace(temporary, path)
