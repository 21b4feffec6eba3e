"""Data sets on disk: EBB! in the three layouts it is passed around in, and any two folders of equally named images.

Every file is looked at when a data set is opened, its header alone, and all that is wrong is listed at once.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from lensblend.data.camera import F_NUMBER
from lensblend.data.doubts import doubts_of, refuse_one_folder_twice, twins
from lensblend.data.files import FilePairs, Found, PairFiles, match, raise_all, scan
from lensblend.data.listing import natural_key
from lensblend.data.lists import excluded_ids, id_of, read_ids
from lensblend.data.pairs import Source, Split
from lensblend.errors import RequestError, one_of

EBB_LAYOUTS = {
    "challenge": "Training/{original,bokeh}/N.jpg",
    "pynet": "train|test/{original,bokeh}/N.jpg, optionally original_depth/N.png",
    "ebokehnet": "N_src.jpg and N_tgt.jpg in one folder",
}
EBB_TRAIN = Path(__file__).parent / "splits/ebb_train.csv"
EBB_VAL294 = Path(__file__).parent / "splits/ebb_val294.csv"


class Ebb(Source):
    """Everything is Better with Bokeh!: 4694 pairs, of which 0–4399 train and 4400–4693 validate (Val294).

    A partial copy works: the pairs that are there are used, and `summary` says how many of how many. The counts of the
    DBSI paper (4493 for training, section 4.2) do not add up with its own split; the lists follow the author's.

    Args:
        root: Folder of the data set.
        layout: ``challenge``: ``Training/{original,bokeh}/N.jpg``. ``pynet``: ``train/{original,bokeh}/N.jpg`` and
            the same in ``test/``, numbered from 0 again, whose pairs are called ``test-N`` and belong to no shipped
            list; maps in ``original_depth/`` hold inverse depth and become the disparity. ``ebokehnet``: ``N_src.jpg``
            and ``N_tgt.jpg`` in one folder. ``auto`` takes the first of these that is there.
        train_list: CSV that replaces the shipped list. One column of ids or paths, or two of paths, photo and target
            in either order; a first row of words such as ``original`` is a header.
        val_list: The same for validation.
        exclude: Ids to leave out of all splits, or a file with one per line.
        test_list: The same for a test split.

    References:
        S. Dutta (2021), section 4.2; lists as in the author's DMSHN, 2021.
    """

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        train_list: str | None = None,
        val_list: str | None = None,
        exclude: str | Sequence[str | int] | None = None,
        test_list: str | None = None,
    ) -> None:
        self.root = Path(root)
        self.layout = ebb_layout(self.root, layout)
        listed = {"train": read_ids(train_list or EBB_TRAIN), "val": read_ids(val_list or EBB_VAL294)}
        listed["test"] = read_ids(test_list) if test_list is not None else []
        excluded = excluded_ids(exclude)
        _check_lists(listed, excluded)
        self.expected = {name: len(ids) for name, ids in listed.items()}
        photos, targets, maps = find_ebb(self.root, self.layout)
        problems: list[str] = []
        self._splits = {
            name: _with_maps(match([i for i in ids if i not in excluded], photos, targets, {}, problems), maps)
            for name, ids in listed.items()
        }
        raise_all(problems, f"EBB! at `{root}`")
        if not any(self.counts.values()):
            raise RequestError(
                f"`data.root` = `{root}` (layout: {self.layout}) holds no pair of the lists; check both."
            )

    @classmethod
    def f_number(cls, node: Mapping[str, Any]) -> float | None:
        """Return f/1.8 on a Canon 7D as full frame has it (A. Ignatov et al., CVPR Workshops 2020)."""
        return F_NUMBER

    @property
    def counts(self) -> dict[str, int]:
        """Pairs that are there, by split."""
        return {name: len(pairs.ids) for name, pairs in self._splits.items() if name != "test" or self.expected[name]}

    def doubts(self) -> list[str]:
        """Say whether photos and targets look swapped, or are the same."""
        return doubts_of(self._splits["train"])

    def split(self, name: Split) -> FilePairs:
        """Return the pairs of one split, in the order of its list."""
        return self._splits[name]

    def test(self) -> FilePairs:
        """Return the pairs of ``test_list``."""
        return self._splits["test"]

    def summary(self) -> str:
        """Say in one line what is there."""
        words = {"train": "training", "val": "validation", **({"test": "test"} if self.expected["test"] else {})}
        shares = [f"{self.counts[name]} of {self.expected[name]} {word} pairs" for name, word in words.items()]
        return f"EBB! at {self.root}: {', '.join(shares)} (layout: {self.layout})"


class Folders(Source):
    """Two folders whose files pair up by name; the suffix may differ.

    Args:
        photos: Folder of all-in-focus photos.
        targets: Folder of their partners.
        val_photos: Folder of validation photos; together with ``val_targets``.
        val_targets: Folder of their partners.
        val_fraction: Otherwise: share of the pairs, in [0, 1), that validates. A pair's own name decides, through a
            hash, so adding pairs moves none from one split to the other.
        masks: Folder of masks, white where the target is in focus, for all photos or none.
        disparities: Folder of maps, larger = nearer, as images or NPY, for all photos or none.
        f_number: At which the targets were taken, times the factor by which the sensor is smaller than full frame; for
            `lensblend render --f-number`.
        test_photos: Folder of test photos; together with ``test_targets``.
        test_targets: Folder of their partners.
    """

    def __init__(
        self,
        photos: str,
        targets: str,
        val_photos: str | None = None,
        val_targets: str | None = None,
        val_fraction: float = 0.0,
        masks: str | None = None,
        disparities: str | None = None,
        f_number: float | int | None = None,
        test_photos: str | None = None,
        test_targets: str | None = None,
    ) -> None:
        if f_number is not None and not 0 < f_number < math.inf:
            raise RequestError(f"`f_number` is positive and finite, but got {f_number}; use 2.8, or leave it out.")
        self.photos, self.targets = Path(photos), Path(targets)
        _check_folders_request(val_photos, val_targets, val_fraction)
        _check_both("test_photos", test_photos, "test_targets", test_targets)
        refuse_one_folder_twice({"photos": photos, "targets": targets, "masks": masks, "disparities": disparities})
        maps = {"disparity": scan_named(disparities, "disparities"), "mask": scan_named(masks, "masks")}
        train = scan_named(photos, "photos"), scan_named(targets, "targets")
        problems = twins(train[0])
        files = match(sorted(train[0] | train[1], key=natural_key), *train, maps, problems)
        validating = [entry for entry in files if hash_fraction(entry.id) < val_fraction]
        known, testing = {photos: train[0]}, list[PairFiles]()
        if val_photos is not None and val_targets is not None:
            validating = _further(val_photos, val_targets, "val", known, maps, problems)
        if test_photos is not None and test_targets is not None:
            testing = _further(test_photos, test_targets, "test", known, maps, problems)
        raise_all(problems, f"the pairs of `{photos}` and `{targets}`")
        held_out = {entry.id for entry in validating}
        training = [entry for entry in files if entry.id not in held_out]
        if not training:
            raise RequestError(f"`photos` = `{photos}` leaves no pair to train on; add images or lower `val_fraction`.")
        self._splits = {"train": FilePairs(training), "val": FilePairs(validating), "test": FilePairs(testing)}

    def doubts(self) -> list[str]:
        """Say whether photos and targets look swapped, or are the same."""
        return doubts_of(self._splits["train"])

    def split(self, name: Split) -> FilePairs:
        """Return the pairs of one split, by name, 2 before 10."""
        return self._splits[name]

    def test(self) -> FilePairs:
        """Return the pairs of the test folders."""
        return self._splits["test"]

    def summary(self) -> str:
        """Say in one line what is there."""
        train, val, test = (len(self._splits[name].ids) for name in ("train", "val", "test"))
        further = f", {test} test pairs" if test else ""
        return f"{self.photos} and {self.targets}: {train} training pairs, {val} validation pairs{further}"


def hash_fraction(name: str) -> float:
    """Map a name to a number in [0, 1), evenly and the same everywhere: 8 bytes of its BLAKE2b digest."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little") / 2**64


def _check_lists(listed: dict[str, list[str]], excluded: set[str]) -> None:
    for one, other in combinations(listed, 2):
        if both := sorted(set(listed[one]).intersection(listed[other]), key=natural_key):
            raise RequestError(
                f"`{one}_list` and `{other}_list` share {len(both)} ids ({', '.join(both[:5])}); keep them apart."
            )
    if unknown := sorted(excluded.difference(*listed.values()), key=natural_key):
        raise RequestError(f"`exclude` names {', '.join(unknown[:20])}, which no list holds; check the ids.")


def ebb_layout(root: Path, layout: str = "auto") -> str:
    """Return which of `EBB_LAYOUTS` a folder has.

    Raises:
        RequestError: It has none, or not the one that is named.
    """
    expected = "; ".join(f"{name}: {files}" for name, files in EBB_LAYOUTS.items())
    one_of("layout", layout, ("auto", *EBB_LAYOUTS))
    if not root.is_dir():
        raise RequestError(f"`data.root` = `{root}` is not a folder; give the folder of EBB! ({expected}).")
    present = {
        "challenge": (root / "Training" / "original").is_dir(),
        "pynet": (root / "train" / "original").is_dir(),
        "ebokehnet": any(re.search(r"[._]src\.\w+$", path.name) for path in root.iterdir()),
    }
    candidates = [name for name in EBB_LAYOUTS if present[name] and layout in ("auto", name)]
    if not candidates:
        raise RequestError(f"`data.root` = `{root}` has not the layout {layout}; expected {expected}.")
    return candidates[0]


def find_ebb(root: Path, layout: str) -> tuple[Found, Found, dict[str, Found]]:
    """Return photos, targets and maps by id."""
    if layout == "ebokehnet":
        return scan(root, id_of, end="src"), scan(root, id_of, end="tgt"), {}
    photos, targets, disparities = Found(), Found(), Found()
    for folder, prefix in {"challenge": {"Training": ""}, "pynet": {"train": "", "test": "test-"}}[layout].items():
        for found, kind in ((photos, "original"), (targets, "bokeh"), (disparities, "original_depth")):
            found.update({prefix + i: paths for i, paths in scan(root / folder / kind, id_of).items()})
    return photos, targets, {"disparity": disparities}


def _with_maps(files: Sequence[PairFiles], maps: dict[str, Found]) -> FilePairs:
    """Add the maps that lie beside a data set, where there is exactly one: whoever needs them asks what is missing."""
    by_pair = [{n: found[f.id][0] for n, found in maps.items() if len(found.get(f.id, ())) == 1} for f in files]
    return FilePairs([replace(entry, maps=found) for entry, found in zip(files, by_pair, strict=True)])


def scan_named(folder: str | None, argument: str) -> Found:
    """Group the images of a folder by stem; no folder, no images."""
    if folder is None:
        return {}
    if not Path(folder).is_dir():
        raise RequestError(f"`{argument}` = `{folder}` is not a folder; name an existing folder of images.")
    if found := scan(Path(folder), lambda name: Path(name).stem):
        return found
    raise RequestError(f"`{argument}` = `{folder}` holds no image; add files such as 1.jpg or name another folder.")


def _check_folders_request(val_photos: str | None, val_targets: str | None, val_fraction: float) -> None:
    _check_both("val_photos", val_photos, "val_targets", val_targets)
    if not 0 <= val_fraction < 1:
        raise RequestError(f"`val_fraction` is in [0, 1), but got {val_fraction}.")
    if val_photos is not None and val_fraction > 0:
        raise RequestError(f"`val_photos` validates already; leave `val_fraction` = {val_fraction} out.")


def _check_both(one: str, first: str | None, other: str, second: str | None) -> None:
    if (first is None) != (second is None):
        raise RequestError(f"`{one}` and `{other}` go together, but got {first} and {second}; give both.")
    refuse_one_folder_twice({one: first, other: second})


def _further(
    photos: str, targets: str, part: str, known: dict[str, Found], maps: Mapping[str, Found], problems: list[str]
) -> list[PairFiles]:
    """Match the pairs of two further folders, none of whose names may be that of a known pair."""
    found = scan_named(photos, f"{part}_photos"), scan_named(targets, f"{part}_targets")
    problems += twins(found[0])
    for folder, others in known.items():
        problems += [f"`{i}` is in `{folder}` and in `{photos}`" for i in sorted(others.keys() & found[0].keys())]
    known[photos] = found[0]
    return match(sorted(found[0] | found[1], key=natural_key), *found, maps, problems)
