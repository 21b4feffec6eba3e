"""Pairs from photos alone (``data=photos``): a camera takes each masked photo again, with the background out of focus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from lensblend.data.camera import SecondShot, checked_size, in_focus
from lensblend.data.catalogue import hash_fraction, scan_named
from lensblend.data.doubts import refuse_one_folder_twice, twins
from lensblend.data.files import FilePairs, PairFiles, match, raise_all
from lensblend.data.lens import Layer, Lens, linearise, render
from lensblend.data.listing import natural_key
from lensblend.data.matting import part
from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.data.transforms import key_seed, resize_lanczos, resize_map
from lensblend.errors import RequestError

_LEAST_SUBJECT = 0.005  # of the photo; below, it is a photo without a subject
_KEPT = 0.6  # of the subject's area that a crop holds
_TRIES = 8
_SMALLEST_CROP = 0.6
_STRETCH = 1.2
_CLIPPED = (0.85, 1.0)  # linear light between which a highlight may have been brighter than the photo tells


@dataclass(frozen=True)
class PhotoCamera:
    """How the second photo is taken; lengths are shares of the photo's width.

    Attributes:
        radius: Least and largest radius of the disc of a point far behind the subject; drawn evenly by its logarithm.
        ground: Share of the photos in which the subject stands on a ground that recedes; in the others everything
            behind it is equally far.
        exposure: Standard deviation, in stops, of how much lighter or darker the second photo is.
        white_balance: Standard deviation of the gains of red and of blue.
        shift: Standard deviation of its misalignment on each axis.
        noise: Largest standard deviation of the noise of either photo, in shares of white.
        highlights: How many times brighter than white clipped highlights may have been.
        jitter: Strength, in [0, 1], with which brightness, contrast and colours of both photos are varied.
    """

    radius: tuple[float, float] = (0.009, 0.03)
    ground: float = 0.4
    exposure: float = 0.1
    white_balance: float = 0.02
    shift: float = 0.0005
    noise: float = 0.01
    highlights: float = 4.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        if len(self.radius) != 2 or not 0 < self.radius[0] <= self.radius[1] <= 0.2:
            raise RequestError(
                "`radius` is the least and the largest radius of a disc, shares of the width in (0, 0.2], "
                f"but got {list(self.radius)}; use [0.009, 0.03]."
            )
        limits = {"ground": 1, "exposure": 1, "white_balance": 0.3, "shift": 0.01, "noise": 0.2, "jitter": 1}
        for name, most in {**limits, "highlights": 100}.items():
            if not 0 <= (value := getattr(self, name)) <= most:
                raise RequestError(f"`{name}` is in [0, {most}], but got {value}; use 0 for none.")


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
            root. By default the folder ``masks`` in, or else beside, each folder of photos.
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

    Raises:
        RequestError: A folder is none or empty, or leaves nothing to train on.
        DataError: Partners are missing, doubled, unreadable or of another size; all of them are listed.
    """

    endless = True

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
    ) -> None:
        if seed < 0 or not 1 <= draws <= 1000:
            raise RequestError(f"`seed` is not negative and `draws` is in [1, 1000], but got {seed} and {draws}.")
        if not 0 <= val_fraction < 1:
            raise RequestError(f"`val_fraction` is in [0, 1), but got {val_fraction}.")
        size = None if image_size is None else checked_size(image_size)
        camera = PhotoCamera(tuple(radius), ground, exposure, white_balance, shift, noise, highlights, jitter)
        self.roots = [_photos_of(Path(folder)) for folder in _listed(root)]
        entries = _entries(self.roots, _folders("masks", masks, self.roots), _optional(disparities, self.roots))
        chosen = {"val": [e for e in entries if hash_fraction(e.id) < val_fraction]}
        chosen["train"] = [e for e in entries if hash_fraction(e.id) >= val_fraction]
        if not chosen["train"]:
            raise RequestError(f"`root` = {_listed(root)} leaves no photo to train on; add some or lower val_fraction.")
        self.rendered_size = size
        self._splits = {
            name: PhotoPairs(name, FilePairs(chosen[name]), draws if name == "train" else 1, seed, camera, size)
            for name in ("train", "val")
        }

    def split(self, name: Split) -> PhotoPairs:
        """Return the pairs of one split."""
        return self._splits[name]

    def summary(self) -> str:
        """Say in one line what is there."""
        train, val = (len(self._splits[name].ids) for name in ("train", "val"))
        return f"{', '.join(map(str, self.roots))}: {train} pairs an epoch from photos with masks, {val} for validation"


class PhotoPairs(Pairs):
    """Pairs of one split, rendered anew whenever they are loaded; an id is its photo's name, and a number after ``+``.

    Args:
        split: ``train`` or ``val``.
        photos: Photos with the map ``subject``, and ``disparity`` where it is known.
        draws: Pairs of each photo in an epoch.
        seed: Draws other pairs.
        camera: How they are taken.
        image_size: ``(height, width)``; None renders at 192×288 unless `sized` says otherwise.
    """

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
        self._photos, self._draws, self._seed, self._camera, self._size = photos, draws, seed, camera, image_size
        self.ids = [name if draw == 0 else f"{name}+{draw}" for name in photos.ids for draw in range(draws)]

    def sized(self, image_size: tuple[int, int]) -> PhotoPairs:
        """Return the same pairs rendered at the size that they are wanted at, unless their own was chosen."""
        if self._size is not None:
            return self
        return PhotoPairs(self._split, self._photos, self._draws, self._seed, self._camera, image_size)

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Render one pair; validation pairs do not depend on the epoch."""
        index %= len(self.ids)
        training = self._split == "train"
        key = (int(training), epoch if training else 0, index)
        rng = np.random.default_rng(key_seed(self._seed, *key))
        source = self._photos.load(index // self._draws)
        maps = {name: np.asarray(source.maps[name], np.float32) for name in source.maps}
        box = _crop(rng, maps["subject"], self._size or (192, 288), training)
        size = self._size or (192, 288)
        photo = resize_lanczos(np.ascontiguousarray(source.photo[box]), size)
        maps = {name: resize_map(np.ascontiguousarray(plane[box]), size) for name, plane in maps.items()}
        shown = _varied(rng, photo, self._camera.jitter) if training else photo
        return take(rng, self.ids[index], shown, maps["subject"], self._camera, maps.get("disparity"))


def take(
    rng: np.random.Generator,
    name: str,
    photo: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    camera: PhotoCamera,
    known: Float32[np.ndarray, "h w"] | None = None,
) -> Pair:
    """Take a photo again through a lens that is focused on its subject.

    Args:
        rng: Draws the lens, the distances and how the second photo differs.
        name: The pair's id.
        photo: 8-bit sRGB.
        alpha: How much of each pixel the subject covers.
        camera: What is drawn from.
        known: Disparity of the photo, where it is known; larger = nearer.
    """
    width = photo.shape[1]
    radius = width * float(np.exp(rng.uniform(*np.log(camera.radius))))
    depths = _distances(rng, alpha, camera.ground) if known is None else _relative(known, alpha)
    parts = part(linearise(photo), alpha)
    brighter = 1 + rng.uniform(0, max(camera.highlights - 1, 0)) * _clipped(parts.background)
    layers = [Layer(parts.background * brighter, np.ones_like(alpha), depths)]
    if alpha.any():
        layers.append(Layer(parts.subject * alpha[..., None], alpha, np.ones_like(alpha)))
    # Behind the farthest point nothing is blurred more, and what is much nearer than the subject is cut alike.
    lens = Lens(1.0, 2 * radius, max_radius=1.5 * radius)
    gains = np.exp(camera.white_balance * rng.standard_normal(3) * [1, 0, 1]).astype(np.float32)
    stops, down, right = np.clip(rng.standard_normal(3), -2, 2)
    second = SecondShot(
        float(2 ** (camera.exposure * stops)), (camera.shift * float(down), camera.shift * float(right))
    )
    target = second.develop(render(layers, lens) * gains)
    visible = np.where(alpha >= 0.5, np.float32(1), depths)
    noise = rng.uniform(0, camera.noise, 2)
    return Pair(
        id=name,
        photo=_noisy(rng, photo, noise[0]),
        target=_noisy(rng, target, noise[1] / 2),
        maps={"disparity": np.clip(visible / 2, 0, 1), "mask": in_focus(visible, lens)},
    )


def _distances(rng: np.random.Generator, alpha: Float32[np.ndarray, "h w"], ground: float) -> Float32[np.ndarray, "h w"]:
    """Draw disparities of the background, 0 the farthest and 1 the subject's: a backdrop, and often a ground before it.

    The ground recedes from the row where the subject stands, or from the frame's lower part, to a horizon.
    """
    height, width = alpha.shape
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    empty = alpha.mean() < _LEAST_SUBJECT
    if not empty and rng.random() >= ground:
        return np.zeros((height, width), np.float32)
    top, foot = (rng.uniform(0, 0.4) * height, rng.uniform(0.7, 1.0) * height) if empty else (rows[0], rows[-1] + 1)
    if not empty and foot >= height:
        foot = height * rng.uniform(1.0, 1.3)  # it goes on below the frame
    horizon = foot - (foot - top) * rng.uniform(0.15, 0.9)
    along = (np.arange(height) + 0.5 - horizon) / (foot - horizon)
    plane = np.clip(along, 0, 1.75).astype(np.float32)
    return np.repeat(plane[:, None], width, axis=1)


def _relative(disparity: Float32[np.ndarray, "h w"], alpha: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Scale known disparities so that the farthest point has 0 and the subject 1."""
    far = np.float32(np.quantile(disparity, 0.02))
    subject = disparity[alpha > 0.5] if (alpha > 0.5).any() else disparity
    near = np.float32(np.median(subject) if (alpha > 0.5).any() else np.quantile(subject, 0.9))
    if near <= far:
        return np.zeros_like(disparity)
    return np.clip((disparity - far) / (near - far), 0, 1.75).astype(np.float32)


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


def _clipped(light: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 1"]:
    low, high = _CLIPPED
    return np.clip((light.max(axis=2, keepdims=True) - low) / (high - low), 0, 1) ** 2


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


def _noisy(rng: np.random.Generator, photo: UInt8[np.ndarray, "h w 3"], sigma: float) -> UInt8[np.ndarray, "h w 3"]:
    if sigma == 0:
        return photo
    noise = rng.standard_normal(photo.shape, np.float32) * np.float32(255 * sigma)
    return np.rint(np.clip(photo + noise, 0, 255)).astype(np.uint8)


def _listed(folders: str | Sequence[str]) -> list[str]:
    listed = [folders] if isinstance(folders, str) else list(folders)
    if not listed:
        raise RequestError("`root` names a folder of photos, or several, but got none.")
    return listed


def _photos_of(folder: Path) -> Path:
    return folder / "photos" if (folder / "photos").is_dir() else folder


def _folders(name: str, given: str | Sequence[str] | None, photos: Sequence[Path]) -> list[Path]:
    """Return the folder of maps for each folder of photos."""
    if given is not None:
        folders = [Path(folder) for folder in _listed(given)]
        if len(folders) != len(photos):
            raise RequestError(f"`{name}` lists a folder for each root, but got {len(folders)} for {len(photos)}.")
        return folders
    found = []
    for folder in photos:
        places = [place for place in (folder / name, folder.parent / name) if place.is_dir()]
        if not places:
            raise RequestError(
                f"`{folder}` has no {name} in it or beside it; give `data.{name}`, a folder of maps named like the "
                "photos, white where the subject is."
            )
        found.append(places[0])
    return found


def _optional(disparities: str | Sequence[str] | None, photos: Sequence[Path]) -> list[Path | None]:
    return [None] * len(photos) if disparities is None else [*_folders("disparities", disparities, photos)]


def _entries(photos: list[Path], masks: list[Path], disparities: list[Path | None]) -> list[PairFiles]:
    """Pair up photos and maps by name; where there are several roots, names that two share get their folder's before."""
    problems: list[str] = []
    entries: list[PairFiles] = []
    for number, (folder, of_masks, of_depths) in enumerate(zip(photos, masks, disparities, strict=True)):
        named = {"root": str(folder), "masks": str(of_masks), "disparities": of_depths and str(of_depths)}
        refuse_one_folder_twice(named)
        found, subjects = scan_named(str(folder), "root"), scan_named(str(of_masks), "masks")
        maps = {"subject": subjects, "disparity": scan_named(named["disparities"], "disparities")}
        problems += twins(found)
        wanted = sorted(found | subjects, key=natural_key)
        for entry in match(wanted, found, {}, maps, problems, partner="subject"):
            name = entry.id if len(photos) == 1 else f"{number}-{entry.id}"
            entries.append(PairFiles(name, entry.photo, None, entry.maps))
    raise_all(problems, "The photos and masks of `data.root`")
    return entries
