import io
import os
import pickle
import struct
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage.color import lab2rgb

from lensblend.data.images import (
    read_map,
    read_photo,
    read_photo_with_metadata,
    read_size,
    write_image,
)
from lensblend.data.listing import list_images
from lensblend.errors import DataError, RequestError, StorageError
from odd_pictures import (
    ALPHA,
    CMYK,
    DEEP,
    DEEP_RGB,
    GREY,
    RGB,
    ROWS,
    STORED,
    bomb,
    cv,
    encoded,
    flipped_crc,
    huge_jpeg,
    jpeg_named_png,
    many,
    multi_picture,
    over_white,
    palette,
    pil,
    raw,
    spread,
    tif,
    tiff,
    twelve_bit,
)

GOOD = {
    "rgb.png": (pil(RGB), RGB, 0),
    "rgb.bmp": (pil(RGB), RGB, 0),
    "rgb.ppm": (pil(RGB), RGB, 0),
    "rgb.tif": (tif(RGB, photometric="rgb"), RGB, 0),
    "planar.tif": (tif(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB, 0),
    "lossless.webp": (pil(RGB, lossless=True), RGB, 0),
    "baseline.jpg": (pil(RGB, quality=100, subsampling=0), RGB, 3),
    "progressive.jpg": (pil(RGB, quality=100, subsampling=0, progressive=True), RGB, 3),
    "wrong extension.jpg": (jpeg_named_png, RGB, 0),
    "Größe 图像 é.png": (pil(RGB), RGB, 0),
    "one pixel.png": (pil(RGB[:1, :1]), RGB[:1, :1], 0),
    "first picture.mpo": (multi_picture, RGB, 8),
    "l.png": (pil(GREY), spread(GREY), 0),
    "l.jpg": (pil(GREY, quality=100), spread(GREY), 2),
    "white is zero.tif": (tif(GREY, photometric="miniswhite"), spread(255 - GREY), 0),
    "bilevel.png": (pil(GREY > 99), spread((GREY > 99) * 255), 0),
    "bilevel.bmp": (pil(GREY > 99), spread((GREY > 99) * 255), 0),
    "palette.png": (palette, RGB[:, 5][ROWS], 0),
    "transparent palette.png": (
        lambda path: palette(path, transparency=bytes(255 - 10 * i for i in range(24))),
        over_white(RGB[:, 5][ROWS], 255 - 10 * ROWS),
        1,
    ),
    "transparent colour.png": (
        pil(np.where(ROWS[..., None] > 9, RGB, 7).astype(np.uint8), transparency=(7, 7, 7)),
        np.where(ROWS[..., None] > 9, RGB, 255),
        0,
    ),
    "la.png": (raw(np.dstack([GREY, ALPHA]), "LA"), over_white(spread(GREY), ALPHA), 1),
    "la.tif": (raw(np.dstack([GREY, ALPHA]), "LA"), over_white(spread(GREY), ALPHA), 1),
    "rgba.png": (pil(np.dstack([RGB, ALPHA])), over_white(RGB, ALPHA), 1),
    "rgba.webp": (pil(np.dstack([RGB, ALPHA]), lossless=True, exact=True), over_white(RGB, ALPHA), 1),
    "cmyk.tif": (raw(CMYK, "CMYK"), (255.0 - CMYK[..., :3]) * (255 - CMYK[..., 3:]) / 255, 1),
    "cmyk.jpg": (raw(CMYK, "CMYK", quality=100), (255.0 - CMYK[..., :3]) * (255 - CMYK[..., 3:]) / 255, 4),
    "ycbcr.tif": (pil(RGB, "YCbCr"), RGB, 3),
    "lab.tif": (
        tif(np.dstack([GREY, GREY * 0, GREY * 0]), photometric="cielab"),
        lab2rgb(np.dstack([GREY / 2.55, GREY * 0.0, GREY * 0.0])) * 255,
        2,
    ),
    "16-bit l.png": (cv(DEEP), spread(DEEP / 257), 0.5),
    "16-bit l.tif": (tif(DEEP), spread(DEEP / 257), 0.5),
    "12-bit l.tif": (twelve_bit, spread((DEEP >> 4) / 4095 * 255), 0.5),
    "16-bit l, big-endian.tif": (tif(DEEP, byteorder=">"), spread(DEEP / 257), 0.5),
    "16-bit l.pgm": (cv(DEEP), spread(DEEP / 257), 0.5),
    "16-bit white is zero.tif": (tif(DEEP, photometric="miniswhite"), spread(255 - DEEP / 257), 0.5),
    "16-bit rgb.png": (cv(DEEP_RGB), DEEP_RGB / 257, 1),
    "16-bit rgb.tif": (tif(DEEP_RGB, photometric="rgb"), DEEP_RGB / 257, 1),
    "16-bit rgb.ppm": (cv(DEEP_RGB), DEEP_RGB / 257, 1),
    "float.tif": (tif((DEEP / 65535).astype(np.float32)), spread(DEEP / 257), 0.5),
}


@pytest.mark.parametrize("name", GOOD)
def test_pixels_are_right(tmp_path, name):
    write, expected, tolerance = GOOD[name]
    path = tmp_path / name
    write(path)
    pixels = read_photo(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape == (*read_size(path), 3)
    assert np.abs(pixels - np.asarray(expected, dtype=float)).max() <= tolerance + 1e-9


def tall_tiff(**options):
    """A TIFF whose height is 100 where its strips or tiles hold 24 rows."""
    data = tiff(RGB, photometric="rgb", **options)
    return data.replace(struct.pack("<HHII", 257, 4, 1, 24), struct.pack("<HHII", 257, 4, 1, 100)).replace(
        struct.pack("<HHIHH", 257, 3, 1, 24, 0), struct.pack("<HHIHH", 257, 3, 1, 100, 0)
    )


BAD = {
    **{
        f"cut at {share} %.{suffix}": (
            lambda f=f, share=share, o=o: encoded(f, **o)[: len(encoded(f, **o)) * share // 100],
            "",
        )
        for suffix, f, o in (
            ("jpg", "JPEG", {}),
            ("png", "PNG", {}),
            ("webp", "WEBP", {}),
            ("tif", "TIFF", {}),
            ("lzw.tif", "TIFF", {"compression": "tiff_lzw"}),
            ("bmp", "BMP", {}),
            ("ppm", "PPM", {}),
        )
        for share in (10, 60, 95)
    },
    "empty.jpg": (lambda: b"", "is empty"),
    "page.jpg": (lambda: b"<!DOCTYPE html><html>404</html>", "no readable image"),
    "text.png": (lambda: b"\n" * 300, "no readable image"),
    "animated.gif": (lambda: many("GIF"), "no readable image"),
    "crc.png": (flipped_crc, "again"),
    "bomb.png": (lambda: bomb(15000, 15000), "too large"),
    "just above.png": (lambda: bomb(10001, 10000), "10001×10000"),
    "huge header.jpg": (huge_jpeg, "too large"),
    "animated.png": (lambda: many("PNG"), "2 frames"),
    "animated.webp": (lambda: many("WEBP"), "2 frames"),
    "pages.tif": (lambda: many("TIFF"), "2 frames"),
    "float above one.tif": (lambda: tiff(np.float32(DEEP)), "0 to 65400"),
    "float nan.tif": (lambda: tiff(np.where(ROWS > 3, np.nan, 0.5).astype(np.float32)), "floats in"),
    "float rgb.tif": (lambda: tiff((DEEP_RGB / 65535).astype(np.float32), photometric="rgb"), "no readable image"),
    "int32.tif": (lambda: tiff(DEEP.astype(np.int32)), "8 or 16 bits"),
    "zero wide.png": (lambda: bomb(0, 10), ""),
    "rows without strips.tif": (lambda: tall_tiff(rowsperstrip=24), "ends too early"),
    "rows without tiles.tif": (lambda: tall_tiff(tile=(16, 16)), "ends too early"),
}


def reopened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        read_photo(path, **options)
    message = str(caught.value)
    assert f"`{path}`" in message
    assert "\n" not in message
    assert ";" in message  # the remedy
    return message


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_in_one_line(tmp_path, name):
    make, part = BAD[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert part in refusal(path)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert "is a folder" in refusal(tmp_path / "folder.jpg")
    assert "pipe" in refusal(tmp_path / "pipe.jpg")
    assert "cannot be read" in refusal(tmp_path / "loop.jpg")
    assert "does not exist" in refusal(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="pipe"):
        read_size(tmp_path / "pipe.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "secret.png"
    Image.fromarray(RGB).save(path)
    path.chmod(0)
    assert "cannot be read" in refusal(path)


def test_pixel_cap_is_a_parameter(tmp_path):
    path = tmp_path / "small.png"
    Image.fromarray(RGB).save(path)
    assert "40×24 = 960 pixels" in refusal(path, max_pixels=959)
    assert read_photo(path, max_pixels=960).shape == (24, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3  # Pillow's own value is back


def test_truncated_is_refused_even_if_another_library_allowed_it(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    (tmp_path / "cut.jpg").write_bytes(encoded("JPEG")[:3000])
    refusal(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "Canon"
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    path, written = tmp_path / f"photo{suffix}", tmp_path / "written.jpg"
    Image.fromarray(np.ascontiguousarray(STORED[orientation](RGB))).save(path, exif=exif, **options)
    photo = read_photo_with_metadata(path)
    assert np.abs(photo.pixels.astype(int) - RGB).max() <= (3 if suffix == ".jpg" else 0)
    assert read_size(path) == (24, 40)
    write_image(written, photo.pixels, photo.exif, photo.icc)
    tags = reopened(written).getexif()
    assert (tags[274], tags[271]) == (1, "Canon")
    # OpenCV applies orientation by itself: a viewer that does so sees the same picture
    assert np.abs(cv2.imread(str(written))[..., ::-1].astype(int) - RGB).max() <= 10


def test_exif_details_and_profile_are_kept(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    details = exif.get_ifd(0x8769)
    details.update({0x9003: "2019:07:01 12:00:00", 0x829D: 1.8, 0xA002: 24, 0xA003: 40})
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source, written = tmp_path / "in.jpg", tmp_path / "out.png"
    Image.fromarray(np.ascontiguousarray(STORED[6](RGB))).save(source, exif=exif, icc_profile=profile)
    photo = read_photo_with_metadata(source)
    write_image(written, photo.pixels, photo.exif, photo.icc)
    image = reopened(written)
    kept = image.getexif().get_ifd(0x8769)
    assert kept[0x9003] == "2019:07:01 12:00:00"
    assert float(kept[0x829D]) == 1.8
    assert (kept[0xA002], kept[0xA003]) == image.size == (40, 24)
    assert image.getexif().get_ifd(0x8825)[1] == "N"
    assert image.info["icc_profile"] == profile


def test_tiff_structure_does_not_become_exif(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", RGB, photometric="rgb", software="scanner", metadata=None)
    photo = read_photo_with_metadata(tmp_path / "in.tif")
    write_image(tmp_path / "out.jpg", photo.pixels, photo.exif)
    assert set(reopened(tmp_path / "out.jpg").getexif()) == {274, 305}


def test_damaged_exif_does_not_hide_the_pixels(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01junk")
    photo = read_photo_with_metadata(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.pixels, RGB)


def test_profile_of_grey_is_dropped(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(GREY).save(tmp_path / "grey.png", icc_profile=profile)
    assert read_photo_with_metadata(tmp_path / "grey.png").icc is None


def cmyk_profile(corner):
    """A lut8 CMYK profile (ICC.1:2001-04, 6.5.7): white paper, black ink, ``corner`` (CIELAB) for full cyan."""
    identity = bytes(range(256))
    lab = lambda l, a, b: bytes([round(l * 2.55), a + 128, b + 128])  # noqa: E731, E741
    grid = b"".join(lab(0, 0, 0) if k % 2 else lab(*corner) if k >= 8 else lab(100, 0, 0) for k in range(16))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + grid + identity * 3
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"A2B0": lut,
    }
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2019, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_cmyk_profile_is_applied(tmp_path):
    ink = np.zeros((2, 2, 4), dtype=np.uint8)
    ink[1, :, 0] = 255
    raw(ink, "CMYK", icc_profile=cmyk_profile((60, 0, 0)))(tmp_path / "cmyk.tif")
    photo = read_photo_with_metadata(tmp_path / "cmyk.tif")
    expected = lab2rgb(np.array([[[100.0, 0, 0]], [[60.0, 0, 0]]])) * 255
    assert np.abs(photo.pixels - expected).max() <= 2  # without the profile, cyan would be (0, 255, 255)
    assert photo.icc is None


def test_cmyk_with_a_profile_that_is_none_is_refused(tmp_path):
    raw(CMYK, "CMYK", icc_profile=b"no profile")(tmp_path / "cmyk.tif")
    refusal(tmp_path / "cmyk.tif")


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".tif", 0), (".jpg", 8), (".jpeg", 8), (".webp", 25)])
def test_written_image_reads_back(tmp_path, suffix, tolerance):
    path = tmp_path / "new folder" / f"image{suffix}"
    write_image(path, RGB)
    decoded = cv2.imread(str(path))[..., ::-1].astype(int)
    assert np.abs(decoded - RGB).max() <= tolerance
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_grey_is_written_as_one_channel(tmp_path):
    write_image(tmp_path / "weights.png", GREY)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "weights.png"), cv2.IMREAD_UNCHANGED), GREY)


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    write_image(path, RGB)
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        write_image(path, 255 - RGB)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["image.png"]


def test_write_refuses_an_unknown_suffix_and_what_a_format_cannot_hold(tmp_path):
    with pytest.raises(RequestError, match=r"suffix '\.gif'; use one of \.jpg"):
        write_image(tmp_path / "image.gif", RGB)
    with pytest.raises(DataError, match="cannot hold"):
        write_image(tmp_path / "wide.webp", np.zeros((1, 16384, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="cannot hold"):
        write_image(tmp_path / "long exif.jpg", RGB, exif=bytes(70000))


def test_list_images_is_natural_and_skips_hidden(tmp_path):
    for name in ("10.jpg", "2.JPG", "img1.png", ".hidden.png", "notes.txt", "a.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["2.JPG", "10.jpg", "a.webp", "img1.png"]
    with pytest.raises(DataError, match="holds no image"):
        list_images(tmp_path / "folder.png")
    with pytest.raises(RequestError, match="not a folder"):
        list_images(tmp_path / "missing")


def test_map_keeps_its_precision(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), DEEP)
    np.save(tmp_path / "metres.npy", DEEP.astype(np.float64) / 7)
    np.testing.assert_allclose(read_map(tmp_path / "deep.png"), DEEP / 65535, atol=1e-7)
    np.testing.assert_allclose(read_map(tmp_path / "metres.npy"), DEEP / 7, rtol=1e-6)
    tifffile.imwrite(tmp_path / "float.tif", np.float32(DEEP))
    np.testing.assert_array_equal(read_map(tmp_path / "float.tif"), np.float32(DEEP))


def test_map_refuses_colour_pickles_and_nan(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "colour.png")
    np.save(tmp_path / "nan.npy", np.full((3, 3), np.nan))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    for name, part in (
        ("colour.png", "in colours"),
        ("nan.npy", "finite"),
        ("object.npy", "NPY"),
        ("missing.npy", "NPY"),
    ):
        with pytest.raises(DataError, match=part):
            read_map(tmp_path / name)


def npy(header, data=b"", version=b"\x01\x00", length="<H"):
    header = header.encode().ljust(118 - len(length)) + b"\n"
    return b"\x93NUMPY" + version + struct.pack(length, len(header)) + header + data


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"
NOT_MAPS = {
    "empty": b"",
    "cut": npy(FLOATS)[:30],
    "short": npy(FLOATS, b"\0" * 23),
    "long": npy(FLOATS, b"\0" * 25),
    "terabytes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}", b"\0" * 24),
    "more than memory": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10**30, 10)}"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}", b"\0" * 24),
    "one axis": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", b"\0" * 24),
    "colour": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3)}", b"\0" * 24),
    "complex": npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1, 3)}", b"\0" * 24),
    "dates": npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1, 3)}", b"\0" * 24),
    "texts": npy("{'descr': '<U2', 'fortran_order': False, 'shape': (1, 3)}", b"\0" * 24),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3)}", b"\0" * 24),
    "structured": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", b"\0" * 24),
    "code": npy("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').system('true')}"),
    "no header": npy("7"),
    "deep": npy("(" * 90),
    "version": npy(FLOATS, b"\0" * 24, version=b"\x07\x00"),
    "long header": npy(" " * 30_000 + FLOATS, b"\0" * 24),
    "zip": b"PK\x03\x04" + b"\0" * 40,
    "pickle": pickle.dumps([1, 2]),
}


@pytest.mark.parametrize("name", NOT_MAPS)
def test_an_array_that_is_no_map_is_refused_before_it_is_read(tmp_path, name):
    (tmp_path / "map.npy").write_bytes(NOT_MAPS[name])
    with pytest.raises(DataError, match=r"map\.npy") as raised:
        read_map(tmp_path / "map.npy")
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 600


def test_an_array_beyond_the_limit_is_not_read(tmp_path):
    with (tmp_path / "map.npy").open("wb") as file:
        file.write(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}"))
        file.truncate(file.tell() + 4 * 10**12)  # as long as its header says, and no byte of it on the disk
    with pytest.raises(DataError, match=r"map\.npy.*the file's size another"):
        read_map(tmp_path / "map.npy")


def test_a_pipe_is_no_array(tmp_path):
    os.mkfifo(tmp_path / "map.npy")
    with pytest.raises(DataError, match="pipe or device"):
        read_map(tmp_path / "map.npy")


@pytest.mark.parametrize("kind", ["?", "u1", ">u2", "i4", "f2", ">f4", "f8"])
def test_arrays_of_any_real_numbers_are_maps(tmp_path, kind):
    values = (np.arange(12).reshape(3, 4) % 2).astype(kind)
    for array in (values, np.asfortranarray(values)):
        np.save(tmp_path / "map.npy", array)
        np.testing.assert_array_equal(read_map(tmp_path / "map.npy"), values.astype(np.float32))


FUZZ = """
    import io, random, sys, time
    from pathlib import Path
    import numpy as np
    from PIL import Image
    from lensblend.data.images import read_photo_with_metadata
    from lensblend.errors import DataError

    path, count, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(0)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "maker"
    seeds = []
    for f in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, f, exif=exif)
        seeds.append(buffer.getvalue())
    refused = 0
    for i in range(count):
        data = bytearray(seeds[i % len(seeds)])
        for _ in range(chance.choice((1, 4, 30))):
            where = chance.randrange(chance.choice((64, len(data))))
            data[where] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)):]
        path.write_bytes(data)
        start = time.monotonic()
        try:
            photo = read_photo_with_metadata(path).pixels
            assert photo.dtype == np.uint8 and photo.shape[2] == 3
        except DataError as error:
            assert chr(10) not in str(error) and str(path) in str(error)
            refused += 1
        assert time.monotonic() - start < 5, f"mutation {i} took too long"
    print(refused)
"""


def fuzz(tmp_path, count):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(FUZZ), str(tmp_path / "mutant"), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * count, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < count


def test_mutated_files_never_crash_the_process(tmp_path):
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_many_mutated_files_never_crash_the_process(tmp_path):
    fuzz(tmp_path, 2000)
