"""In which layouts data sets are passed around, and which pairs a folder in one of them holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lensblend.data.catalogue import EBB_LAYOUTS, EBB_TRAIN, EBB_VAL294, find_ebb, hash_fraction
from lensblend.data.doubts import twins
from lensblend.data.files import Found, PairFiles, match, scan
from lensblend.data.listing import images_in, natural_key, subfolders
from lensblend.data.lists import id_of, read_ids
from lensblend.data.realbokeh import pair_files, scene_parts
from lensblend.data.scene_files import SCENE_LAYOUTS, find_scenes, scene_layouts_in
from lensblend.errors import RequestError, one_of

VAL_FRACTION = 0.05  # of the pairs or scenes of training, where nobody published which validate
_PARTS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
# Pairs of two folders, whose names differ by layout: photos and targets.
_FOLDERS = {"in_gt": ("in", "gt"), "input_target": ("input", "target")}
LAYOUTS = {
    **EBB_LAYOUTS,
    "in_gt": "train|validation|test/{in,gt}/NAME.jpg, as EBB400 and Val294 beside RealBokeh",
    "input_target": "train|test/{input,target}/NAME.jpg, as EBB! beside VABD",
    "suffixes": "NAME_input.jpg and NAME_gt.jpg in one folder, as LF-Bokeh",
    **SCENE_LAYOUTS,
}
# Counts that were published, by layout and part: pairs, and how the source says so.
PUBLISHED: Mapping[str, Mapping[str, int]] = {
    "challenge": {"train": 4400, "val": 294},
    "pynet": {"train": 4400, "val": 294},
}
PUBLISHED_FILES = {"realbokeh": 23_000}  # "23,000 images", Seizinger et al. (2025)
_DEPTH = 3  # folders down which a layout is looked for: archives often hold one around it


@dataclass(frozen=True)
class DataSet:
    """What a folder holds.

    Attributes:
        folder: The folder of the layout; it may lie in the one that was named.
        layout: Its layout.
        pairs: By id, numbers in order.
        parts: ``train``, ``val``, ``test``, or nothing, of each pair.
        scenes: The scene of each pair where scenes have several; otherwise empty.
        photo_f_number: Of the photos, where it is known.
        problems: What does not fit, a line each.
    """

    folder: Path
    layout: str
    pairs: Sequence[PairFiles]
    parts: Mapping[str, str]
    scenes: Mapping[str, str]
    photo_f_number: float | None
    problems: Sequence[str]


def find_layout(folder: Path, layout: str | None = None) -> tuple[Path, str]:
    """Find the layout of a folder, or of the one folder in it.

    Args:
        folder: To look in.
        layout: The one it must have; None takes the one it has.

    Returns:
        The folder that has a layout, and the layout's name.

    Raises:
        RequestError: It has none, not this one, or could be several; one line that lists what is known.
    """
    if layout is not None:
        one_of("--layout", layout, LAYOUTS)
    place = folder
    for _ in range(_DEPTH):
        found = [name for name in layouts_in(place) if layout in (None, name)]
        if len(found) == 1:
            return place, found[0]
        if found:
            raise RequestError(f"`{place}` could have the layouts {' and '.join(found)}; choose one by --layout.")
        inner = subfolders(place)
        if len(inner) != 1 or images_in(place):
            break
        place = inner[0]
    known = "; ".join(f"{name}: {files}" for name, files in LAYOUTS.items())
    lacks = "no known layout" if layout is None else f"not the layout {layout}"
    raise RequestError(f"`{folder}` has {lacks}; known are {known}.")


def open_layout(folder: Path, layout: str) -> DataSet:
    """Find all pairs of a data set; headers of all images are read.

    Args:
        folder: The folder that has the layout.
        layout: One of ``LAYOUTS``.
    """
    problems: list[str] = []
    if layout in SCENE_LAYOUTS:
        return _open_scenes(folder, layout, problems)
    photos, targets, maps, parts = FINDERS[layout](folder)
    ids = sorted(photos.keys() | targets.keys(), key=natural_key)
    problems += twins(ids)
    pairs = match(ids, photos, targets, {}, problems)
    disparities = maps.get("disparity", {})
    pairs = [replace(p, maps={"disparity": disparities[p.id][0]} if p.id in disparities else {}) for p in pairs]
    return DataSet(folder, layout, pairs, {pair: parts(pair) for pair in ids}, {}, None, problems)


def _open_scenes(folder: Path, layout: str, problems: list[str]) -> DataSet:
    scenes = sorted(find_scenes(folder, layout, problems), key=lambda scene: natural_key(scene.id))
    problems += twins(scene.id for scene in scenes)
    narrowest = max(number for scene in scenes for number in scene.files)
    files, parts = pair_files(scenes, narrowest, problems), scene_parts(scenes, VAL_FRACTION)
    scene_of = {pair.id: scene for scene, pairs in files.items() for pair in pairs}
    pairs = [pair for pairs in files.values() for pair in pairs]
    return DataSet(folder, layout, pairs, {p: parts[s] for p, s in scene_of.items()}, scene_of, narrowest, problems)


def layouts_in(folder: Path) -> list[str]:
    """Return the layouts that a folder could have, by the folders and names in it."""
    names = [path.stem for path in images_in(folder)]
    parts = [folder / part for part in _PARTS]
    scenes = scene_layouts_in(folder)
    there = {
        "challenge": (folder / "Training" / "original").is_dir(),
        "pynet": (folder / "train" / "original").is_dir(),
        "ebokehnet": any(re.search(r"[._]src$", name) for name in names),
        # RealBokeh's folders of targets hold folders.
        **{
            layout: any((part / one).is_dir() and (part / other).is_dir() for part in parts)
            and not (layout == "in_gt" and "realbokeh" in scenes)
            for layout, (one, other) in _FOLDERS.items()
        },
        "suffixes": any(name.endswith("_input") for name in names) and any(name.endswith("_gt") for name in names),
        **{layout: layout in scenes for layout in SCENE_LAYOUTS},
    }
    return [name for name in LAYOUTS if there[name]]


Parts = Callable[[str], str]
Finder = Callable[[Path], tuple[Found, Found, Mapping[str, Found], Parts]]


def _find_ebb(layout: str) -> Finder:
    def find(folder: Path) -> tuple[Found, Found, Mapping[str, Found], Parts]:
        train, val = set(read_ids(EBB_TRAIN)), set(read_ids(EBB_VAL294))

        def part(pair: str) -> str:
            return "train" if pair in train else "val" if pair in val else "test" if pair.startswith("test-") else ""

        return *find_ebb(folder, layout), part

    return find


def _find_folders(layout: str) -> Finder:
    def find(folder: Path) -> tuple[Found, Found, Mapping[str, Found], Parts]:
        found: list[Found] = [{}, {}]
        parts: dict[str, str] = {}
        for name, part in _PARTS.items():
            for files, kind in zip(found, _FOLDERS[layout], strict=True):
                of_kind = scan(folder / name / kind, id_of)
                named = {file if part == "train" else f"{name}-{file}": paths for file, paths in of_kind.items()}
                files.update(named)
                parts.update(dict.fromkeys(named, part))
        own = "val" in parts.values()
        return (
            found[0],
            found[1],
            {},
            lambda pair: _by_name(pair) if parts[pair] == "train" and not own else parts[pair],
        )

    return find


def _find_suffixes(folder: Path) -> tuple[Found, Found, Mapping[str, Found], Parts]:
    def find(end: str) -> Found:
        return scan(folder, lambda name: id_of(Path(name).stem.removesuffix(end)), end=end)

    return find("_input"), find("_gt"), {}, _by_name


def _by_name(pair: str) -> str:
    return "val" if hash_fraction(pair) < VAL_FRACTION else "train"


# Of layouts with one target for each photo: what finds photos, targets and maps by id, and tells the part of an id.
FINDERS: dict[str, Finder] = {
    **{layout: _find_ebb(layout) for layout in EBB_LAYOUTS},
    **{layout: _find_folders(layout) for layout in _FOLDERS},
    "suffixes": _find_suffixes,
}
