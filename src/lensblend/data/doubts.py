"""What may be wrong with a data set though every file of it is sound: folders swapped, copied, or names taken twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lensblend.data.files import FilePairs, PairFiles
from lensblend.data.images import read_map, read_photo
from lensblend.errors import DataError, RequestError
from lensblend.storage import real

_LOOKED_AT = 4  # pairs
_SHARPER = 1.2


def refuse_one_folder_twice(folders: Mapping[str, str | Path | None]) -> None:
    """Refuse two arguments that name one folder.

    Raises:
        RequestError: They do; both are named.
    """
    taken: dict[Path, str] = {}
    for argument, folder in folders.items():
        if folder is None:
            continue
        place = real(folder)
        if place in taken:
            raise RequestError(
                f"`{taken[place]}` and `{argument}` are one folder, `{folder}`; name the folder of each."
            )
        taken[place] = argument


def twins(ids: Iterable[str]) -> list[str]:
    """Say which ids differ only in case, in zeros before a number or in how an accent is written: one may be meant.

    Example:
        >>> twins(["A", "a", "1", "01", "b"])
        ['`A` and `a` are called alike; rename or remove one', '`1` and `01` are called alike; rename or remove one']
    """
    alike: dict[str, list[str]] = {}
    for name in ids:
        plain = re.sub(r"[0-9]+", lambda digits: str(int(digits[0])), unicodedata.normalize("NFC", name).casefold())
        alike.setdefault(plain, []).append(name)
    same = [" and ".join(f"`{name}`" for name in names) for names in alike.values() if len(names) > 1]
    return [f"{names} are called alike; rename or remove one" for names in same]


def doubts_of(pairs: FilePairs) -> list[str]:
    """Look at a few pairs, and say what is seldom meant.

    Args:
        pairs: Of a data set; the first ones are read.
    """
    looked_at = [seen for entry in pairs.files[:_LOOKED_AT] if (seen := _look(entry)) is not None]
    if not looked_at:
        return []
    doubts = []
    first = pairs.files[0]
    ratios, equal, dark = (np.array(column, dtype=float) for column in zip(*looked_at, strict=True))
    if equal.all():
        doubts.append(f"Photos and targets are the same pictures, such as `{first.photo}` and `{first.target}`.")
    elif np.median(ratios) > _SHARPER:
        doubts.append(
            f"Targets are {np.median(ratios):.1f} times as sharp as photos, such as `{first.target}`: are the "
            "folders of photos and targets swapped?"
        )
    if dark.any():
        doubts.append(f"Masks hold only 0 and 1, where white is 255, such as `{first.maps['mask']}`: all is black.")
    return doubts


def _look(entry: PairFiles) -> tuple[float, bool, bool] | None:
    """Return how much sharper the target is, whether it is the photo itself, and whether a mask is nearly black."""
    try:
        mask = read_map(entry.maps["mask"]) if "mask" in entry.maps else np.zeros((1, 1))
        dark = bool(0 < mask.max() <= 1.5 / 255)
        if entry.target is None:
            return 0.0, False, dark
        photo, target = read_photo(entry.photo), read_photo(entry.target)
    except DataError:
        return None  # said where it is read
    ratio = sharpness(target) / max(sharpness(photo), 1e-6)
    return ratio, photo.shape == target.shape and bool((photo == target).all()), dark


def sharpness(photo: UInt8[np.ndarray, "h w 3"]) -> float:
    """Return how fine the detail of a photo is: the mean size of its Laplacian, in levels."""
    grey = photo.astype(np.float32).mean(axis=-1)
    inner = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.abs(inner).mean()) if inner.size else 0.0
