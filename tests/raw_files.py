"""Raw files as a camera writes them: mosaics of linear light in DNG, with time and f-number."""

import struct

import numpy as np
import tifffile

WHITE = 16383
CFA_PHOTO, EXIF = 32803, 34665
STANDS_FOR_EXIF = EXIF - 1  # which tifffile does not write
# XYZ of D65 to linear sRGB: as if the camera's filters were those primaries.
PRIMARIES = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252)
D65 = 21


def write_dng(path, photo, time=None, f_number=None):
    """Write what a sensor behind red, green and blue filters sees of an sRGB photo of even sides."""
    levels = photo / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    mosaic = light[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
    tags = [
        (271, "s", 0, "Nobody", False),
        (33421, "H", 2, (2, 2), False),  # CFARepeatPatternDim
        (33422, "B", 4, (0, 1, 1, 2), False),  # CFAPattern
        (50706, "B", 4, (1, 4, 0, 0), False),  # DNGVersion
        (50708, "s", 0, "lensblend's tests", False),
        (50714, "H", 1, 0, False),  # BlackLevel
        (50717, "H", 1, WHITE, False),
        (50721, "2i", 9, _rationals(PRIMARIES), False),  # ColorMatrix1
        (50728, "2I", 3, _rationals((1, 1, 1)), False),  # AsShotNeutral
        (50778, "H", 1, D65, False),
    ]
    tags.append((STANDS_FOR_EXIF, "I", 1, 0, False))
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.round(mosaic * WHITE).astype(np.uint16)
    tifffile.imwrite(path, pixels, photometric=CFA_PHOTO, planarconfig=1, metadata=None, extratags=tags)
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[STANDS_FOR_EXIF]
    content = bytearray(path.read_bytes())
    content += bytes(len(content) % 2)
    struct.pack_into("<H", content, entry.offset, EXIF)
    struct.pack_into("<I", content, entry.valueoffset, len(content))
    path.write_bytes(content + _exif(len(content), time, f_number))


def _exif(offset, time, f_number):
    """The folder of a camera's own facts, and their values behind it."""
    values = []
    if f_number is not None:
        values.append((33437, 5, 1, struct.pack("<2I", *_rationals((f_number,)))))
    if time is not None:
        values.append((36867, 2, 20, time.encode() + b"\0"))
    behind = offset + 2 + 12 * len(values) + 4
    entries, rest = b"", b""
    for tag, kind, count, value in values:
        entries += struct.pack("<HHII", tag, kind, count, behind + len(rest))
        rest += value
    return struct.pack("<H", len(values)) + entries + bytes(4) + rest


def _rationals(numbers):
    return [part for number in numbers for part in (round(number * 10_000), 10_000)]
