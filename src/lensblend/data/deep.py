"""Photos of 16 bits per channel, of which Pillow keeps the upper 8 in colour: OpenCV decodes, PNG and TIFF are written.

Files come here after the one loader has opened, checked and identified them.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from lensblend.data.metadata import XMP_TAG, Metadata, parsed
from lensblend.data.modes import UnsupportedError
from lensblend.data.opening import orientation

LEVELS = 65535
_STRIP = 2**20  # bytes of a TIFF's strip before it is compressed
# How pixels as they are stored become upright, by EXIF orientation.
_UPRIGHT: dict[int, Any] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p[:, ::-1].swapaxes(0, 1),
}


def is_deep_colour(image: Image.Image) -> bool:
    """Tell whether an opened PNG or TIFF holds 16 bits per channel in colour or beside transparency."""
    if "transparency" in image.info:
        return False
    if image.format == "PNG":
        # Pillow describes in tiles how the pixels are stored.
        tile = image.tile[0]  # type: ignore[attr-defined]
        return tile.args in ("RGB;16B", "RGBA;16B", "LA;16B")
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode not in ("RGB", "RGBA"):
        return False
    tags = image.tag_v2
    premultiplied = image.mode == "RGBA" and tags.get(338, (2,)) == (1,)
    return set(tags.get(258, ())) == {16} and tags.get(284, 1) == 1 and tags.get(262) == 2 and not premultiplied


def decode_deep(image: Image.Image, content: bytes) -> UInt16[np.ndarray, "h w c"]:
    """Decode a file that `is_deep_colour`, as upright RGB or RGBA.

    Args:
        image: The opened file.
        content: The whole of it.

    Raises:
        UnsupportedError: OpenCV does not decode it.
    """
    import cv2

    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] not in (3, 4):
        raise UnsupportedError("holds 16 bits per channel in a way that is not read; save it as a plain PNG or TIFF.")
    order = [2, 1, 0, 3][: stored.shape[2]]
    turn = _UPRIGHT.get(orientation(image)) if image.format == "PNG" else None  # OpenCV turns a TIFF by itself
    return np.ascontiguousarray((turn(stored) if turn else stored)[..., order])


def encode_png(pixels: UInt16[np.ndarray, "h w c"], metadata: Metadata, mark: str) -> bytes:
    """Encode RGB or RGBA of 16 bits per channel."""
    import cv2

    order = [2, 1, 0, 3][: pixels.shape[2]]
    done, encoded = cv2.imencode(".png", pixels[..., order])
    if not done:
        raise ValueError("OpenCV does not encode it")
    content = encoded.tobytes()
    head = 8 + 25  # the signature and the chunk IHDR
    return b"".join([content[:head], *_png_chunks(metadata, mark), content[head:]])


def _png_chunks(metadata: Metadata, mark: str) -> list[bytes]:
    chunks = [(b"iTXt", b"lensblend\0\0\0\0\0" + mark.encode())]
    if metadata.icc:
        chunks.insert(0, (b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif.removeprefix(b"Exif\0\0")))
    if metadata.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    return [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]


def encode_tiff(pixels: NDArray[Any], metadata: Metadata) -> bytes:
    """Encode grey ``(h, w)``, RGB or RGBA of 8 or 16 bits per channel.

    An EXIF block is the head of a TIFF already: tags that say where the pixels are make it a whole one.
    """
    height, width, channels = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    planes = pixels.reshape(height, width, channels)
    rows = max(1, _STRIP // (pixels.itemsize * width * channels))
    strips = [_strip(planes[top : top + rows]) for top in range(0, height, rows)]
    tags = parsed(metadata.exif)
    tags.endian = "<"
    tags[256], tags[257], tags[258] = width, height, (8 * pixels.itemsize,) * channels
    tags[259], tags[262], tags[277], tags[278] = 8, 1 if channels == 1 else 2, channels, rows
    tags[284], tags[317], tags[339] = 1, 2, (1,) * channels
    if channels == 4:
        tags[338] = 2
    if metadata.icc:
        tags[34675] = metadata.icc
    if metadata.xmp:
        tags[XMP_TAG] = metadata.xmp
    lengths = [len(strip) for strip in strips]
    # Pillow takes offsets of strips as counted from the end of the tags.
    tags[273] = tuple(int(start) for start in np.cumsum([0, *lengths[:-1]]))
    tags[279] = tuple(lengths)
    return b"".join([tags.tobytes().removeprefix(b"Exif\0\0"), *strips])


def _strip(rows: NDArray[Any]) -> bytes:
    """Compress rows as differences between neighbours (TIFF 6.0, section 14)."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(rows.dtype.newbyteorder("<")).tobytes(), 6)
