"""Opening an image file: which are taken, and what is said of those that are not."""

from __future__ import annotations

import contextlib
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from lensblend.data.modes import UnsupportedError
from lensblend.data.whole import has_late_metadata, is_whole
from lensblend.errors import DataError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM")
MAX_PIXELS = 100_000_000

_LOCK = threading.RLock()


@contextlib.contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
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
        reason = f"{one_line(error)}; limit {max_pixels}"
        raise DataError(
            f"`{path}` is too large ({reason}); shrink it or raise `max_pixels` (`lensblend render`: --max-megapixels)."
        ) from error
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise DataError(f"`{path}` cannot be read ({reason}); repair it, or copy or download it again.") from error
    except Exception as error:  # decoders raise whatever a damaged byte leads to: SyntaxError, struct.error, IndexError
        raise DataError(f"`{path}` is damaged ({one_line(error)}); copy or download it again.") from error


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


def one_line(error: Exception) -> str:
    """Return what a library's error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def orientation(image: Image.Image) -> int:
    """Return how an opened image is turned, as EXIF counts it; 1 is upright."""
    try:
        # Not a PNG's own way, which decodes the pixels first.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels, so they are taken as stored
        return 1


def upright(image: Image.Image) -> Image.Image:
    """Decode the one frame of a file and apply its orientation, which EXIF or XMP says."""
    check_frames(image)
    image.load()
    return ImageOps.exif_transpose(image) if orientation(image) != 1 else image


def check_frames(image: Image.Image) -> None:
    """Refuse an opened image that is several."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UnsupportedError(f"holds {frames} frames or pages; save the one that you want as a file of its own.")


def upright_size(image: Image.Image, descriptor: int) -> tuple[int, int]:
    """Return (height, width) as `upright` will have them, without decoding where the header tells."""
    if image.format == "PNG" and has_late_metadata(descriptor):
        image.load()
    width, height = image.size
    # Pillow turns a TIFF by its own tag already in the header's size, and by XMP only when it decodes.
    turned = isinstance(image, TiffImagePlugin.TiffImageFile) and ExifTags.Base.Orientation in image.tag_v2
    return (width, height) if not turned and orientation(image) in (5, 6, 7, 8) else (height, width)
