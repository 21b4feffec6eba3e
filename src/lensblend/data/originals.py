"""Photos with all that their renderings keep: 8 or 16 bits, transparency, metadata; and the files of renderings."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from lensblend.data.deep import LEVELS, decode_deep, encode_png, encode_tiff, is_deep_colour
from lensblend.data.listing import FORMATS
from lensblend.data.metadata import MARK, Metadata, extended_segments, is_marked, marked, read_metadata
from lensblend.data.modes import to_rgb, unit_grey
from lensblend.data.opening import MAX_PIXELS, check_frames, one_line, opened, upright
from lensblend.data.whole import has_late_metadata
from lensblend.errors import DataError

_LARGEST_SEGMENT = 65000  # bytes of metadata in one part of a JPEG
_TRANSPARENT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa")


_TO_8_BITS = ((np.arange(LEVELS + 1) + 128) // 257).astype(np.uint8)
# What formats hold, by their names in `lensblend.data.listing`.
HOLD_ALPHA = ("png", "webp", "tiff")
HOLD_16_BITS = ("png", "tiff")
# 4:4:4: colour edges of a rendering stay where they are.
_OPTIONS: dict[str, dict[str, Any]] = {"jpeg": {"subsampling": 0}}


@dataclass(frozen=True)
class Original:
    """A photo as its rendering is to resemble it.

    Attributes:
        pixels: Upright ``(h, w, 3)``, 8 or 16 bits, in the space that the profile describes; sRGB without one. Where
            the photo is wholly transparent they are white.
        alpha: Opacity ``(h, w)`` in as many bits; None without.
        metadata: EXIF, XMP and profile.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def deep(self) -> bool:
        """Whether there are 16 bits per channel."""
        return self.pixels.dtype == np.uint16

    def lost_in(self, image_format: str) -> list[str]:
        """Say what a rendering in this format does not keep."""
        lost = []
        if self.alpha is not None and image_format not in HOLD_ALPHA:
            lost.append(f"its transparency is laid over white, since {image_format.upper()} holds none")
        if self.deep and image_format not in HOLD_16_BITS:
            lost.append(f"its 16 bits per channel become 8, since {image_format.upper()} holds no more")
        if image_format == "jpeg" and len(self.metadata.xmp or b"") > _LARGEST_SEGMENT:
            lost.append("its XMP is left out, since it is too long for a JPEG")
        return lost

    def flattened(self) -> Original:
        """Return it without transparency, laid over white as a browser shows it."""
        if self.alpha is None:
            return self
        white = np.iinfo(self.pixels.dtype).max
        share = self.alpha[..., None].astype(np.float32) / white
        over = np.rint(self.pixels * share + white * (1 - share)).astype(self.pixels.dtype)
        return replace(self, pixels=over, alpha=None)

    def in_8_bits(self) -> Original:
        """Return it with 8 bits per channel."""
        if not self.deep:
            return self
        return replace(self, pixels=to_8_bits(self.pixels), alpha=None if self.alpha is None else to_8_bits(self.alpha))


def to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels of 8 or 16 bits as 8-bit ones, rounded to the nearest.

    Example:
        >>> to_8_bits(np.array([0, 128, 129, 65535], np.uint16)).tolist()
        [0, 0, 1, 255]
    """
    return pixels if pixels.dtype == np.uint8 else _TO_8_BITS[pixels]


def read_original(path: str | Path, max_pixels: int = MAX_PIXELS) -> Original:
    """Read a photo with all that its rendering keeps.

    Args:
        path: A regular file in one of the formats that `lensblend.data.images` reads.
        max_pixels: Larger images are refused before they are decoded.

    Raises:
        DataError: With path and remedy in one line, if the file is missing, damaged, too large or no photo.
    """
    with opened(Path(path), max_pixels) as (image, descriptor):
        check_frames(image)
        if is_deep_colour(image):
            if image.format == "PNG" and has_late_metadata(descriptor):
                image.load()
            with open(descriptor, "rb", closefd=False) as file:
                file.seek(0)
                deep = decode_deep(image, file.read())
            return _with_alpha(deep, read_metadata(image, (deep.shape[1], deep.shape[0])))
        turned = upright(image)
        metadata = read_metadata(image, turned.size)
        if turned.mode.startswith(("I", "F")):
            grey = np.rint(unit_grey(image, turned) * LEVELS).astype(np.uint16)
            return Original(np.repeat(grey[..., None], 3, axis=2), None, metadata)
        if turned.has_transparency_data and turned.mode in _TRANSPARENT:
            return _with_alpha(np.array(turned.convert("RGBA")), metadata)
        return Original(np.array(to_rgb(image, turned)), None, metadata)


def _with_alpha(pixels: NDArray[Any], metadata: Metadata) -> Original:
    if pixels.shape[2] == 3:
        return Original(pixels, None, metadata)
    colours, alpha = np.ascontiguousarray(pixels[..., :3]), pixels[..., 3].copy()
    colours[alpha == 0] = np.iinfo(pixels.dtype).max
    return Original(colours, alpha, metadata)


def encoded(
    original: Original, pixels: NDArray[Any], image_format: str, mark: str, quality: int = 95, where: str = "it"
) -> bytes:
    """Encode a rendering of a photo, or a map of it, with all of the photo that the format holds.

    Args:
        original: The photo.
        pixels: ``(h, w, 3)`` or grey ``(h, w)``, 8 bits or, as RGB in a format that holds them, 16.
        image_format: One of `lensblend.data.listing.FORMATS`.
        mark: What made it, for the EXIF tag ``Software`` and, in a PNG, a text ``lensblend``.
        quality: Of JPEG and WebP, 1–100; PNG and TIFF are lossless.
        where: The file's name, for messages.

    Raises:
        DataError: The format cannot hold it.
    """
    metadata = original.metadata
    metadata = replace(metadata, exif=marked(metadata.exif, mark), icc=metadata.icc if pixels.ndim == 3 else None)
    if original.alpha is not None and image_format in HOLD_ALPHA and pixels.ndim == 3:
        pixels = np.dstack([pixels, original.alpha])
    try:
        if image_format == "tiff":
            return encode_tiff(pixels, metadata)
        if pixels.dtype == np.uint16:
            return encode_png(pixels, metadata, mark)
        file = io.BytesIO()
        options = {**_OPTIONS.get(image_format, {}), **_given(image_format, metadata, mark, quality)}
        Image.fromarray(pixels).save(file, image_format.upper(), **options)
    except (OSError, ValueError) as error:
        raise DataError(
            f"`{where}` cannot hold this image ({one_line(error)}); choose another format, such as png."
        ) from error
    return file.getvalue()


def _given(image_format: str, metadata: Metadata, mark: str, quality: int) -> dict[str, Any]:
    """Return Pillow's options for one picture of a format."""
    options: dict[str, Any] = {"exif": metadata.exif}
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if image_format in ("jpeg", "webp"):
        options["quality"] = quality
    if image_format == "png":
        text = PngImagePlugin.PngInfo()
        text.add_text(MARK, mark)
        if metadata.xmp:
            text.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode(errors="replace"))
        return {**options, "pnginfo": text}
    if image_format == "jpeg":
        options["extra"] = extended_segments(metadata)
    if metadata.xmp and not (image_format == "jpeg" and len(metadata.xmp) > _LARGEST_SEGMENT):
        options["xmp"] = metadata.xmp
    return options


def is_rendering(path: Path) -> bool:
    """Tell whether a file is a picture that `lensblend render` wrote; what cannot be read is none."""
    try:
        with opened(path, MAX_PIXELS) as (image, _):
            return is_marked(image)
    except DataError:
        return False


def suffix_of(path: Path) -> str:
    """Return the suffix of the format of a picture, ``.png`` where that is not written.

    Raises:
        DataError: It is no readable image.
    """
    with opened(path, MAX_PIXELS) as (image, _):
        name = "jpeg" if image.format == "MPO" else str(image.format).lower()
        return FORMATS.get(name, (".png",))[0]
