"""Whether an image file reaches to its end, told by its structure without decoding it.

Decoders are lenient in places: a PNG that ends after its pixels, without the chunk for its end, would be read as whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from PIL import Image

_CHUNK = 1 << 20
_END_OF_JPEG = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# TIFF 6.0: where strips lie and how long they are, and the same of tiles.
_PIECES = ((273, 279), (324, 325))
# Chunks of a PNG that may say how its picture is turned.
_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


def is_whole(image: Image.Image, descriptor: int) -> bool:
    """Tell whether nothing is missing at the end of an image file.

    Args:
        image: Opened, its header read.
        descriptor: Of the open file; its position stays.
    """
    check = _CHECKS.get(image.format or "")
    return check is None or check(image, descriptor)


def has_late_metadata(descriptor: int) -> bool:
    """Tell whether a PNG has metadata after its pixels, which are known only when it is read to its end."""
    kinds = [kind for kind, _ in _png_chunks(descriptor)]
    return b"IDAT" in kinds and any(kind in _METADATA for kind in kinds[kinds.index(b"IDAT") :])


def _png_chunks(descriptor: int) -> Iterator[tuple[bytes, int]]:
    """Yield each chunk's kind and where it ends."""
    offset = 8
    while len(head := os.pread(descriptor, 8, offset)) == 8:
        offset += 12 + int.from_bytes(head[:4], "big")
        yield head[4:], offset
        if head[4:] == b"IEND":
            return


def _png(_: Image.Image, descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return any(kind == b"IEND" and end <= size for kind, end in _png_chunks(descriptor))


def _jpeg(_: Image.Image, descriptor: int) -> bool:
    """Look for the end of the first picture; cameras append other things, pictures among them."""
    size = os.fstat(descriptor).st_size
    if os.pread(descriptor, 2, size - 2) == _END_OF_JPEG:
        return True
    offset = 2
    while len(head := os.pread(descriptor, 4, offset)) == 4 and head[0] == 0xFF and head[1] != _START_OF_SCAN:
        offset += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:], "big")
    while part := os.pread(descriptor, _CHUNK + 1, offset):
        if _END_OF_JPEG in part:
            return True
        offset += _CHUNK
    return False


def _webp(_: Image.Image, descriptor: int) -> bool:
    return 8 + int.from_bytes(os.pread(descriptor, 4, 4), "little") <= os.fstat(descriptor).st_size


def _tiff(image: Image.Image, descriptor: int) -> bool:
    """Tell whether strips or tiles lie within the file, and cover the picture: Pillow shows the rest of it black."""
    tags, size = image.tag_v2, os.fstat(descriptor).st_size  # type: ignore[attr-defined]
    pieces = [zip(tags.get(at, ()), tags.get(length, ()), strict=False) for at, length in _PIECES]
    width, height, planes = tags.get(256, 0), tags.get(257, 0), tags.get(277, 1) if tags.get(284) == 2 else 1
    strips = -(-height // tags.get(278, height))
    tiles = -(-width // tags.get(322, width)) * -(-height // tags.get(323, height))
    covered = len(tags.get(324, ())) >= tiles * planes if 324 in tags else len(tags.get(273, ())) >= strips * planes
    return covered and all(start + length <= size for piece in pieces for start, length in piece)


def _raw(image: Image.Image, descriptor: int) -> bool:
    """Compare the size of a file of plain pixels with what they take; packed ones are seen when they are decoded."""
    # Pillow describes in tiles where the pixels lie and how: codec, rectangle, offset, arguments of the codec.
    tile = image.tile[-1]  # type: ignore[attr-defined]
    if tile.codec_name != "raw":
        return True
    arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    bits = {"1": 1, "I": 16, "F": 32}.get(image.mode, 8 * len(image.getbands()))
    stride = arguments[1] if len(arguments) > 1 and arguments[1] else -(-image.width * bits // 8)
    return bool(tile.offset + stride * image.height <= os.fstat(descriptor).st_size)


_CHECKS: dict[str, Callable[[Image.Image, int], bool]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "WEBP": _webp,
    "TIFF": _tiff,
    "BMP": _raw,
    "PPM": _raw,
}
