"""What renderings keep of photos: bits, transparency, EXIF, XMP and profile; against OpenCV, tifffile and Pillow."""

import hashlib
import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps

from lensblend.data.metadata import Metadata
from lensblend.data.originals import Original, encoded, is_rendering, read_original, suffix_of, to_8_bits
from lensblend.errors import DataError

DEEP = np.random.default_rng(0).integers(0, 65536, (40, 61, 4)).astype(np.uint16)
RGB = (DEEP[..., :3] >> 8).astype(np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" GDepth:Near="0.5"/></x:xmpmeta>'
MARK = 'lensblend 1.0 {"model": "a"}'
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}


def opencv(path, pixels):
    order = [2, 1, 0, 3][: pixels.shape[2]]
    assert cv2.imwrite(str(path), pixels[..., order])


WRITERS = {
    "rgb.png": lambda path: opencv(path, DEEP[..., :3]),
    "rgba.png": lambda path: opencv(path, DEEP),
    "rgb.tif": lambda path: tifffile.imwrite(path, DEEP[..., :3], photometric="rgb", compression="zlib"),
    "big-endian.tif": lambda path: tifffile.imwrite(path, DEEP[..., :3], photometric="rgb", byteorder=">"),
    "rgba.tif": lambda path: tifffile.imwrite(path, DEEP, photometric="rgb", extrasamples=["unassalpha"]),
    "lzw.tif": lambda path: opencv(path, DEEP[..., :3]),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_sixteen_bits_in_colour_come_through(tmp_path, name, image_format):
    WRITERS[name](tmp_path / name)
    original = read_original(tmp_path / name)
    alpha = "rgba" in name
    assert original.deep
    assert (original.alpha is not None) == alpha
    shown = DEEP[..., 3] > 0 if alpha else np.ones(DEEP.shape[:2], bool)
    np.testing.assert_array_equal(original.pixels[shown], DEEP[..., :3][shown])
    content = encoded(original, original.pixels, image_format, MARK)
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored[..., 2::-1], original.pixels)
    if alpha:
        np.testing.assert_array_equal(stored[..., 3], DEEP[..., 3])
    if image_format == "tiff":
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(content))[..., :3], original.pixels)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_sixteen_bits_of_grey_become_as_many_in_colour(tmp_path, name):
    assert cv2.imwrite(str(tmp_path / name), DEEP[..., 0])
    original = read_original(tmp_path / name)
    assert original.deep
    np.testing.assert_array_equal(original.pixels, np.repeat(DEEP[..., :1], 3, axis=2))


@pytest.mark.parametrize("image_format", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_are_turned_upright_once(tmp_path, image_format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned{SUFFIXES[image_format]}"
    path.write_bytes(
        encoded(Original(DEEP[..., :3], None, Metadata(exif.tobytes())), DEEP[..., :3], image_format, MARK)
    )
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    original = read_original(path)
    np.testing.assert_array_equal(original.pixels >> 8, upright)
    with Image.open(io.BytesIO(encoded(original, original.pixels, image_format, MARK))) as written:
        assert written.getexif().get(274, 1) == 1
        assert written.size == upright.shape[1::-1]


@pytest.mark.parametrize("image_format", ["png", "webp", "tiff"])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "tRNS"])
def test_transparency_is_kept_where_the_format_holds_it(tmp_path, image_format, kind):
    alpha = to_8_bits(DEEP[..., 3])
    alpha[:5] = 0
    stored = Image.fromarray(np.dstack([RGB, alpha]))
    options = {}
    if kind == "LA":
        stored = stored.convert("LA")
    elif kind == "P":
        stored = Image.fromarray(np.indices((40, 61)).sum(axis=0).astype(np.uint8) % 4, "P")
        stored.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
        options["transparency"] = 2
    elif kind == "tRNS":
        stored, options["transparency"] = Image.fromarray(RGB), tuple(int(v) for v in RGB[7, 7])
    stored.save(tmp_path / "photo.png", **options)
    original = read_original(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as image:
        expected = np.array(image.convert("RGBA"))
    shown = expected[..., 3] > 0
    assert not shown.all()
    assert (original.pixels[~shown] == 255).all()
    np.testing.assert_array_equal(original.pixels[shown], expected[..., :3][shown])
    assert original.lost_in(image_format) == []
    assert "laid over white" in original.lost_in("jpeg")[0]
    with Image.open(io.BytesIO(encoded(original, original.pixels, image_format, MARK, quality=100))) as written:
        np.testing.assert_array_equal(np.array(written)[..., 3], expected[..., 3])


def test_without_transparency_a_photo_lies_over_white():
    colours, alpha = np.full((2, 2, 3), 100, np.uint8), np.array([[0, 255], [128, 51]], np.uint8)
    flat = Original(colours, alpha).flattened()
    assert flat.alpha is None
    assert flat.pixels[..., 0].tolist() == [[255, 100], [177, 224]]


@pytest.mark.parametrize("image_format", SUFFIXES)
@pytest.mark.parametrize("deep", [False, True])
def test_metadata_is_kept_in_every_format(tmp_path, image_format, deep):
    exif = Image.Exif()
    exif[271], exif[274], exif[305] = "Canon", 6, "Camera 1.0"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0my own words"
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path, exif=exif, icc_profile=PROFILE, xmp=PACKET)
    original = read_original(path)
    pixels = np.zeros((61, 40, 3), np.uint16 if deep and image_format in ("png", "tiff") else np.uint8)
    with Image.open(io.BytesIO(encoded(original, pixels, image_format, MARK))) as image:
        image.load()
        tags = image.getexif()
        assert (tags[271], tags.get(274, 1), tags[305]) == ("Canon", 1, MARK)
        assert tags.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0my own words"
        assert tags.get_ifd(0x8825)[1] == "N"
        assert image.info["icc_profile"] == PROFILE
        packet = image.info["xmp"]
        assert b"GDepth:Near" in (packet if isinstance(packet, bytes) else packet.encode())
        assert b"Orientation" not in (packet if isinstance(packet, bytes) else packet.encode())
        if image_format == "png":
            assert image.text["lensblend"] == MARK


def test_xmp_that_takes_several_segments_is_kept(tmp_path):
    """Depth of a portrait lies in segments beside the packet (XMP specification, part 3, section 1.1.3.1)."""
    body = b"<depth>" + bytes(range(65, 91)) * 4000 + b"</depth>"
    digest = hashlib.md5(body).hexdigest().upper().encode()
    parts = [body[at : at + 60_000] for at in range(0, len(body), 60_000)]
    head = b"http://ns.adobe.com/xmp/extension/\0"
    segments = [
        head + digest + struct.pack(">II", len(body), 60_000 * index) + part for index, part in enumerate(parts)
    ]
    extra = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part for part in segments)
    Image.fromarray(RGB).save(tmp_path / "portrait.jpg", extra=extra)
    original = read_original(tmp_path / "portrait.jpg")
    with Image.open(io.BytesIO(encoded(original, RGB, "jpeg", MARK))) as image:
        assert [content for name, content in image.applist if content.startswith(head)] == segments


def test_a_thumbnail_of_the_photo_is_left_out(tmp_path):
    """The rendering's would be another picture: viewers would show the sharp photo."""
    thumbnail = io.BytesIO()
    Image.fromarray(RGB).save(thumbnail, "JPEG")
    content = thumbnail.getvalue()
    first = 8 + 2 + 12 + 4
    second = first + 2 + 3 * 12 + 4
    block = b"II*\0" + struct.pack("<I", 8)
    block += struct.pack("<HHHIHHI", 1, 274, 3, 1, 1, 0, first)
    block += struct.pack("<H", 3)
    for tag, kind, value in ((259, 3, 6), (513, 4, second), (514, 4, len(content))):
        block += struct.pack("<HHII", tag, kind, 1, value)
    block += struct.pack("<I", 0) + content
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0" + block)
    with Image.open(path) as image:
        assert 513 in image.getexif().get_ifd(ExifTags.IFD.IFD1)
    original = read_original(path)
    written = encoded(original, RGB, "jpeg", MARK)
    assert content not in written
    with Image.open(io.BytesIO(written)) as image:
        assert not image.getexif().get_ifd(ExifTags.IFD.IFD1)


def test_xmp_that_a_jpeg_cannot_hold_is_left_out_and_said(tmp_path):
    packet = b"<x:xmpmeta>" + b" " * 70_000 + b"</x:xmpmeta>"
    original = Original(RGB, None, Metadata(xmp=packet))
    assert "XMP is left out" in original.lost_in("jpeg")[0]
    with Image.open(io.BytesIO(encoded(original, RGB, "jpeg", MARK))) as image:
        assert "xmp" not in image.info
    with Image.open(io.BytesIO(encoded(original, RGB, "webp", MARK))) as image:
        assert image.info["xmp"] == packet


def test_renderings_are_known_from_photos(tmp_path):
    for image_format, suffix in SUFFIXES.items():
        path = tmp_path / f"rendered{suffix}"
        path.write_bytes(encoded(Original(RGB), RGB, image_format, MARK))
        assert is_rendering(path), suffix
        assert suffix_of(path) == suffix
        Image.fromarray(RGB).save(path)
        assert not is_rendering(path), suffix
    (tmp_path / "page.png").write_bytes(b"<html>")
    assert not is_rendering(tmp_path / "page.png")


def test_quality_is_of_jpeg_and_webp():
    original = Original(RGB)
    for image_format in ("jpeg", "webp"):
        small, large = (len(encoded(original, RGB, image_format, MARK, quality)) for quality in (10, 95))
        assert small < large / 2
    with pytest.raises(DataError, match=r"`out\.webp` cannot hold"):
        encoded(original, np.zeros((1, 16384, 3), np.uint8), "webp", MARK, where="out.webp")
