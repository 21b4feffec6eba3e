"""One verdict on every file that Pillow can write: from the size check, the loader, the maps' reader and the writer."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from lensblend.data.images import FORMATS, read_map, read_map_size, read_photo, read_size, write_image
from lensblend.data.listing import SUFFIXES, WRITTEN, list_images, passed_over, rendered_name
from lensblend.errors import DataError

Image.init()
SIZE = (12, 20)  # (height, width)
RAMP = np.linspace(0, 255, 240).reshape(SIZE).astype(np.uint8)
MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV",
    "I", "I;16", "I;16L", "I;16B", "F",
)  # fmt: skip


def of_mode(mode):
    """A grey ramp in one of Pillow's modes, opaque."""
    if mode == "F":
        return Image.fromarray((RAMP / 255).astype(np.float32))
    if mode == "I":
        return Image.fromarray(RAMP.astype(np.int32) * 257)
    if mode.startswith("I;16"):
        values = (RAMP.astype(np.uint16) * 257).astype(">u2" if mode.endswith("B") else "<u2")
        return Image.frombytes(mode, SIZE[::-1], values.tobytes())
    if mode in ("RGBa", "La"):
        return Image.fromarray(RAMP).convert(mode.upper()).convert(mode)
    if mode == "PA":
        return Image.fromarray(RAMP).convert("P").convert("PA")
    if mode == "LAB":
        return Image.merge("LAB", [Image.fromarray(RAMP), *[Image.new("L", SIZE[::-1], 0)] * 2])
    return Image.fromarray(RAMP).convert(mode)


def written(image, image_format):
    """What Pillow writes, or None where the format does not hold the mode."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save(buffer, image_format)
    except Exception:
        return None
    return buffer.getvalue() or None


FILES = {
    (image_format, mode): content
    for image_format in sorted(Image.SAVE)
    if image_format not in ("PDF", "HDF5", "BUFR", "GRIB", "WMF")  # which need other programs, or hold no pixels
    for mode in MODES
    if (content := written(of_mode(mode), image_format))
}


def verdict(call, path):
    try:
        return call(path)
    except DataError as error:
        if str(path) not in str(error) or ";" not in str(error):
            pytest.fail(f"no path or no remedy: {error}")
        return None


def test_the_table_is_large_enough():
    assert len(FILES) > 90
    assert {name for name, _ in FILES} > {*FORMATS, "GIF", "MPO", "TGA"}


@pytest.mark.parametrize("image_format", sorted({name for name, _ in FILES}))
def test_size_check_loader_and_writer_agree_on_every_mode(tmp_path, image_format):
    read = []
    for mode in (mode for name, mode in FILES if name == image_format):
        path = tmp_path / f"{mode.replace(';', '')}.{image_format.lower()}"
        path.write_bytes(FILES[image_format, mode])
        size, photo = verdict(read_size, path), verdict(read_photo, path)
        assert (size is None) == (photo is None), (mode, size)
        if photo is not None:
            assert photo.shape == (*SIZE, 3), mode
            assert size == SIZE, mode
            write_image(tmp_path / "out" / rendered_name(path), photo)
            read.append(mode)
        map_size, plane = verdict(read_map_size, path), verdict(read_map, path)
        assert (map_size is None) == (plane is None), mode
        if plane is not None:
            assert plane.shape == map_size == SIZE, mode
            if mode == "1":  # dithered
                assert plane.mean() == pytest.approx(RAMP.mean() / 255, abs=0.02)
            elif mode != "LAB" and image_format != "WEBP":  # no linear scale; Pillow clips when it writes
                assert np.abs(plane - RAMP / 255).max() <= 0.06, mode
    assert bool(read) == (image_format in (*FORMATS, "MPO")), read


def test_every_suffix_of_a_format_that_is_read_is_listed_and_gets_a_name_that_is_written(tmp_path):
    of_formats = {s for s, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")}
    assert set(SUFFIXES) == of_formats
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").touch()
    assert len(list_images(tmp_path)) == len(SUFFIXES)
    for path in list_images(tmp_path):
        write_image(tmp_path / "out" / rendered_name(path), np.zeros((4, 5, 3), np.uint8))
    assert {rendered_name(path)[1:] for path in list_images(tmp_path)} == set(WRITTEN)


def test_images_that_are_not_read_are_not_forgotten(tmp_path):
    for name in ("a.gif", "b.png", "c.txt", ".d.gif", "e.avif"):
        (tmp_path / name).touch()
    assert [path.name for path in passed_over(tmp_path)] == ["a.gif", "e.avif"]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


def xmp(orientation):
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def raw_profile(orientation):
    """As ImageMagick writes EXIF into a PNG."""
    block = exif(orientation)
    return b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n{len(block):8}\n{block.hex()}\n".encode())


def png(orientation, kind, late):
    """A PNG whose orientation stands in one of three places, before or after its pixels."""
    metadata = {
        "eXIf": lambda: chunk(b"eXIf", exif(orientation)[6:]),
        "raw profile": lambda: chunk(b"zTXt", raw_profile(orientation)),
        "XMP": lambda: chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation)),
    }[kind]()
    data = FILES["PNG", "RGB"]
    start = data.index(b"IDAT") - 4 if not late else data.index(b"IEND") - 4
    return data[:start] + metadata + data[start:]


def saved(image_format, **options):
    buffer = io.BytesIO()
    of_mode("RGB").save(buffer, image_format, **options)
    return buffer.getvalue()


def tiff_by_xmp(orientation):
    return saved("TIFF", tiffinfo={700: xmp(orientation)})


TURNED = {
    **{
        f"{kind} {'after' if late else 'before'} the pixels.png": lambda o, k=kind, late=late: png(o, k, late)
        for kind in ("eXIf", "raw profile", "XMP")
        for late in (False, True)
    },
    **{
        f"{name} by EXIF": lambda o, name=name: saved(name, exif=exif(o))
        for name in ("JPEG", "PNG", "TIFF", "WEBP", "MPO")
    },
    **{f"{name} by XMP": lambda o, name=name: saved(name, xmp=xmp(o)) for name in ("JPEG", "WEBP")},
    "TIFF by XMP": tiff_by_xmp,
    "both say otherwise.png": lambda o: saved("PNG", exif=exif(o)).replace(
        chunk(b"IEND", b""), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(9 - o)) + chunk(b"IEND", b"")
    ),
}


@pytest.mark.parametrize("source", TURNED)
def test_size_check_and_loader_turn_alike(tmp_path, source):
    path = tmp_path / "photo"
    for orientation in range(1, 9):
        path.write_bytes(TURNED[source](orientation))
        size = SIZE if orientation < 5 else SIZE[::-1]
        assert read_photo(path).shape[:2] == read_size(path) == size, orientation
        assert read_map(path).shape == read_map_size(path) == size, orientation


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_a_file_that_ends_too_early_is_refused_by_both(tmp_path, image_format):
    data, path = FILES[image_format, "RGB"], tmp_path / "cut"
    # A TIFF's tags may lie behind the pixels, where Pillow writes no padding.
    for missing in (1, 2, 4, 12, len(data) // 2):
        path.write_bytes(data[:-missing])
        for read in (read_size, read_photo, read_map_size, read_map):
            assert verdict(read, path) is None, (missing, read)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_what_is_appended_does_no_harm(tmp_path, image_format):
    path = tmp_path / "long"
    path.write_bytes(FILES[image_format, "RGB"] + b"\0" * 5000)
    assert read_size(path) == read_photo(path).shape[:2] == SIZE


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_a_map_in_colours_or_with_holes_is_refused_before_it_is_needed(tmp_path, mode):
    image = Image.merge("RGB", [Image.fromarray(RAMP), Image.fromarray(255 - RAMP), Image.new("L", SIZE[::-1], 9)])
    image = image.convert("P" if mode == "P" else "RGB")
    if mode == "RGBA":
        image = of_mode("RGBA")
        image.putalpha(Image.fromarray(RAMP))
    image.save(tmp_path / "map.png")
    for read in (read_map_size, read_map):
        with pytest.raises(DataError, match="transparent places; save" if mode == "RGBA" else "in colours; save"):
            read(tmp_path / "map.png")
