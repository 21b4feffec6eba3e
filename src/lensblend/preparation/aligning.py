"""Captures become aligned pairs in the canonical layout: each is registered, cropped, reduced, written and recorded."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags

from lensblend.data.images import write_image
from lensblend.data.metadata import parsed
from lensblend.errors import DataError
from lensblend.preparation.captures import Capture
from lensblend.preparation.cropping import common_rectangle, exposed, exposure_gains, laid, reduced
from lensblend.preparation.raw import read_capture
from lensblend.preparation.registration import register
from lensblend.preparation.transforms import Model
from lensblend.storage import json_text, remove, write_atomically

RECORDS = "records"
TRAINING = "Training"
BEFORE, AFTER = 320, 960  # pixels, the longest side on the page, where a pixel off must show after
_SHOWN_QUALITY = 80


@dataclass(frozen=True)
class Settings:
    """How pairs are aligned and written; see the options of ``lensblend prepare align``."""

    model: Model = "similarity"
    height: int = 1024
    match_exposure: bool = False
    format: str = "jpg"
    quality: int = 97


@dataclass(frozen=True)
class Outcome:
    """What became of a capture.

    Attributes:
        number: Names its files.
        name: Of the capture.
        narrow: The file at the narrow aperture.
        wide: The file at the wide aperture.
        problem: Why there is no pair; None where there is one.
        figures: What was measured, by name: of `Registration`, sizes as (height, width), the gain of each channel.
        thumbnails: JPEG in base64: ``narrow`` and ``wide`` before, ``original`` and ``bokeh`` after.
    """

    number: int
    name: str
    narrow: str
    wide: str
    problem: str | None
    figures: dict[str, Any]
    thumbnails: dict[str, str]


@dataclass(frozen=True)
class Task:
    """A capture with its number, and where its pair goes."""

    capture: Capture
    number: int
    output: Path
    settings: Settings

    @property
    def record(self) -> Path:
        """The file that says what became of it."""
        return self.output / RECORDS / f"{self.number}.json"

    @property
    def files(self) -> tuple[Path, Path]:
        """The pair's files: ``original`` and ``bokeh``."""
        original, bokeh = (
            self.output / TRAINING / kind / f"{self.number}.{self.settings.format}" for kind in ("original", "bokeh")
        )
        return original, bokeh

    def stamp(self) -> list[list[Any]]:
        """Return what changes with the capture's files, as JSON gives it back."""
        files = (self.capture.narrow, self.capture.wide)
        return [[str(file), file.stat().st_mtime_ns, file.stat().st_size] for file in files]


@dataclass(frozen=True)
class Record:
    """An outcome as it was written, and what it came from; no settings where the work was interrupted."""

    outcome: Outcome
    stamp: Any
    settings: Settings | None

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_atomically(path, json_text(asdict(self)))


def read_record(path: Path) -> Record | None:
    """Return a record that was written; None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        settings = content["settings"]
        outcome = Outcome(**content["outcome"])
        return Record(outcome, content["stamp"], None if settings is None else Settings(**settings))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished(task: Task) -> Outcome | None:
    """Return what became of a capture earlier, where nothing has changed since and its files are there."""
    record = read_record(task.record)
    if record is None or record.stamp != task.stamp() or record.settings != task.settings:
        return None
    there = record.outcome.problem is not None or all(file.is_file() for file in task.files)
    return record.outcome if there else None


def align(task: Task) -> Outcome:
    """Align one capture and write its pair, then its record; one that cannot be aligned is recorded with the reason.

    Raises:
        StorageError: A file could not be written.
    """
    cv2.setNumThreads(1)
    stamp = task.stamp()
    names = task.capture.name, str(task.capture.narrow), str(task.capture.wide)
    # Whatever happens from here on, the files are known to be ours.
    Record(Outcome(task.number, *names, "it was interrupted", {}, {}), stamp, None).write(task.record)
    for file in task.files:
        remove(file)
    figures: dict[str, Any] = {}
    thumbnails: dict[str, str] = {}
    try:
        problem = _aligned(task, figures, thumbnails)
    except DataError as error:
        problem = str(error)
    outcome = Outcome(task.number, *names, problem, figures, thumbnails)
    Record(outcome, stamp, task.settings).write(task.record)
    return outcome


def _aligned(task: Task, figures: dict[str, Any], thumbnails: dict[str, str]) -> str | None:
    narrow, wide = read_capture(task.capture.narrow), read_capture(task.capture.wide)
    figures |= {"narrow_size": narrow.pixels.shape[:2], "wide_size": wide.pixels.shape[:2]}
    thumbnails |= {"narrow": _thumbnail(narrow.pixels, BEFORE), "wide": _thumbnail(wide.pixels, BEFORE)}
    if narrow.icc != wide.icc:
        return "the two photos have different colour profiles; save both with one"
    found = register(narrow.pixels, wide.pixels, task.settings.model)
    figures |= {name: value for name, value in asdict(found).items() if name not in ("transform", "problem")}
    figures["transform"] = found.transform.ravel().tolist()
    if found.problem is not None:
        return found.problem
    sizes = [(photo.pixels.shape[0], photo.pixels.shape[1]) for photo in (narrow, wide)]
    place = common_rectangle(found.transform, *sizes)
    figures["rectangle"] = list(place)
    original = reduced(narrow.pixels[place.top : place.bottom, place.left : place.right], task.settings.height)
    bokeh = reduced(laid(wide.pixels, found.transform, place), task.settings.height)
    if task.settings.match_exposure:
        gains = exposure_gains(original, bokeh)
        figures["gains"] = gains.tolist()
        bokeh = exposed(bokeh, gains)
    figures["size"] = original.shape[:2]
    for file, pixels, photo in zip(task.files, (original, bokeh), (narrow, wide), strict=True):
        write_image(file, pixels, _exif_for(photo.exif, pixels), photo.icc, task.settings.quality)
    thumbnails |= {"original": _thumbnail(original, AFTER), "bokeh": _thumbnail(bokeh, AFTER)}
    return None


def _exif_for(exif: bytes | None, pixels: NDArray[np.uint8]) -> bytes | None:
    """Return an EXIF block that states the size of these pixels."""
    if exif is None:
        return None
    tags = parsed(exif)
    details = tags.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ExifImageHeight], details[ExifTags.Base.ExifImageWidth] = pixels.shape[:2]
    return tags.tobytes()


def _thumbnail(pixels: NDArray[np.uint8], longest: int) -> str:
    share = min(1.0, longest / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * share)), max(1, round(pixels.shape[0] * share))
    small = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _SHOWN_QUALITY])
    return base64.b64encode(encoded.tobytes()).decode()


def align_all(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """Align captures, in several processes if asked; outcomes come as they are ready.

    Args:
        tasks: What is to be done.
        workers: Processes; 1 computes in this one.

    Raises:
        StorageError: A file could not be written.
        DataError: A process was ended, by the machine for want of memory say.
    """
    if workers == 1 or len(tasks) < 2:
        yield from map(align, tasks)
        return
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn"))
    try:
        for done in as_completed([pool.submit(align, task) for task in tasks]):
            yield done.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A process was ended while it aligned photos, perhaps for want of memory; repeat the command with fewer "
            "--workers; it goes on where it stopped."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
