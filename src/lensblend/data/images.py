"""The one loader: every photo and map enters, and every rendering leaves, through this file.

Pillow decodes, from a whitelist of formats, after the pixel count in the header was checked. A file that is cut short
is refused; so is an animation or a multi-page file, except MPO, whose first picture is the photo by definition.
EXIF orientation is applied. RGB keeps its own colour space, and the profile is handed on; the profile of any other
mode is dropped, because `modes` converts those to sRGB or spreads their grey.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageCms

from lensblend.data.arrays import array_size, read_array
from lensblend.data.metadata import descriptive_exif, rgb_profile
from lensblend.data.modes import check_mode, is_plain_grey, map_grey, to_rgb, to_srgb
from lensblend.data.opening import FORMATS, MAX_PIXELS, check_frames, one_line, opened, upright, upright_size
from lensblend.errors import DataError, RequestError
from lensblend.storage import write_atomically

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Photo",
    "read_map",
    "read_map_size",
    "read_photo",
    "read_photo_with_metadata",
    "read_size",
    "read_srgb",
    "write_image",
]

_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"subsampling": 0}),  # 4:4:4: colour edges of a rendering stay where they are
    ".jpeg": ("JPEG", {"subsampling": 0}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}


@dataclass(frozen=True)
class Photo:
    """Pixels, and what must be written back beside them.

    Attributes:
        pixels: Upright 8-bit photo in the colour space that ``icc`` describes; sRGB without one.
        exif: EXIF block whose orientation is 1, as the pixels are upright already.
        icc: RGB colour profile.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    exif: bytes | None = None
    icc: bytes | None = None


def read_photo(path: str | Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Read a photo as upright 8-bit RGB.

    Args:
        path: A regular file in one of ``FORMATS``; its suffix plays no role.
        max_pixels: Larger images are refused before they are decoded.

    Returns:
        Pixels in the photo's own RGB space, 0–255.

    Raises:
        DataError: With path and remedy in one line, if the file is missing, damaged, too large or no photo.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)).save(path)
        >>> read_photo(path)[0, :, 0].tolist()
        [0, 128, 255]
    """
    return read_photo_with_metadata(path, max_pixels).pixels


def read_photo_with_metadata(path: str | Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo together with the EXIF block and the colour profile that its rendering inherits."""
    with opened(Path(path), max_pixels) as (image, _):
        rgb = to_rgb(image, upright(image))
        return Photo(np.array(rgb), descriptive_exif(image, rgb.size), rgb_profile(image))


def read_srgb(path: str | Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Read a photo as `read_photo` does, and convert it to sRGB where it carries the profile of another space."""
    with opened(Path(path), max_pixels) as (image, _):
        rgb, icc = to_rgb(image, upright(image)), rgb_profile(image)
        return np.array(to_srgb(rgb, ImageCms.ImageCmsProfile(io.BytesIO(icc))) if icc else rgb)


def read_map(path: str | Path, max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w"]:
    """Read a one-channel map (disparity, depth, mask) without changing its direction.

    8- and 16-bit images are scaled to [0, 1], also where grey is stored as colour; NPY and float images keep their
    values, which must be finite.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = read_array(path, max_pixels)
    else:
        with opened(path, max_pixels) as (image, _):
            turned = upright(image)
            values = np.asarray(turned) if turned.mode == "F" else map_grey(image, turned)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise DataError(
            f"`{path}` has shape {values.shape} or values that are not finite; give one finite channel (h, w)."
        )
    return values.astype(np.float32)


def read_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of the upright photo, from its header alone wherever that tells.

    Raises:
        DataError: `read_photo` would refuse the file, as far as that is known without its pixels.
    """
    with opened(Path(path), max_pixels) as (image, descriptor):
        check_frames(image)
        check_mode(image)
        return upright_size(image, descriptor)


def read_map_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of a map as `read_size` does; a map in colour is read, to see whether it is grey.

    Raises:
        DataError: `read_map` would refuse the file, as far as that is known without the pixels of grey ones.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return array_size(path, max_pixels)
    with opened(path, max_pixels) as (image, descriptor):
        check_frames(image)
        check_mode(image)
        if is_plain_grey(image):
            return upright_size(image, descriptor)
        height, width = map_grey(image, upright(image)).shape
        return height, width


def write_image(
    path: str | Path,
    pixels: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"],
    exif: bytes | None = None,
    icc: bytes | None = None,
    quality: int = 95,
) -> None:
    """Write an 8-bit image atomically: a reader sees the old file or the new one, never a part.

    Args:
        path: Its suffix chooses JPEG, PNG, WebP or TIFF; missing folders are made.
        pixels: RGB or grey, 0–255.
        exif: EXIF block from `read_photo_with_metadata`.
        icc: Colour profile of the pixels.
        quality: Of JPEG and WebP, 1–100; PNG and TIFF are lossless.

    Raises:
        RequestError: If the suffix names no format that is written.
        DataError: If the format cannot hold the image.
        StorageError: If the disk does not take it.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise RequestError(f"`{path}` has the suffix '{path.suffix}'; use one of {', '.join(_WRITERS)}.")
    image_format, options = _WRITERS[path.suffix.lower()]
    given = {"exif": exif, "icc_profile": icc, "quality": quality if image_format in ("JPEG", "WEBP") else None}
    options = options | {name: value for name, value in given.items() if value is not None}
    encoded = io.BytesIO()
    try:
        Image.fromarray(pixels).save(encoded, image_format, **options)
    except (OSError, ValueError) as error:
        raise DataError(
            f"`{path}` cannot hold this image ({one_line(error)}); choose another suffix, such as .png."
        ) from error
    write_atomically(path, encoded.getvalue())
