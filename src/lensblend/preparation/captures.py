"""Which photos of a folder show one scene at a narrow and a wide aperture."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import ExifTags

from lensblend.data.images import MAX_PIXELS
from lensblend.data.listing import SUFFIXES, natural_key, subfolders
from lensblend.data.opening import opened
from lensblend.data.regular_files import TEXT_LIMIT, open_regular
from lensblend.errors import DataError, RequestError
from lensblend.preparation.raw import RAW, is_raw, raw_taken

FOLDERS = ("original", "bokeh")
COLUMNS = ("narrow", "wide")
LONGEST_PAUSE = 60  # seconds between two exposures of one scene, where only their times tell
_F_NUMBER = re.compile(r"(.*?)[-_ ]*f[-_]?(\d{1,2}(?:[._]\d{1,2})?)", re.IGNORECASE)


@dataclass(frozen=True)
class Capture:
    """One scene taken twice.

    Attributes:
        name: Stable and unique within the folder.
        narrow: The photo at the narrow aperture, sharp all over.
        wide: The photo at the wide aperture.
    """

    name: str
    narrow: Path
    wide: Path


@dataclass(frozen=True)
class Found:
    """Captures in order, and a line for each file that is part of none."""

    captures: Sequence[Capture]
    passed_over: Sequence[str]


def find_captures(folder: Path, table: Path | None = None) -> Found:
    """Pair up the photos of a folder.

    A table says which; without one, folders ``original`` and ``bokeh`` do, with one name in both; else f-numbers at the
    ends of names, here and in subfolders (``tree_f16.jpg`` with ``tree_f1.8.jpg``, or ``tree/f16.jpg`` with
    ``tree/f1.8.jpg``; the largest and the smallest of a scene count); else EXIF: neighbours in time with different
    f-numbers. A raw file beside a photo of the same name is what the camera made the photo of, and is passed over.

    Args:
        folder: Holds the photos.
        table: A CSV file with the columns ``narrow`` and ``wide``: paths within the folder, or absolute ones.

    Raises:
        RequestError: There is no such folder.
        DataError: No two photos belong together, or the table is none.
    """
    if not folder.is_dir():
        raise RequestError(f"`{folder}` is not a folder; name the folder of the photos.")
    if table is not None:
        return Found(_tabled(folder, table), [])
    if all((folder / name).is_dir() for name in FOLDERS):
        found = _by_folder(folder)
    else:
        found = _by_name(folder)
        if not found.captures:
            found = _by_exif(folder)
    if not found.captures:
        said = "".join(f"\n- {line}" for line in found.passed_over[:20])
        raise DataError(
            f"`{folder}` holds no two photos of one scene: give folders `original` and `bokeh`, names that end in "
            f"f-numbers (tree_f16.jpg, tree_f1.8.jpg), photos with EXIF, or --pairs FILE.csv.{said}"
        )
    return found


def _photos(folder: Path) -> tuple[list[Path], list[str]]:
    """Return a folder's photos in order, and a line for each raw file that lies beside what was developed of it."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in (*SUFFIXES, *RAW) and p.name[0] != "." and p.is_file()]
    found.sort(key=lambda p: natural_key(p.name))
    developed = {photo.stem: photo.name for photo in found if not is_raw(photo)}
    twins = {photo for photo in found if is_raw(photo) and photo.stem in developed}
    said = [f"`{photo}` lies beside {developed[photo.stem]}, which counts" for photo in found if photo in twins]
    return [photo for photo in found if photo not in twins], said


def _tabled(folder: Path, table: Path) -> list[Capture]:
    try:
        with open_regular(table) as file:
            text = file.read(TEXT_LIMIT).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
    except FileNotFoundError as error:
        raise RequestError(f"`{table}` does not exist; check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"`{table}` is no table ({error}); save it as CSV in UTF-8.") from error
    if not rows or not all(row.get(column) for row in rows for column in COLUMNS):
        raise DataError(f"`{table}` needs the columns {' and '.join(COLUMNS)}, and a file in both of every row.")
    captures = [Capture(row["narrow"], folder / row["narrow"], folder / row["wide"]) for row in rows]
    missing = [str(p) for capture in captures for p in (capture.narrow, capture.wide) if not p.is_file()]
    if missing:
        raise DataError(f"`{table}` names {len(missing)} file(s) that do not exist, the first `{missing[0]}`.")
    twice = _first_repeated(capture.name for capture in captures)
    if twice is not None:
        raise DataError(f"`{table}` names `{twice}` in two rows; a photo at the narrow aperture has one partner.")
    return captures


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _by_folder(folder: Path) -> Found:
    stems: dict[str, tuple[list[Path], list[Path]]] = {}
    captures, left = [], []
    for place, name in enumerate(FOLDERS):
        photos, twins = _photos(folder / name)
        left += twins
        for photo in photos:
            stems.setdefault(photo.stem, ([], []))[place].append(photo)
    for stem, (narrow, wide) in stems.items():
        if len(narrow) == len(wide) == 1:
            captures.append(Capture(stem, narrow[0], wide[0]))
        else:
            why = f"`{stem}` is there {len(narrow)} times in {FOLDERS[0]} and {len(wide)} times in {FOLDERS[1]}"
            left.append(why)
    return Found(captures, left)


def _by_name(folder: Path) -> Found:
    scenes: dict[str, list[tuple[float, Path]]] = {}
    left = []
    for place in (folder, *subfolders(folder)):
        found, twins = _photos(place)
        left += twins
        for photo in found:
            known = _F_NUMBER.fullmatch(photo.stem)
            if known is None:
                left.append(f"`{photo}` has no f-number at the end of its name")
                continue
            below = photo.parent.relative_to(folder)
            scene = (below / known[1]).as_posix() if known[1] else below.as_posix()
            scenes.setdefault(scene, []).append((float(known[2].replace("_", ".")), photo))
    captures = []
    for scene, photos in scenes.items():
        ordered = sorted(photos, key=lambda entry: entry[0])
        (widest, wide), (narrowest, narrow) = ordered[0], ordered[-1]
        if widest == narrowest:
            left += [f"`{photo}` has no partner at another f-number" for _, photo in ordered]
            continue
        captures.append(Capture(scene, narrow, wide))
        left += [f"`{photo}` is neither the narrowest nor the widest of `{scene}`" for _, photo in ordered[1:-1]]
    return Found(captures, left)


def _by_exif(folder: Path) -> Found:
    photos, left = _photos(folder)
    known = []
    for photo in photos:
        taken = _taken(photo)
        if isinstance(taken, str):
            left.append(f"`{photo}` {taken}")
        else:
            known.append((*taken, photo))
    known.sort(key=lambda entry: entry[0])
    captures, index = [], 0
    while index < len(known):
        (time, aperture, photo), after = known[index], known[index + 1 : index + 2]
        if after and after[0][1] != aperture and (after[0][0] - time).total_seconds() <= LONGEST_PAUSE:
            narrow, wide = (photo, after[0][2]) if aperture > after[0][1] else (after[0][2], photo)
            captures.append(Capture(narrow.stem, narrow, wide))
            index += 2
        else:
            left.append(f"`{photo}` has no neighbour in time at another f-number, within {LONGEST_PAUSE} s")
            index += 1
    return Found(captures, left)


def _taken(photo: Path) -> tuple[datetime, float] | str:
    """Return when and at which f-number a photo was taken; a text says why that is not known."""
    try:
        if is_raw(photo):
            return raw_taken(photo) or "says no time and f-number; put the f-number into its name, or give --pairs"
        with opened(photo, MAX_PIXELS) as (image, _):
            tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
        time = str(tags[ExifTags.Base.DateTimeOriginal]).strip("\0 ")
        return datetime.strptime(time, "%Y:%m:%d %H:%M:%S"), float(tags[ExifTags.Base.FNumber])
    except RequestError as error:
        return f"says when it was taken to rawpy alone: {error}"
    except DataError as error:
        return f"cannot be read: {error}"
    except (KeyError, ValueError, ZeroDivisionError):
        return "has no EXIF with DateTimeOriginal and FNumber"
