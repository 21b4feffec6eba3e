"""Pictures as files hold them, sound and damaged: constants, and writers for tests of loaders and verbs."""

import io
import struct
import zlib

import cv2
import numpy as np
import tifffile
from PIL import Image

ROWS, COLUMNS = np.mgrid[0:24, 0:40]
GREY = (COLUMNS * 6 + ROWS).astype(np.uint8)
RGB = np.stack([COLUMNS * 6, ROWS * 10, 200 - COLUMNS * 3 - ROWS * 2], axis=-1).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
ALPHA = (ROWS * 11).astype(np.uint8)
DEEP = (COLUMNS * 1500 + ROWS * 300).astype(np.uint16)
DEEP_RGB = np.stack([DEEP, DEEP[::-1], 65535 - DEEP], axis=-1).astype(np.uint16)
CMYK = np.dstack([RGB, ALPHA // 3])


def spread(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=-1)


def over_white(rgb, alpha):
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


def pil(array, mode=None, name=None, **options):
    image = Image.fromarray(array)
    return lambda path: (image.convert(mode) if mode else image).save(path, **options)


def raw(array, mode, **options):
    image = Image.frombytes(mode, (array.shape[1], array.shape[0]), array.tobytes())
    return lambda path: image.save(path, **options)


def cv(array):
    return lambda path: cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def tif(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def palette(path, **options):
    image = Image.fromarray(ROWS.astype(np.uint8), "L").convert("P")
    image.putpalette(RGB[:, 5].tobytes())
    image.save(path, **options)


def jpeg_named_png(path):
    Image.fromarray(RGB).save(path, "PNG")


def multi_picture(path):
    Image.fromarray(RGB).save(path, "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)], quality=100)


def twelve_bit(path):
    """A TIFF of two packed 12-bit samples in three bytes (TIFF 6.0, section 3)."""
    high, low = (DEEP >> 4)[:, ::2].ravel().astype(int), (DEEP >> 4)[:, 1::2].ravel().astype(int)
    strip = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], axis=-1).astype(np.uint8).tobytes()
    tags = {256: 40, 257: 24, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 24, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip)


def jpeg(array=RGB, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def encoded(image_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, image_format, **options)
    return buffer.getvalue()


def flipped_crc(array=NOISE):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[data.index(b"IDAT") + 40] ^= 0xFF
    return bytes(data)


def bomb(width, height):
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    data = bytearray(encoded("PNG"))
    data[16:29] = header
    data[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(data)


def huge_jpeg():
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65500, 65500)
    return bytes(data)


def many(image_format, **options):
    buffer = io.BytesIO()
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


# EXIF 2.3, tag 274: where row 0 and column 0 of the stored pixels lie in the upright picture.
STORED = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.transpose(1, 0, 2),
    6: lambda up: np.rot90(up, 1),
    7: lambda up: up[::-1, ::-1].transpose(1, 0, 2),
    8: lambda up: np.rot90(up, -1),
}
