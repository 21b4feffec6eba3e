"""Pairs from photos alone (``data=photos``): a camera takes each again, with its background out of focus."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from lensblend.data.camera import Camera, checked_size
from lensblend.data.catalogue import hash_fraction, scan_named
from lensblend.data.doubts import refuse_one_folder_twice, twins
from lensblend.data.files import FilePairs, PairFiles, match, raise_all
from lensblend.data.listing import natural_key
from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.data.photo_camera import PhotoCamera, take
from lensblend.data.transforms import key_seed, resize_lanczos, resize_map
from lensblend.errors import DataError, RequestError

DEFAULT_SIZE = (192, 288)
_KEPT = 0.6  # of the subject's area that a crop holds
_TRIES = 8
_SMALLEST_CROP = 0.6
_STRETCH = 1.2


class Photos(Source):
    """Make pairs of a folder of photos in which masks say what the subject is.

    Each pair is a part of a photo, and the photo that a lens would take of it with the subject in focus: the subject
    is cut out with colours of its own, the background continues behind it and is spread over discs in linear light,
    and the second photo differs in exposure, white balance, place and noise, as real ones do. Every pair is a function
    of the seed, the epoch and its index; validation pairs are the same in every epoch and show whole photos.

    Args:
        root: Folder of photos, or several; one with a subfolder ``photos`` is taken for that. Where a photo has no
            subject (less than 0.5 % of it), the ground in its lower part is in focus.
        masks: Folder of masks, white where the subject is, grey at its edges, each named like its photo; one for each
            root. By default the folder ``masks`` in, or else beside, each folder of photos; where no root has one,
            saliency stands in for them, from wherever ``saliency=`` says.
        disparities: Folder of maps, larger = nearer, one for each root: how far the background is. By default the
            distances are drawn.
        image_size: ``(height, width)`` of the pairs; null renders them at the size that a phase works at.
        draws: Pairs of each photo in an epoch.
        val_fraction: Share of the photos, in [0, 1), that validates, chosen by name.
        seed: Draws other pairs.
        radius: As in `PhotoCamera`, like all that follow.
        ground: See there.
        exposure: See there.
        white_balance: See there.
        shift: See there.
        noise: See there.
        highlights: See there.
        jitter: See there.
        cats_eye: See there.

    Raises:
        RequestError: A folder is none or empty, or leaves nothing to train on.
        DataError: Partners are missing, doubled, unreadable or of another size; all of them are listed.
    """

    endless = True
    asks: tuple[str, ...] = ("saliency",)

    def __init__(
        self,
        root: str | Sequence[str],
        masks: str | Sequence[str] | None = None,
        disparities: str | Sequence[str] | None = None,
        image_size: Sequence[int] | None = None,
        draws: int = 1,
        val_fraction: float = 0.05,
        seed: int = 0,
        radius: Sequence[float] = PhotoCamera.radius,
        ground: float = PhotoCamera.ground,
        exposure: float = PhotoCamera.exposure,
        white_balance: float = PhotoCamera.white_balance,
        shift: float = PhotoCamera.shift,
        noise: float = PhotoCamera.noise,
        highlights: float = PhotoCamera.highlights,
        jitter: float = PhotoCamera.jitter,
        cats_eye: float = PhotoCamera.cats_eye,
    ) -> None:
        if seed < 0 or not 1 <= draws <= 1000:
            raise RequestError(f"`seed` is not negative and `draws` is in [1, 1000], but got {seed} and {draws}.")
        if not 0 <= val_fraction < 1:
            raise RequestError(f"`val_fraction` is in [0, 1), but got {val_fraction}.")
        size = None if image_size is None else checked_size(image_size)
        camera = PhotoCamera((*radius,), ground, exposure, white_balance, shift, noise, highlights, jitter, cats_eye)
        self.roots = [_photos_of(Path(folder)) for folder in _listed(root)]
        of_masks = _masks(masks, self.roots)
        self.asks = ("saliency",) if of_masks is None else ()
        of_depths = [None] * len(self.roots) if disparities is None else _given("disparities", disparities, self.roots)
        entries = _entries(self.roots, of_masks, of_depths)
        chosen = {"val": [e for e in entries if hash_fraction(e.id) < val_fraction]}
        chosen["train"] = [e for e in entries if hash_fraction(e.id) >= val_fraction]
        if not chosen["train"]:
            raise RequestError(f"`root` = {_listed(root)} leaves no photo to train on; add some or lower val_fraction.")
        self.rendered_size = size
        self._splits = {
            name: PhotoPairs(name, FilePairs(chosen[name]), draws if name == "train" else 1, seed, camera, size)
            for name in ("train", "val")
        }

    @classmethod
    def f_number(cls, node: Mapping[str, Any]) -> float | None:
        """Return that of a lens with the mean of these discs, by its logarithm, for what is far behind the subject."""
        radius = node.get("radius", PhotoCamera.radius)
        if not isinstance(radius, list | tuple) or not all(isinstance(r, float | int) and r > 0 for r in radius):
            return None
        return Camera.f_number({"aperture": 2 * math.prod(radius) ** (1 / len(radius))}) if radius else None

    def split(self, name: Split) -> PhotoPairs:
        """Return the pairs of one split."""
        return self._splits[name]

    def photos_of(self, name: Split) -> FilePairs:
        """Return the photos of one split."""
        return self._splits[name].photos

    def receive(self, maps: Mapping[str, Callable[[Pair], Any]]) -> None:
        """Take what tells the subject of a photo, where there are no masks."""
        for pairs in self._splits.values():
            pairs.subject = maps.get("saliency")

    def summary(self) -> str:
        """Say in one line what is there."""
        train, val = (len(self._splits[name].ids) for name in ("train", "val"))
        by = "whose subjects saliency tells" if self.asks else "with masks"
        return f"{', '.join(map(str, self.roots))}: {train} pairs an epoch from photos {by}, {val} for validation"


class PhotoPairs(Pairs):
    """Pairs of one split, rendered anew whenever they are loaded; an id is its photo's name, and a number after ``+``.

    Args:
        split: ``train`` or ``val``.
        photos: Photos with the map ``subject``, and ``disparity`` where it is known.
        draws: Pairs of each photo in an epoch.
        seed: Draws other pairs.
        camera: How they are taken.
        image_size: ``(height, width)``; None renders at 192×288 unless `sized` says otherwise.

    Attributes:
        photos: As given.
        subject: Tells the subject of a photo that has no map of it.
    """

    subject: Callable[[Pair], Any] | None = None

    def __init__(
        self,
        split: Split,
        photos: FilePairs,
        draws: int,
        seed: int,
        camera: PhotoCamera,
        image_size: tuple[int, int] | None,
    ) -> None:
        self._split: Split = split
        self.photos, self._draws, self._seed, self._camera, self._size = photos, draws, seed, camera, image_size
        self.ids = [name if draw == 0 else f"{name}+{draw}" for name in photos.ids for draw in range(draws)]

    def sized(self, image_size: tuple[int, int]) -> PhotoPairs:
        """Return the same pairs rendered at the size that they are wanted at, unless their own was chosen."""
        if self._size is not None:
            return self
        pairs = PhotoPairs(self._split, self.photos, self._draws, self._seed, self._camera, image_size)
        pairs.subject = self.subject
        return pairs

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Render one pair; validation pairs do not depend on the epoch."""
        index %= len(self.ids)
        training = self._split == "train"
        key = (int(training), epoch if training else 0, index)
        rng = np.random.default_rng(key_seed(self._seed, *key))
        source = self.photos.load(index // self._draws)
        maps = {name: np.asarray(source.maps[name], np.float32) for name in source.maps}
        if "subject" not in maps:
            maps["subject"] = self._subject(source)
        size = self._size or DEFAULT_SIZE
        box = _crop(rng, maps["subject"], size, training)
        photo = resize_lanczos(np.ascontiguousarray(source.photo[box]), size)
        maps = {name: resize_map(np.ascontiguousarray(plane[box]), size) for name, plane in maps.items()}
        shown = _varied(rng, photo, self._camera.jitter) if training else photo
        return take(rng, self.ids[index], shown, maps["subject"], self._camera, maps.get("disparity"))

    def _subject(self, source: Pair) -> Float32[np.ndarray, "h w"]:
        if self.subject is None:
            raise DataError(
                f"`{source.id}` has no mask; give `data.masks`, a folder of masks named like the photos, or what tells "
                "their subjects: saliency=onnx saliency.path=FILE."
            )
        return np.asarray(self.subject(source), np.float32)


def _crop(
    rng: np.random.Generator, alpha: Float32[np.ndarray, "h w"], size: tuple[int, int], training: bool
) -> tuple[slice, slice]:
    """Choose the part of a photo that a pair shows; in training by chance, but with most of the subject in it."""
    height, width = alpha.shape
    total = float(alpha.sum())
    for _ in range(_TRIES if training else 0):
        stretch = math.exp(rng.uniform(-1, 1) * math.log(_STRETCH))
        scale = rng.uniform(_SMALLEST_CROP, 1)
        high, wide = _fitting(size, stretch, (height, width), scale)
        top, left = int(rng.integers(0, height - high + 1)), int(rng.integers(0, width - wide + 1))
        box = np.s_[top : top + high, left : left + wide]
        if float(alpha[box].sum()) >= _KEPT * total:
            return box
    high, wide = _fitting(size, 1.0, (height, width), 1.0)
    middle = [int(_middle(alpha.sum(axis=1 - axis))) for axis in (0, 1)]
    top, left = (
        min(max(place - side // 2, 0), whole - side)
        for place, side, whole in zip(middle, (high, wide), (height, width), strict=True)
    )
    return np.s_[top : top + high, left : left + wide]


def _middle(weights: np.ndarray) -> float:
    total = float(weights.sum())
    return float((weights * np.arange(len(weights))).sum() / total) if total > 0 else len(weights) / 2


def _fitting(size: tuple[int, int], stretch: float, within: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return height and width of the largest box of a shape inside a photo, times a scale."""
    shape = size[1] / size[0] * stretch
    high = min(within[0], within[1] / shape) * scale
    return max(min(round(high), within[0]), 1), max(min(round(high * shape), within[1]), 1)


def _varied(rng: np.random.Generator, photo: UInt8[np.ndarray, "h w 3"], strength: float) -> UInt8[np.ndarray, "h w 3"]:
    """Vary brightness, contrast, saturation and colour balance of a stored photo, as other cameras and days would."""
    if strength == 0:
        return photo
    gamma, contrast, saturation = np.exp(strength * rng.uniform(-1, 1, 3) * np.log([1.4, 1.25, 1.5]))
    balance = np.exp(strength * rng.uniform(-1, 1, 3) * np.log(1.12))
    values = (photo / 255) ** gamma * balance
    grey = values.mean(axis=2, keepdims=True)
    values = (grey + saturation * (values - grey) - 0.5) * contrast + 0.5
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _listed(folders: str | Sequence[str]) -> list[str]:
    listed = [folders] if isinstance(folders, str) else list(folders)
    if not listed:
        raise RequestError("`root` names a folder of photos, or several, but got none.")
    return listed


def _photos_of(folder: Path) -> Path:
    return folder / "photos" if (folder / "photos").is_dir() else folder


def _masks(given: str | Sequence[str] | None, photos: Sequence[Path]) -> list[Path] | None:
    """Return the folder of masks for each folder of photos; None where no photos have any."""
    if given is not None:
        return _given("masks", given, photos)
    found = [next((p for p in (folder / "masks", folder.parent / "masks") if p.is_dir()), None) for folder in photos]
    folders = [folder for folder in found if folder is not None]
    if folders and len(folders) < len(photos):
        lacking = photos[found.index(None)]
        raise RequestError(f"`{lacking}` has no folder `masks` in it or beside it, but others have; give `data.masks`.")
    return folders or None


def _given(name: str, given: str | Sequence[str], photos: Sequence[Path]) -> list[Path]:
    folders = [Path(folder) for folder in _listed(given)]
    if len(folders) != len(photos):
        raise RequestError(f"`{name}` lists a folder for each root, but got {len(folders)} for {len(photos)}.")
    return folders


def _entries(
    photos: Sequence[Path], masks: Sequence[Path] | None, disparities: Sequence[Path | None]
) -> list[PairFiles]:
    """Pair up photos and maps by name; where there are several roots, ids begin with the root's number."""
    problems: list[str] = []
    entries: list[PairFiles] = []
    for number, (folder, of_depths) in enumerate(zip(photos, disparities, strict=True)):
        of_masks = masks[number] if masks else None
        places = {"masks": of_masks, "disparities": of_depths}
        named = {key: None if place is None else str(place) for key, place in places.items()}
        refuse_one_folder_twice({"root": str(folder), **named})
        found, (subjects, depths) = scan_named(str(folder), "root"), [scan_named(at, key) for key, at in named.items()]
        problems += twins(found)
        wanted = sorted(found | subjects, key=natural_key)
        maps = {"subject": subjects, "disparity": depths}
        for entry in match(wanted, found, {}, maps, problems, partner="subject" if subjects else "photo"):
            name = entry.id if len(photos) == 1 else f"{number}-{entry.id}"
            entries.append(PairFiles(name, entry.photo, None, entry.maps))
    raise_all(problems, "The photos and masks of `data.root`")
    return entries
