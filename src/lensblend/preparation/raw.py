"""Photos as a camera leaves them: those of the one loader, and raw files, which the library rawpy develops."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from lensblend.data.images import MAX_PIXELS, Photo, read_photo_with_metadata
from lensblend.data.opening import one_line
from lensblend.errors import DataError, RequestError

RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw")


def read_capture(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo; a raw file is developed to 8-bit sRGB with the camera's white balance, its exposure untouched.

    Raises:
        DataError: It cannot be read.
        RequestError: It is raw, and rawpy is not installed.
    """
    if path.suffix.lower() not in RAW:
        return read_photo_with_metadata(path, max_pixels)
    rawpy = check_raw(path)
    try:
        with rawpy.imread(str(path)) as file:
            pixels = file.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=8)
    except Exception as error:  # whatever the decoder raises for damaged bytes
        raise DataError(f"`{path}` cannot be developed ({one_line(error)}); convert it to TIFF or JPEG.") from error
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        raise DataError(f"`{path}` is too large ({pixels.shape[0]}×{pixels.shape[1]} pixels; limit {max_pixels}).")
    return Photo(np.asarray(pixels))


def check_raw(path: Path) -> Any:
    """Return the library that develops raw files.

    Raises:
        RequestError: It is not installed.
    """
    try:
        return importlib.import_module("rawpy")
    except ImportError as error:
        raise RequestError(
            f"`{path}` is a raw file, which rawpy develops: pip install rawpy, or convert it to TIFF or JPEG."
        ) from error
