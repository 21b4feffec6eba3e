"""What a photo's file says beside its pixels, and what its rendering says in turn: EXIF, XMP, a colour profile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

MARK = "lensblend"
SOFTWARE = ExifTags.Base.Software
XMP_TAG = 700
# TIFF keeps these beside the descriptive tags: they describe its own bytes and would be lies in another file.
_STRUCTURE_TAGS = frozenset({*range(254, 260), 262, 266, 273, *range(277, 285), 292, 293, 296, 317, 318, 319, 320})
_STRUCTURE_TAGS |= {*range(322, 326), 330, 332, 338, 339, 347, *range(529, 533), XMP_TAG, 34377, 34675}
_ORIENTATION = re.compile(rb'tiff:Orientation="[0-9]"|<tiff:Orientation>[0-9]</tiff:Orientation>')
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"


@dataclass(frozen=True)
class Metadata:
    """What is written back beside the pixels.

    Attributes:
        exif: EXIF block whose orientation is 1, as the pixels are upright already; without a thumbnail.
        icc: RGB colour profile.
        xmp: XMP packet, as it was but for an orientation.
        more_xmp: Segments of a JPEG's XMP that its packet does not hold, such as a portrait's depth.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    more_xmp: tuple[bytes, ...] = ()


def read_metadata(image: Image.Image, size: tuple[int, int]) -> Metadata:
    """Return what an opened image says beside its pixels, for upright pixels of this (width, height)."""
    segments = [content for name, content in getattr(image, "applist", ()) if name == "APP1"]
    more = tuple(content for content in segments if content.startswith(_EXTENDED_XMP))
    return Metadata(descriptive_exif(image, size), rgb_profile(image), _upright_xmp(image.info.get("xmp")), more)


def _upright_xmp(xmp: Any) -> bytes | None:
    """Return an XMP packet that turns nothing any more."""
    packet = xmp.encode() if isinstance(xmp, str) else xmp
    return _ORIENTATION.sub(b"", packet) if packet else None


def rgb_profile(image: Image.Image) -> bytes | None:
    """Return the colour profile of an opened image that is stored in RGB."""
    icc = image.info.get("icc_profile")
    return icc if image.mode in ("RGB", "RGBA", "RGBX", "P") and icc is not None and icc[16:20] == b"RGB " else None


def descriptive_exif(image: Image.Image, size: tuple[int, int]) -> bytes | None:
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


def parsed(exif: bytes | None) -> Image.Exif:
    """Return an EXIF block as tags; none of it as no tags."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    return tags


def marked(exif: bytes | None, mark: str) -> bytes:
    """Return an EXIF block whose ``Software`` says what made the picture.

    Example:
        >>> parsed(marked(None, "lensblend 1.0"))[SOFTWARE]
        'lensblend 1.0'
    """
    tags = parsed(exif)
    tags[SOFTWARE] = mark
    return tags.tobytes()


def is_marked(image: Image.Image) -> bool:
    """Tell whether an opened image was written by `lensblend render`."""
    if MARK in image.info:
        return True
    try:
        # Not a PNG's own way, which decodes the pixels first.
        return str(Image.Image.getexif(image).get(SOFTWARE, "")).startswith(f"{MARK} ")
    except Exception:  # a damaged EXIF block says nothing
        return False


def extended_segments(metadata: Metadata) -> bytes:
    """Return the segments of a JPEG that hold the XMP beyond its packet."""
    return b"".join(b"\xff\xe1" + (2 + len(part)).to_bytes(2, "big") + part for part in metadata.more_xmp)
