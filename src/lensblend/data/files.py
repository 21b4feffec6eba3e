"""Pairs that lie in files: found by name, checked by their headers, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensblend.data.images import read_map, read_map_size, read_photo, read_size
from lensblend.data.listing import SUFFIXES
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.transforms import resize_map, resize_mask
from lensblend.errors import DataError

Found = dict[str, list[Path]]
# By how much a map's shape may differ from its photo's: networks round the sides of what they compute to multiples.
_SHAPE_TOLERANCE = 0.03


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair."""

    id: str
    photo: Path
    target: Path | None
    maps: Mapping[str, Path]
    f_number: float | None = None

    @property
    def partner(self) -> tuple[str, Path]:
        """What lies on the photo, and its file: the target, or the first map where there is none, or else itself."""
        return next(iter(self.maps.items()), ("photo", self.photo)) if self.target is None else ("target", self.target)


class FileMaps(Mapping[str, Any]):
    """The maps of one photo, each read when it is asked for: one that nobody needs costs nothing and stops nothing."""

    def __init__(self, entry: PairFiles, photo_size: tuple[int, int]) -> None:
        self._entry, self._size = entry, photo_size

    def __getitem__(self, name: str) -> Any:
        file = self._entry.maps[name]
        plane = read_map(file)
        check_map_fits(file, (plane.shape[0], plane.shape[1]), self._entry.photo, self._size)
        return resize_mask(plane >= 0.5, self._size) if name == "mask" else resize_map(plane, self._size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry.maps)

    def __len__(self) -> int:
        return len(self._entry.maps)


class FilePairs(Pairs):
    """Pairs that are read from their files each time."""

    def __init__(self, files: Sequence[PairFiles]) -> None:
        self.files = list(files)
        self.ids = [entry.id for entry in self.files]

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Read one pair; a map of another size is resized to the photo's when it is read, and a mask made binary."""
        entry = self.files[index]
        photo, target = read_photo(entry.photo), None if entry.target is None else read_photo(entry.target)
        size = photo.shape[:2]
        if target is not None and size != target.shape[:2]:
            raise DataError(_mismatch(entry, size, target.shape[:2]) + ".")
        return Pair(entry.id, photo, target, FileMaps(entry, (size[0], size[1])), entry.f_number)

    def f_number(self, index: int) -> float | None:
        """Return the f-number of a pair's target, where it is known."""
        return self.files[index].f_number

    def size(self, index: int) -> tuple[int, int]:
        """Return a photo's (height, width) from its header."""
        return read_size(self.files[index].photo)

    def stamp(self, index: int) -> Hashable | None:
        """Return paths, times and sizes of photo, target and maps; None where one is gone."""
        entry = self.files[index]
        files = [file for file in (entry.photo, entry.target, *entry.maps.values()) if file is not None]
        try:
            return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        except OSError:
            return None

    def map_problems(self, name: str, count: int | None = None, needed: bool = True) -> list[str]:
        """Name the photos without such a map, and the maps that cannot be read or are of another shape."""
        problems = []
        for entry in self.files[:count]:
            if name not in entry.maps:
                problems += [f"`{entry.id}` has no {name}"] if needed else []
                continue
            try:
                file = entry.maps[name]
                check_map_fits(file, read_map_size(file), entry.photo, read_size(entry.photo))
            except DataError as error:
                problems.append(str(error))
        return problems


def check_map_fits(file: str | Path, map_size: tuple[int, int], photo: str | Path, photo_size: tuple[int, int]) -> None:
    """Refuse a map that would have to be stretched to lie on its photo: it would not say what is where.

    Args:
        file: The map's name.
        map_size: Its (height, width), upright.
        photo: The photo's name.
        photo_size: Its (height, width), upright.

    Raises:
        DataError: Their shapes differ, or one stands and the other lies.

    Example:
        >>> check_map_fits("1.png", (384, 512), "1.jpg", (1536, 2048))
        >>> check_map_fits("1.png", (512, 384), "1.jpg", (1536, 2048))
        Traceback (most recent call last):
        lensblend.errors.DataError: `1.png` is 512×384 and `1.jpg` 1536×2048 (height×width): one stands and the other \
lies; turn the map as the photo is shown, or make it again.
    """
    (height, width), (photo_height, photo_width) = map_size, photo_size
    stretch = height * photo_width / (width * photo_height)
    # A side of a small map is rounded to whole pixels.
    allowed = 1 + _SHAPE_TOLERANCE + 1 / min(height, width)
    if 1 / allowed <= stretch <= allowed:
        return
    if (height - width) * (photo_height - photo_width) < 0:
        how = "one stands and the other lies; turn the map as the photo is shown, or make it again."
    else:
        how = "their shapes differ; resize a map of the whole photo to the photo's size, make any other again."
    sizes = f"{height}×{width} and `{photo}` {photo_height}×{photo_width} (height×width)"
    raise DataError(f"`{file}` is {sizes}: {how}")


def scan(folder: Path, id_of: Callable[[str], str], end: str = "") -> Found:
    """Group the images and arrays of a folder by id; ``end`` keeps those whose stem ends so."""
    found: Found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in (*SUFFIXES, ".npy") and path.name[0] != "." and path.stem.endswith(end):
            found.setdefault(id_of(path.name), []).append(path)
    return found


def match(
    wanted: Iterable[str],
    photos: Found,
    targets: Found,
    maps: Mapping[str, Found],
    problems: list[str],
    partner: str = "target",
) -> list[PairFiles]:
    """Pair up the wanted ids of which anything is there; what does not fit is added to ``problems``.

    Args:
        wanted: Ids.
        photos: Files by id.
        targets: Files by id.
        maps: By name: files by id; none, or one for each photo.
        problems: Receives what is wrong, a line each.
        partner: What every photo needs: ``target`` or a map; ``photo`` where it needs nothing.
    """
    parts = {"photo": photos, "target": targets, **maps}
    files = []
    for pair_id in wanted:
        if pair_id not in photos and pair_id not in parts[partner]:
            continue
        paths = {part: found.get(pair_id, []) for part, found in parts.items() if found or part in ("photo", partner)}
        wrong = [f"`{pair_id}` has no {part}" for part, of_part in paths.items() if not of_part]
        wrong += [
            f"`{pair_id}` is there {len(of_part)} times as {part}: {', '.join(p.name for p in of_part)}"
            for part, of_part in paths.items()
            if len(of_part) > 1
        ]
        if not wrong:
            found = {part: of_part[0] for part, of_part in paths.items()}
            entry = PairFiles(pair_id, found.pop("photo"), found.pop("target", None), found)
            wrong = _header_problems(entry)
            files.append(entry)
        problems += wrong
    return files


def _header_problems(entry: PairFiles) -> list[str]:
    problems, sizes = [], []
    for path, read in (
        (entry.photo, read_size),
        (entry.partner[1], read_map_size if entry.target is None and entry.maps else read_size),
    ):
        try:
            sizes.append(read(path))
        except DataError as error:
            problems.append(str(error))
    if len(set(sizes)) == 2:
        problems.append(_mismatch(entry, *sizes))
    return problems


def _mismatch(entry: PairFiles, photo: tuple[int, ...], target: tuple[int, ...]) -> str:
    turned = ", portrait against landscape" if photo == target[::-1] else ""
    sizes = f"{photo[0]}×{photo[1]} and {target[0]}×{target[1]} (height×width){turned}"
    partner, file = entry.partner
    return f"photo and {partner} of `{entry.id}` are {sizes}; align or remove `{entry.photo}` and `{file}`"


def raise_all(problems: list[str], where: str) -> None:
    """Raise one error that lists the first twenty problems, if there is any."""
    if problems:
        listing = "".join(f"\n- {problem}" for problem in problems[:20])
        rest = f"\n- and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise DataError(f"{where}: {len(problems)} problem(s); repair or remove these files:{listing}{rest}")
