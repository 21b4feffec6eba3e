"""The one loader: every photo and map enters, and every rendering leaves, through this file.

Pillow decodes, from a whitelist of formats, after the pixel count in the header was checked. A file that is cut short
is refused; so is an animation or a multi-page file, except MPO, whose first picture is the photo by definition.
EXIF orientation is applied. RGB keeps its own colour space, and the profile is handed on; the profile of any other
mode is dropped, because `modes` converts those to sRGB or spreads their grey.
"""

from __future__ import annotations

import contextlib
import io
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from lensblend.data.arrays import array_size, read_array
from lensblend.data.modes import UnsupportedError, check_mode, is_plain_grey, map_grey, to_rgb
from lensblend.data.whole import has_late_metadata, is_whole
from lensblend.errors import DataError, RequestError
from lensblend.storage import write_atomically

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM")
MAX_PIXELS = 100_000_000

_LOCK = threading.RLock()
# TIFF keeps these beside the descriptive tags: they describe its own bytes and would be lies in another file.
_STRUCTURE_TAGS = frozenset({*range(254, 260), 262, 266, 273, *range(277, 285), 292, 293, 296, 317, 318, 319, 320})
_STRUCTURE_TAGS |= {*range(322, 326), 330, 332, 338, 339, 347, *range(529, 533), 700, 34377, 34675}
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
    with _opened(Path(path), max_pixels) as (image, _):
        upright = _upright(image)
        rgb = to_rgb(image, upright)
        icc = image.info.get("icc_profile")
        keeps_profile = image.mode in ("RGB", "RGBA", "RGBX", "P") and icc is not None and icc[16:20] == b"RGB "
        return Photo(np.array(rgb), _exif(image, rgb.size), icc if keeps_profile else None)


def read_map(path: str | Path, max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w"]:
    """Read a one-channel map (disparity, depth, mask) without changing its direction.

    8- and 16-bit images are scaled to [0, 1], also where grey is stored as colour; NPY and float images keep their
    values, which must be finite.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = read_array(path, max_pixels)
    else:
        with _opened(path, max_pixels) as (image, _):
            upright = _upright(image)
            values = np.asarray(upright) if upright.mode == "F" else map_grey(image, upright)
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
    with _opened(Path(path), max_pixels) as (image, descriptor):
        _check_frames(image)
        check_mode(image)
        return _upright_size(image, descriptor)


def read_map_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of a map as `read_size` does; a map in colour is read, to see whether it is grey.

    Raises:
        DataError: `read_map` would refuse the file, as far as that is known without the pixels of grey ones.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return array_size(path, max_pixels)
    with _opened(path, max_pixels) as (image, descriptor):
        _check_frames(image)
        check_mode(image)
        if is_plain_grey(image):
            return _upright_size(image, descriptor)
        height, width = map_grey(image, _upright(image)).shape
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
            f"`{path}` cannot hold this image ({_one_line(error)}); choose another suffix, such as .png."
        ) from error
    write_atomically(path, encoded.getvalue())


@contextlib.contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """Open a file of an allowed size, as image and descriptor; what goes wrong in the body is said in one line."""
    try:
        _check_regular(path)
        with path.open("rb") as file, _pillow_rules(max_pixels):
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError(
                    f"{image.width}×{image.height} = {image.width * image.height} pixels"
                )
            if not is_whole(image, file.fileno()):
                raise OSError("it ends too early")
            yield image, file.fileno()
    except DataError:
        raise
    except UnsupportedError as error:
        raise DataError(f"`{path}` {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"`{path}` does not exist; check the path.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"`{path}` is no readable image; convert it to one of {', '.join(FORMATS)}.") from error
    except Image.DecompressionBombError as error:
        reason = f"{_one_line(error)}; limit {max_pixels}"
        raise DataError(f"`{path}` is too large ({reason}); shrink it or raise `max_pixels`.") from error
    except OSError as error:
        reason = error.strerror or _one_line(error)
        raise DataError(f"`{path}` cannot be read ({reason}); repair it, or copy or download it again.") from error
    except Exception as error:  # decoders raise whatever a damaged byte leads to: SyntaxError, struct.error, IndexError
        raise DataError(f"`{path}` is damaged ({_one_line(error)}); copy or download it again.") from error


def _check_regular(path: Path) -> None:
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):  # opening a FIFO would wait for ever
        kind = "folder" if stat.S_ISDIR(info.st_mode) else "pipe or device"
        raise DataError(f"`{path}` is a {kind}, not an image file; name a file.")
    if info.st_size == 0:
        raise DataError(f"`{path}` is empty (0 bytes); copy or download it again.")


@contextlib.contextmanager
def _pillow_rules(max_pixels: int) -> Iterator[None]:
    """Hold Pillow's process-wide switches at this loader's values, for one thread at a time.

    Pillow's warnings are about metadata, which decides nothing here, and about sizes, which are checked here.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        # Not a PNG's own way, which decodes the pixels first.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels, so they are taken as stored
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """Decode the one frame of a file and apply its orientation, which EXIF or XMP says."""
    _check_frames(image)
    image.load()
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _check_frames(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UnsupportedError(f"holds {frames} frames or pages; save the one that you want as a file of its own.")


def _upright_size(image: Image.Image, descriptor: int) -> tuple[int, int]:
    """Return (height, width) as `_upright` will have them, without decoding where the header tells."""
    if image.format == "PNG" and has_late_metadata(descriptor):
        image.load()
    width, height = image.size
    # Pillow turns a TIFF by its own tag already in the header's size, and by XMP only when it decodes.
    turned = isinstance(image, TiffImagePlugin.TiffImageFile) and ExifTags.Base.Orientation in image.tag_v2
    return (width, height) if not turned and _orientation(image) in (5, 6, 7, 8) else (height, width)


def _exif(image: Image.Image, size: tuple[int, int]) -> bytes | None:
    """Return the descriptive EXIF tags, for upright pixels of this (width, height)."""
    try:
        exif = image.getexif()
        for tag in _STRUCTURE_TAGS & set(exif):
            del exif[tag]
        if not exif:
            return None
        exif[ExifTags.Base.Orientation] = 1
        details = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {}
        for tag, value in zip((ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight), size, strict=True):
            if tag in details:
                details[tag] = value
        return exif.tobytes()
    except Exception:  # what cannot be parsed cannot be written back; the pixels are good all the same
        return None
