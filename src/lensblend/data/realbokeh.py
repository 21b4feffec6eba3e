"""Data sets of scenes at several apertures, RealBokeh above all: every wider aperture of a scene makes a pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from lensblend.data.catalogue import hash_fraction
from lensblend.data.doubts import doubts_of, twins
from lensblend.data.files import FilePairs, Found, PairFiles, match, raise_all
from lensblend.data.listing import natural_key
from lensblend.data.lists import excluded_ids, read_ids
from lensblend.data.pairs import Source, Split
from lensblend.data.scene_files import Scene, aperture_name, find_scenes, scene_layout
from lensblend.errors import RequestError

_WORDS = {"train": "training", "val": "validation", "test": "test"}


class RealBokeh(Source):
    """Scenes at several apertures: the narrowest is the photo, each other one a target that carries its f-number.

    A pair is called after scene and f-number: ``4641-f2.0``. A scene never has pairs in both splits.

    Args:
        root: Folder of the data set.
        layout: One of `SCENE_LAYOUTS`; ``auto`` finds it.
        f_numbers: Of the targets; None takes all.
        photo_f_number: Of the photos; None takes the largest that the data set has.
        train_list: CSV of scenes or pairs; together with ``val_list``, and in place of the layout's own split.
        val_list: The same for validation.
        val_fraction: Share of the scenes, in [0, 1), that validates where neither lists nor the layout say which. A
            scene's own name decides, through a hash.
        exclude: Scenes or pairs to leave out of all splits, or a file with one per line.
        test_list: The same as ``train_list`` for a test split, beside the other two; without lists it is what the
            layout says.

    References:
        T. Seizinger et al., "Bokehlicious: Photorealistic bokeh rendering with controllable apertures", ICCV 2025.
    """

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        f_numbers: Sequence[float | int] | None = None,
        photo_f_number: float | int | None = None,
        train_list: str | None = None,
        val_list: str | None = None,
        val_fraction: float = 0.05,
        exclude: str | Sequence[str | int] | None = None,
        test_list: str | None = None,
    ) -> None:
        _check_request(f_numbers, photo_f_number, train_list, val_list, val_fraction)
        if test_list is not None and train_list is None:
            raise RequestError(f"`test_list` = `{test_list}` goes beside `train_list` and `val_list`; give all three.")
        self.root, problems = Path(root), list[str]()
        self.layout = scene_layout(self.root, layout)
        scenes = sorted(find_scenes(self.root, self.layout, problems), key=lambda scene: natural_key(scene.id))
        problems += twins(scene.id for scene in scenes)
        there = {number for scene in scenes for number in scene.files}
        narrowest = max(there, default=math.nan) if photo_f_number is None else float(photo_f_number)
        wanted = there - {narrowest} if f_numbers is None else {float(number) for number in f_numbers}
        _check_apertures(there, narrowest, wanted)
        self.f_numbers, self.photo_f_number = sorted(wanted), narrowest
        excluded = excluded_ids(exclude)
        _check_known(excluded, scenes)
        files = pair_files([s for s in scenes if s.id not in excluded], narrowest, problems)
        raise_all(problems, f"the scenes of `{root}`")
        self._scene_of = {pair.id: scene for scene, pairs in files.items() for pair in pairs}
        kept = [p for ps in files.values() for p in ps if p.id not in excluded and p.f_number in wanted]
        listed = {"train": train_list, "val": val_list, "test": test_list}
        parts = self._listed({name: path for name, path in listed.items() if path is not None})
        if not parts:
            of_scenes = scene_parts(scenes, val_fraction)
            parts = {name: {scene for scene, part in of_scenes.items() if part == name} for name in listed}
        self._splits = {
            name: FilePairs([pair for pair in kept if self._among(pair, parts.get(name, set()))]) for name in listed
        }
        if not kept or not any(pairs.ids for pairs in self._splits.values()):
            raise RequestError(f"`data.root` = `{root}` leaves no pair; check data.f_numbers, the lists and `exclude`.")

    @classmethod
    def f_number(cls, node: Mapping[str, Any]) -> float | None:
        """Return the f-number of the targets where one alone is asked for."""
        numbers = node.get("f_numbers") or []
        return float(numbers[0]) if len(numbers) == 1 else None

    def doubts(self) -> list[str]:
        """Say whether photos and targets look swapped, or are the same."""
        return doubts_of(self._splits["train"])

    def split(self, name: Split) -> FilePairs:
        """Return the pairs of one split, by scene and from the widest aperture on."""
        return self._splits[name]

    def test(self) -> FilePairs:
        """Return the pairs of the test split, as those of the others."""
        return self._splits["test"]

    def summary(self) -> str:
        """Say in one line what is there."""
        words = {name: word for name, word in _WORDS.items() if name != "test" or self._splits[name].ids}
        counts = [f"{len(self._splits[name].ids)} {word} pairs" for name, word in words.items()]
        scenes = [len({self._scene_of[pair] for pair in self._splits[name].ids}) for name in words]
        widest, narrowest = (aperture_name(number)[1:] for number in (self.f_numbers[0], self.f_numbers[-1]))
        apertures = f"f/{widest}" if widest == narrowest else f"f/{widest}–f/{narrowest}"
        shares = [f"{count} (scenes: {number})" for count, number in zip(counts, scenes, strict=True)]
        return f"{self.root}: {', '.join(shares)}, targets at {apertures} (layout: {self.layout})"

    def _among(self, pair: PairFiles, names: set[str]) -> bool:
        return pair.id in names or self._scene_of[pair.id] in names

    def _listed(self, lists: Mapping[str, str]) -> dict[str, set[str]]:
        """Return scenes, or pairs where lists name such, by split."""
        named = {part: set(read_ids(path)) for part, path in lists.items()}
        scenes_of = {part: {self._scene_of.get(name, name) for name in names} for part, names in named.items()}
        for one, other in combinations(named, 2):
            if both := sorted(scenes_of[one] & scenes_of[other], key=natural_key):
                shared = f"{len(both)} scenes ({', '.join(both[:5])})"
                raise RequestError(f"`{one}_list` and `{other}_list` share {shared}; keep them apart.")
        return named


def scene_parts(scenes: Sequence[Scene], val_fraction: float) -> dict[str, str]:
    """Return the part of each scene: what its layout says; where that has no part for validation, a share of the rest.

    Args:
        scenes: Of a data set.
        val_fraction: Share of the scenes of training, in [0, 1), chosen by name.
    """
    own = any(scene.part == "val" for scene in scenes)

    def part(scene: Scene) -> str:
        if own or scene.part == "test":
            return scene.part or "train"
        return "val" if hash_fraction(scene.id) < val_fraction else "train"

    return {scene.id: part(scene) for scene in scenes}


def pair_files(scenes: Sequence[Scene], photo_f_number: float, problems: list[str]) -> dict[str, list[PairFiles]]:
    """Pair the photo of each scene with each other aperture of it; what does not fit is added to ``problems``.

    Args:
        scenes: Of a data set.
        photo_f_number: At which every scene has a photo.
        problems: Receives what is wrong, a line each.

    Returns:
        Pairs by scene, from the widest aperture on.
    """
    paired: dict[str, list[PairFiles]] = {}
    for scene in scenes:
        others = sorted(number for number in scene.files if number != photo_f_number)
        if photo_f_number not in scene.files or not others:
            has = ", ".join(f"f/{aperture_name(number)[1:]}" for number in sorted(scene.files)) or "no photo"
            lacks = (
                "no wider aperture" if photo_f_number in scene.files else f"no f/{aperture_name(photo_f_number)[1:]}"
            )
            problems.append(f"scene `{scene.id}` has {lacks}, but {has}")
            continue
        numbers = {f"{scene.id}-{aperture_name(number)}": number for number in others}
        photos: Found = dict.fromkeys(numbers, scene.files[photo_f_number])
        targets: Found = {pair: scene.files[number] for pair, number in numbers.items()}
        pairs = match(numbers, photos, targets, {}, problems)
        paired[scene.id] = [replace(pair, f_number=numbers[pair.id]) for pair in pairs]
    return paired


def _check_request(
    f_numbers: Sequence[float | int] | None,
    photo_f_number: float | int | None,
    train_list: str | None,
    val_list: str | None,
    val_fraction: float,
) -> None:
    given = [*(f_numbers or ()), *(() if photo_f_number is None else (photo_f_number,))]
    if f_numbers is not None and not f_numbers:
        raise RequestError("`f_numbers` is [], which leaves no target; name some, as [2.0,2.8], or null for all.")
    if wrong := [number for number in given if isinstance(number, str | bool) or not 0 < number < math.inf]:
        raise RequestError(f"f-numbers are positive and finite, but got {wrong[0]!r}; write [2.0,2.8].")
    if (train_list is None) != (val_list is None):
        raise RequestError(f"`train_list` and `val_list` go together, but got {train_list} and {val_list}; give both.")
    if not 0 <= val_fraction < 1:
        raise RequestError(f"`val_fraction` is in [0, 1), but got {val_fraction}.")


def _check_apertures(there: set[float], narrowest: float, wanted: set[float]) -> None:
    known = ", ".join(f"{number:g}" for number in sorted(there))
    if narrowest not in there:
        raise RequestError(f"`photo_f_number` = {narrowest:g} is no aperture of these scenes; there are: {known}.")
    if absent := sorted(wanted - there):
        raise RequestError(f"`f_numbers` holds {absent[0]:g}, at which no scene was taken; there are: {known}.")
    if narrowest in wanted:
        raise RequestError(f"`f_numbers` holds {narrowest:g}, the aperture of the photos; targets are at wider ones.")


def _check_known(excluded: set[str], scenes: Sequence[Scene]) -> None:
    known = {name for s in scenes for name in (s.id, *(f"{s.id}-{aperture_name(number)}" for number in s.files))}
    if unknown := sorted(excluded - known, key=natural_key):
        raise RequestError(
            f"`exclude` names {', '.join(unknown[:20])}, which is no scene or pair here; check the names."
        )
