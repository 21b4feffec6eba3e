"""Pairs that lie in files: found by name, checked by their headers, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lensblend.data.images import read_map, read_photo, read_size
from lensblend.data.listing import SUFFIXES
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.transforms import resize_map, resize_mask
from lensblend.errors import DataError

Found = dict[str, list[Path]]


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair."""

    id: str
    photo: Path
    target: Path | None
    maps: Mapping[str, Path]

    @property
    def partner(self) -> tuple[str, Path]:
        """What the photo is compared with, and its file: the target, or the first map where there is none."""
        return next(iter(self.maps.items())) if self.target is None else ("target", self.target)


class FilePairs(Pairs):
    """Pairs that are read from their files each time."""

    def __init__(self, files: Sequence[PairFiles]) -> None:
        self.files = list(files)
        self.ids = [entry.id for entry in self.files]

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Read one pair; a map of another size is resized to the photo's, and a mask made binary."""
        entry = self.files[index]
        photo, target = read_photo(entry.photo), None if entry.target is None else read_photo(entry.target)
        size = photo.shape[:2]
        if target is not None and size != target.shape[:2]:
            raise DataError(_mismatch(entry, size, target.shape[:2]) + ".")
        planes = {name: read_map(path) for name, path in entry.maps.items()}
        maps = {n: resize_mask(p >= 0.5, size) if n == "mask" else resize_map(p, size) for n, p in planes.items()}
        return Pair(entry.id, photo, target, maps)


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
        partner: What every photo needs: ``target`` or ``mask``.
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
    for path in (entry.photo, entry.partner[1]):
        if path.suffix.lower() == ".npy":
            continue
        try:
            sizes.append(read_size(path))
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
