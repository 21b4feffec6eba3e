"""Which files of a folder make a pair: the layouts that data sets come in, and what is missing in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lensblend.data.catalogue import scan_named
from lensblend.data.doubts import refuse_one_folder_twice, twins
from lensblend.data.files import Found, scan
from lensblend.data.listing import images_in, natural_key
from lensblend.data.scene_files import Scene, aperture_name, find_scenes
from lensblend.errors import RequestError
from lensblend.preparation.findings import Finding
from lensblend.preparation.layouts import FINDERS, LAYOUTS, layouts_in

_FOLDERS = (("photos", "targets"), ("original", "bokeh"))
_MAPS = ("masks", "disparities")


@dataclass(frozen=True)
class Unit:
    """Files that belong together.

    Attributes:
        id: As its data set calls it.
        photo: The all-in-focus photo.
        targets: Its partners: one, or one for each f-number.
        maps: Masks and the like.
        split: ``train``, ``val``, ``test``, or nothing where none is known.
    """

    id: str
    photo: Path | None
    targets: tuple[Path, ...] = ()
    maps: tuple[Path, ...] = ()
    split: str = ""

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*([] if self.photo is None else [self.photo]), *self.targets, *self.maps]


@dataclass
class Arrangement:
    """What a folder holds.

    Attributes:
        layout: Its name, for the reader.
        units: What belongs together.
        findings: What is missing, or there twice.
    """

    layout: str
    units: list[Unit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


Named = Callable[[Path], str]


def arrange(folder: Path, named: Named) -> Arrangement:
    """Find the pairs of a folder in one of the known layouts; photos alone are one as well.

    Args:
        folder: The data set's.
        named: Tells how a finding calls a file.

    Raises:
        RequestError: The folder has none of them; the known ones are listed.
    """
    layouts = layouts_in(folder)
    if not layouts:
        return _folders(folder, named)
    if layouts[0] not in FINDERS:
        return _scenes(folder, layouts[0], named)
    photos, targets, maps, part = FINDERS[layouts[0]](folder)
    arrangement = Arrangement(layouts[0])
    _unite(arrangement, named, photos, {"target": targets}, maps, part)
    return arrangement


def arrange_folders(photos: Path, targets: Path, named: Named) -> Arrangement:
    """Pair up the files of two folders by name."""
    refuse_one_folder_twice({"--photos": photos, "--targets": targets})
    arrangement = Arrangement(f"{photos} and {targets}")
    found = {"--photos": photos, "--targets": targets}
    here, there = (scan_named(str(folder), option) for option, folder in found.items())
    _unite(arrangement, named, here, {"target": there}, {}, lambda _: "")
    return arrangement


def _folders(folder: Path, named: Named) -> Arrangement:
    names = next(((a, b) for a, b in _FOLDERS if (folder / a).is_dir() and (folder / b).is_dir()), None)
    photos = folder / (names[0] if names else "photos")
    photos = photos if photos.is_dir() else folder
    targets = scan(folder / names[1], _stem) if names else Found()
    maps = {name: found for name in _MAPS if (found := scan(folder / name, _stem))}
    if not names and not images_in(photos):
        known = "; ".join([*LAYOUTS.values(), "photos and targets", "photos and masks"])
        raise RequestError(
            f"`{folder}` has none of the known layouts ({known}; photos alone); give --photos and --targets."
        )
    layout = f"{names[0]} and {names[1]}" if names else "photos and maps" if maps else "photos"
    arrangement = Arrangement(layout)
    needed = {"target": targets} if names else maps
    _unite(arrangement, named, scan(photos, _stem), needed, maps if names else {}, lambda _: "")
    return arrangement


def _scenes(folder: Path, layout: str, named: Named) -> Arrangement:
    """Return a unit for each scene: the photo at the narrowest aperture of all, and what was taken at the others."""
    problems: list[str] = []
    scenes = sorted(find_scenes(folder, layout, problems), key=lambda scene: natural_key(scene.id))
    # What belongs to no scene is found again as a file that belongs to nothing.
    narrowest = max((number for scene in scenes for number in scene.files), default=0.0)
    arrangement = Arrangement(layout)
    for scene in scenes:
        arrangement.findings += _apertures(scene, narrowest, named)
        files = {number: path for number, paths in sorted(scene.files.items()) if (path := _only(paths))}
        loose = [path for paths in scene.files.values() if len(paths) > 1 for path in paths]
        arrangement.units += [Unit(scene.id, None, (path,), (), scene.part or "") for path in loose]
        photo = files.pop(narrowest, None)
        arrangement.units.append(Unit(scene.id, photo, tuple(files.values()), (), scene.part or ""))
    return arrangement


def _apertures(scene: Scene, narrowest: float, named: Named) -> list[Finding]:
    """Say what a scene lacks, or has twice."""
    found = []
    any_file = next((paths[0] for paths in scene.files.values()), None)
    if any_file is not None and (narrowest not in scene.files or len(scene.files) == 1):
        lacks = "wider aperture" if narrowest in scene.files else f"photo at {aperture_name(narrowest)}"
        found.append(Finding(named(any_file), "no partner", f"scene `{scene.id}` has no {lacks}"))
    for number, paths in scene.files.items():
        if len(paths) > 1:
            others = ", ".join(f"`{path.name}`" for path in paths)
            found.append(Finding(named(paths[0]), "several", f"`{scene.id}` at {aperture_name(number)}: {others}"))
    return found


def _stem(name: str) -> str:
    return Path(name).stem


def _unite(
    arrangement: Arrangement,
    named: Named,
    photos: Found,
    needed: Mapping[str, Found],
    optional: Mapping[str, Found],
    split_of: Callable[[str], str],
) -> None:
    """Add the units of equally named files, and what is missing: a photo, or one of what every photo needs."""
    parts = {"photo": photos, **needed, **optional}
    names = sorted(set().union(*parts.values()), key=natural_key)
    for name in names:
        there = {part: found.get(name, []) for part, found in parts.items()}
        first = {part: paths[0] for part, paths in there.items() if paths}
        known = next(iter(first.values()))
        for part in ("photo", *needed):
            if not there[part]:
                arrangement.findings.append(Finding(named(known), "no partner", f"`{name}` has no {part}"))
        for part, paths in there.items():
            if len(paths) > 1:
                others = ", ".join(f"`{path.name}`" for path in paths)
                arrangement.findings.append(Finding(named(paths[0]), "several", f"`{name}` as {part}: {others}"))
        # What is there twice is looked at, and compared with nothing: nobody knows which belongs.
        photo, target = (_only(there.get(part, [])) for part in ("photo", "target"))
        loose = [path for part in ("photo", "target") for path in there.get(part, []) if path not in (photo, target)]
        arrangement.units += [Unit(name, None, (path,), (), split_of(name)) for path in loose]
        maps = [path for part, paths in there.items() if part not in ("photo", "target") for path in paths]
        targets = () if target is None else (target,)
        arrangement.units.append(Unit(name, photo, targets, tuple(maps), split_of(name)))
    for doubt in twins(names):
        what, _, remedy = doubt.rpartition("; ")
        arrangement.findings.append(Finding(named(_file_of(parts.values(), doubt)), "alike names", what, remedy))


def _only(paths: Sequence[Path]) -> Path | None:
    return paths[0] if len(paths) == 1 else None


def _file_of(parts: Iterable[Found], doubt: str) -> Path:
    """Return a file whose id a sentence names."""
    return next(paths[0] for found in parts for name, paths in found.items() if f"`{name}`" in doubt)
