"""A look at the files of one pair: each is decoded once, by the one loader, and then they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lensblend.data.files import check_map_fits
from lensblend.data.images import MAX_PIXELS, read_map, read_photo
from lensblend.data.opening import opened
from lensblend.errors import DataError
from lensblend.preparation.arrangement import Unit
from lensblend.preparation.duplicates import thumbnail
from lensblend.preparation.findings import Finding
from lensblend.preparation.quality import measure
from lensblend.runs.files import file_sha256

LEAST_SIDE = 32  # pixels: no network works at less
_PLAIN = ("RGB", "L", "1")
_ALIKE = {"MPO": "JPEG"}  # a JPEG with further pictures behind it
Photo = UInt8[np.ndarray, "h w 3"]


@dataclass
class Seen:
    """What became known of a file.

    Attributes:
        file: Where it is.
        role: ``photo``, ``target`` or ``map``.
        sha256: Of its bytes; empty where they could not be read.
        mark: Its thumbnail, of a photo that shows something.
    """

    file: Path
    role: str
    sha256: str = ""
    mark: np.ndarray | None = None


@dataclass
class Look:
    """What became known of the files of a pair.

    Attributes:
        unit: The pair.
        seen: By file.
        findings: What is wrong with a file, or between two.
    """

    unit: Unit
    seen: list[Seen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def look(unit: Unit, named: Callable[[Path], str], compares: bool = True) -> Look:
    """Read all files of a pair, and compare photo, targets and maps.

    Args:
        unit: The files.
        named: Tells how a finding calls a file.
        compares: Measure how target and photo fit each other, which takes most of the time.
    """
    result = Look(unit)
    photo = None if unit.photo is None else _pixels(unit.photo, "photo", named, result)
    for target in unit.targets:
        pixels = _pixels(target, "target", named, result)
        if photo is not None and pixels is not None:
            result.findings += _comparison(unit, target, photo, pixels, named, compares)
    for file in unit.maps:
        _look_at_map(unit, file, photo, named, result)
    return result


def _pixels(file: Path, role: str, named: Callable[[Path], str], result: Look) -> Photo | None:
    """Return a file's pixels; None where it cannot be read. What is seen is noted."""
    seen = Seen(file, role)
    result.seen.append(seen)
    try:
        seen.sha256 = file_sha256(file)
        mode, kind = _header(file)
        pixels = read_photo(file)
    except (DataError, FileNotFoundError) as error:
        result.findings.append(unreadable(file, named(file), str(error)))
        return None
    result.findings += [Finding(named(file), *found) for found in _oddities(file, mode, kind, pixels)]
    if role == "photo":
        seen.mark = thumbnail(pixels)
    return pixels


def _header(file: Path) -> tuple[str, str]:
    """Return mode and format."""
    with opened(file, MAX_PIXELS) as (image, _):
        return ("transparent " if "transparency" in image.info else "") + image.mode, str(image.format)


def _oddities(file: Path, mode: str, kind: str, pixels: Photo) -> list[tuple[str, str]]:
    height, width = pixels.shape[:2]
    meant = Image.registered_extensions().get(file.suffix.lower(), kind)
    found = []
    if _ALIKE.get(kind, kind) != _ALIKE.get(meant, meant):
        found.append(("wrong suffix", f"it is {kind}, but its name ends in {file.suffix}"))
    if mode not in _PLAIN:
        found.append(("colour mode", f"it is stored as {mode}"))
    if min(height, width) < LEAST_SIDE:
        found.append(("too small", f"it has {height}×{width} pixels (height×width), less than {LEAST_SIDE} on a side"))
    return found


def unreadable(file: Path, name: str, message: str) -> Finding:
    """Return what a loader's message says as a finding: its last part is the remedy."""
    what, _, remedy = message.replace(f"`{file}` ", "", 1).rpartition("; ")
    is_empty = file.is_file() and file.stat().st_size == 0
    return Finding(name, "empty" if is_empty else "unreadable", what or remedy, remedy.rstrip(".") if what else "")


def _comparison(
    unit: Unit,
    target: Path,
    photo: Photo,
    pixels: UInt8[np.ndarray, "i j 3"],
    named: Callable[[Path], str],
    compares: bool,
) -> list[Finding]:
    here, there = photo.shape[:2], pixels.shape[:2]
    if here != there:
        kind = "orientation" if here == there[::-1] else "size"
        sizes = f"{there[0]}×{there[1]}, its photo {here[0]}×{here[1]} (height×width)"
        return [Finding(named(target), kind, f"the target of `{unit.id}` is {sizes}")]
    if not compares:
        return []
    return [Finding(named(target), kind, what) for kind, what in measure(photo, pixels).problems(here[1]).items()]


def _look_at_map(unit: Unit, file: Path, photo: Photo | None, named: Callable[[Path], str], result: Look) -> None:
    seen = Seen(file, "map")
    result.seen.append(seen)
    try:
        seen.sha256 = file_sha256(file)
        plane = read_map(file)
    except (DataError, FileNotFoundError) as error:
        result.findings.append(unreadable(file, named(file), str(error)))
        return
    if photo is None or unit.photo is None:
        return
    try:
        check_map_fits(named(file), (plane.shape[0], plane.shape[1]), named(unit.photo), photo.shape[:2])
    except DataError as error:
        result.findings.append(Finding(named(file), "map shape", str(error).rpartition(": ")[0]))
