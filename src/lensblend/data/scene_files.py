"""Scenes that were taken at several apertures, in files whose names say the f-number: the layouts, and their files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lensblend.data.files import Found, scan
from lensblend.data.listing import images_in, subfolders
from lensblend.data.lists import id_of
from lensblend.errors import RequestError, one_of

Part = Literal["train", "val", "test"]
SCENE_LAYOUTS = {
    "scenes": "SCENE/fN.jpg, such as 4641/f2.0.jpg",
    "realbokeh": "train|validation|test/{in/ID_f22.JPG, gt/ID/ID_fN.JPG}",
    "vabd": "train|test/{input,1_8,2_8,8}/NAME.jpg, input at f/16",
}
# RealBokeh counts its scenes from 1 in each part, so a scene's name outside of `train` says its part.
_PARTS: dict[str, Part] = {"train": "train", "validation": "val", "test": "test"}
_VABD_FOLDERS = {"input": 16.0, "1_8": 1.8, "2_8": 2.8, "8": 8.0}
_F_NUMBER = re.compile(r"(?:^|.*_)f([0-9]+(?:\.[0-9]+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Scene:
    """The photos of one scene.

    Attributes:
        id: Unique within its data set.
        part: To which part of a published split it belongs; None where its layout has none.
        files: By f-number.
    """

    id: str
    part: Part | None
    files: dict[float, list[Path]]


def aperture_name(f_number: float) -> str:
    """Return how an f-number is written in names, as cameras do: a decimal below 10.

    Example:
        >>> aperture_name(2.0), aperture_name(7.1), aperture_name(22.0)
        ('f2.0', 'f7.1', 'f22')
    """
    return f"f{f_number:.1f}" if f_number < 10 else f"f{f_number:g}"


def aperture_of(stem: str) -> float | None:
    """Return the f-number that a file's name ends with.

    Example:
        >>> aperture_of("f2.0"), aperture_of("1001_f14"), aperture_of("leaf2")
        (2.0, 14.0, None)
    """
    match = _F_NUMBER.fullmatch(stem)
    return float(match[1]) if match and float(match[1]) > 0 else None


def scene_layout(root: Path, layout: str = "auto") -> str:
    """Return which of the layouts a folder has.

    Args:
        root: The folder.
        layout: ``auto``, or the one that it must have.

    Raises:
        RequestError: It has none, or not this one, or several.
    """
    one_of("layout", layout, ("auto", *SCENE_LAYOUTS))
    expected = "; ".join(f"{name}: {files}" for name, files in SCENE_LAYOUTS.items())
    if not root.is_dir():
        raise RequestError(f"`data.root` = `{root}` is not a folder; give a folder of scenes ({expected}).")
    found = [name for name in scene_layouts_in(root) if layout in ("auto", name)]
    if len(found) != 1:
        how = f"could be {' or '.join(found)}; name one as data.layout" if found else f"has not the layout {layout}"
        raise RequestError(f"`data.root` = `{root}` {how}; expected {expected}.")
    return found[0]


def scene_layouts_in(folder: Path) -> list[str]:
    """List the layouts that a folder may have, from the names in it."""
    parts = [folder / name for name in _PARTS]
    found = {
        "scenes": any(aperture_of(file.stem) for scene in subfolders(folder) for file in images_in(scene)),
        "realbokeh": any((part / "in").is_dir() and subfolders_of(part / "gt") for part in parts),
        "vabd": any((part / "input").is_dir() and (part / "1_8").is_dir() for part in parts),
    }
    return [name for name, is_there in found.items() if is_there]


def find_scenes(root: Path, layout: str, problems: list[str]) -> list[Scene]:
    """Find the files of all scenes.

    Args:
        root: The data set's folder.
        layout: One of ``SCENE_LAYOUTS``.
        problems: Receives what belongs to no scene, a line each.
    """
    return _FINDERS[layout](root, problems)


def subfolders_of(folder: Path) -> list[Path]:
    """List the folders in a folder, which may not be there."""
    return subfolders(folder) if folder.is_dir() else []


def _by_aperture(files: Iterable[Path], problems: list[str]) -> dict[float, list[Path]]:
    found: dict[float, list[Path]] = {}
    for file in files:
        f_number = aperture_of(file.stem)
        if f_number is None:
            problems.append(f"`{file}` ends with no f-number, as f2.0.jpg does")
        else:
            found.setdefault(f_number, []).append(file)
    return found


def _find_folders(root: Path, problems: list[str]) -> list[Scene]:
    problems += [f"`{file}` lies beside the scenes' folders" for file in images_in(root)]
    return [Scene(id_of(s.name), None, _by_aperture(images_in(s), problems)) for s in subfolders(root)]


def _find_realbokeh(root: Path, problems: list[str]) -> list[Scene]:
    scenes = []
    for name, part in _PARTS.items():
        photos: Found = scan(root / name / "in", lambda file: Path(file).stem.rpartition("_")[0])
        folders = {folder.name: folder for folder in subfolders_of(root / name / "gt")}
        for scene in sorted(photos.keys() | folders.keys()):
            targets = images_in(folders[scene]) if scene in folders else []
            files = _by_aperture([*photos.get(scene, []), *targets], problems)
            scenes.append(Scene(_named(name, scene), part, files))
    return scenes


def _find_vabd(root: Path, problems: list[str]) -> list[Scene]:
    scenes = []
    for name, part in _PARTS.items():
        found = {number: scan(root / name / folder, id_of) for folder, number in _VABD_FOLDERS.items()}
        for scene in sorted(set().union(*found.values())):
            files = {number: of_number[scene] for number, of_number in found.items() if scene in of_number}
            scenes.append(Scene(_named(name, scene), part, files))
    return scenes


def _named(part: str, scene: str) -> str:
    return id_of(scene) if part == "train" else f"{part}-{id_of(scene)}"


_FINDERS: dict[str, Callable[[Path, list[str]], list[Scene]]] = {
    "scenes": _find_folders,
    "realbokeh": _find_realbokeh,
    "vabd": _find_vabd,
}
