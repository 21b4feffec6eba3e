"""Photos as a camera leaves them: those of the one loader, and raw files, which the library rawpy develops."""

from __future__ import annotations

import importlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lensblend.data.images import MAX_PIXELS, Photo, read_photo_with_metadata
from lensblend.data.opening import one_line
from lensblend.errors import DataError, RequestError

# Without `gamma`, levels are those of BT.709.
_DEVELOPED = {"use_camera_wb": True, "no_auto_bright": True, "output_bps": 8, "gamma": (2.4, 12.92)}
_UNSET = 1970  # the year of a file that has no time
RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw")


def read_capture(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo; a raw file is developed to 8-bit sRGB with the camera's white balance, its exposure untouched.

    Raises:
        DataError: It cannot be read.
        RequestError: It is raw, and rawpy is not installed.
    """
    if not is_raw(path):
        return read_photo_with_metadata(path, max_pixels)
    rawpy = check_raw(path)
    try:
        with rawpy.imread(str(path)) as file:
            size = file.sizes.height, file.sizes.width
            if size[0] * size[1] <= max_pixels:
                return Photo(np.asarray(file.postprocess(**_DEVELOPED)))
    except Exception as error:  # whatever the decoder raises for damaged bytes
        raise DataError(f"`{path}` cannot be developed ({one_line(error)}); convert it to TIFF or JPEG.") from error
    raise DataError(f"`{path}` is too large ({size[0]}×{size[1]} pixels; limit {max_pixels}).")


def raw_taken(path: Path) -> tuple[datetime, float] | None:
    """Return when and at which f-number a raw file was taken; None where it does not say.

    Raises:
        DataError: It cannot be read.
        RequestError: rawpy is not installed.
    """
    rawpy = check_raw(path)
    try:
        with rawpy.imread(str(path)) as file:
            time, f_number = file.other.timestamp, float(file.other.aperture)
    except Exception as error:
        raise DataError(f"`{path}` cannot be read ({one_line(error)}).") from error
    return (time, round(f_number, 2)) if f_number > 0 and time.year > _UNSET else None


def is_raw(path: Path) -> bool:
    """Tell whether a file is raw, by its name."""
    return path.suffix.lower() in RAW


def check_raw(path: Path) -> Any:
    """Return the library that develops raw files.

    Raises:
        RequestError: It is not installed.
    """
    try:
        return importlib.import_module("rawpy")
    except ImportError as error:
        raise RequestError(
            f"`{path}` is a raw file, which rawpy develops: pip install 'lensblend[raw]', or convert it."
        ) from error
