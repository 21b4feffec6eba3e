"""The kinds of images that people have: for each, a file or a set of files, and whether its pixels can be right.

Where they can, they are known beforehand: an array that was stored, or what OpenCV reads of the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from odd_pictures import (
    DEEP_RGB,
    STORED,
    bomb,
    encoded,
    flipped_crc,
    huge_jpeg,
    many,
    over_white,
    pil,
    raw,
    spread,
    tif,
    tiff,
)

Y, X = np.mgrid[0:48, 0:64]
PLAIN = np.stack([X * 3 + Y, Y * 5, 220 - X - Y * 2], axis=-1).astype(np.uint8)
GREY = (X * 3 + Y).astype(np.uint8)
ALPHA = (Y * 5).astype(np.uint8)
DEEP = (X * 900 + Y * 150).astype(np.uint16)
CMYK = np.dstack([PLAIN, ALPHA // 3])
# Those that a kind meets. `folders` are the renderings and targets that `lensblend evaluate` scores.
ENTRIES = ("loader", "train", "evaluate", "folders", "render", "compare", "check")
READING_PAIRS = ("train", "evaluate", "folders", "compare", "check")


@dataclass(frozen=True)
class Kind:
    """One kind of image, or of a set of them.

    Attributes:
        name: What is odd about it.
        file: What the photo is called, in the folder ``photos``.
        write: Writes it; what a set lacks or has too much of beside it.
        pixels: What it shows; None where nobody can read it.
        within: By how many of 255 levels a reader may be off: one, for rounding.
        refused: Entry points that refuse it although its pixels are right.
        entries: Those that it can be given to.
    """

    name: str
    file: str
    write: Callable[[Path], Any]
    pixels: np.ndarray | None = None
    within: float = 1.0
    refused: tuple[str, ...] = ()
    entries: tuple[str, ...] = ENTRIES

    def is_read(self, entry: str) -> bool:
        """Tell whether an entry point does its work with it."""
        return self.pixels is not None and entry not in self.refused

    def lay(self, folder: Path) -> Path:
        """Write two pairs into a folder, the second of this kind; return its photo's path."""
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("photos", "targets"):
            (folder / part).mkdir(parents=True)
            Image.fromarray(PLAIN).save(folder / part / "a.png")
        path = folder / "photos" / self.file
        target = PLAIN if self.pixels is None else np.rint(self.pixels).astype(np.uint8)
        Image.fromarray(target).save(folder / "targets" / f"{path.stem}.png")
        self.write(path)
        return path


def _bytes(make: Callable[[], bytes]) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(make())


def _cut(image_format: str) -> Callable[[Path], Any]:
    return _bytes(lambda: encoded(image_format)[: len(encoded(image_format)) * 6 // 10])


def _turned(orientation: int) -> Callable[[Path], Any]:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](PLAIN))
    return lambda path: Image.fromarray(stored).save(path, exif=exif)


def _palette(path: Path) -> None:
    image = Image.fromarray(Y.astype(np.uint8), "L").convert("P")
    image.putpalette(np.ascontiguousarray(PLAIN[:, 5]).tobytes())
    image.save(path)


def _gif(path: Path) -> None:
    path.write_bytes(many("GIF"))


def _closed(path: Path) -> None:
    Image.fromarray(PLAIN).save(path)
    path.chmod(0)


def _png(path: Path) -> None:
    Image.fromarray(PLAIN).save(path, "PNG")


def _decoded(data: bytes) -> np.ndarray:
    """Return what OpenCV reads, in RGB."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def _profile() -> bytes:
    """Return a colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _jpeg(**options: Any) -> bytes:
    _, data = cv2.imencode(".jpg", PLAIN[..., ::-1], [int(n) for pair in options.items() for n in pair])
    return bytes(data)


def _second(name: str) -> Callable[[Path], Any]:
    """Write a photo, and one more of its name."""

    def write(path: Path) -> None:
        _png(path)
        Image.fromarray(PLAIN).save(path.with_name(name))

    return write


def _target(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Write a photo, and do something to its target."""

    def write(path: Path) -> None:
        _png(path)
        make(path.parents[1] / "targets" / f"{path.stem}.png")

    return write


def _list(path: Path) -> None:
    """Write a list that leads out of the data set, to a photo there, and a data set in the layout of EBB!."""
    _png(path)
    root = path.parents[1]
    (root / "outside").mkdir()
    _png(root / "outside" / "7.png")
    for part, of in (("original", "photos"), ("bokeh", "targets")):
        shutil.copytree(root / of, root / "ebb" / "Training" / part)
    (root / "list.csv").write_text("photos/a.png\n../outside/7.png\n")


_PROGRESSIVE = _jpeg(**{str(cv2.IMWRITE_JPEG_QUALITY): 100, str(cv2.IMWRITE_JPEG_PROGRESSIVE): 1})
_CMYK_SHOWN = (255.0 - CMYK[..., :3]) * (255 - CMYK[..., 3:]) / 255
_HTML = b"<!DOCTYPE html><html><title>404</title></html>"
_NAN = np.where(Y > 3, np.nan, 0.5).astype(np.float32)
_UNREADABLE = (
    Kind("truncated JPEG", "b.jpg", _cut("JPEG")),
    Kind("truncated PNG", "b.png", _cut("PNG")),
    Kind("truncated TIFF", "b.tif", _cut("TIFF")),
    Kind("empty file", "b.jpg", _bytes(lambda: b"")),
    Kind("HTML page", "b.jpg", _bytes(lambda: _HTML)),
    Kind("wrong checksum", "b.png", _bytes(lambda: flipped_crc(PLAIN))),
    Kind("bomb", "b.png", _bytes(lambda: bomb(15000, 15000))),
    Kind("huge header", "b.jpg", _bytes(huge_jpeg)),
    Kind("no width", "b.png", _bytes(lambda: bomb(0, 10))),
    Kind("animated GIF called PNG", "b.png", _gif),
    Kind("animated PNG", "b.png", _bytes(lambda: many("PNG"))),
    Kind("animated WebP", "b.webp", _bytes(lambda: many("WEBP"))),
    Kind("multi-page TIFF", "b.tif", _bytes(lambda: many("TIFF"))),
    Kind("float TIFF above 1", "b.tif", tif(np.float32(DEEP))),
    Kind("float TIFF with NaN", "b.tif", _bytes(lambda: tiff(_NAN))),
    Kind("float TIFF in colour", "b.tif", tif((DEEP_RGB / 65535).astype(np.float32), photometric="rgb")),
    Kind("TIFF of 32-bit integers", "b.tif", tif(DEEP.astype(np.int32))),
    Kind("link to itself", "b.jpg", lambda path: path.symlink_to(path)),
    Kind("link to nothing", "b.jpg", lambda path: path.symlink_to("nowhere.jpg")),
    Kind("folder called .jpg", "b.jpg", lambda path: path.mkdir()),
    Kind("pipe", "b.jpg", os.mkfifo),
    Kind("no permission", "b.png", _closed),
)
_READABLE = (
    Kind("wrong extension", "b.jpg", _png, PLAIN, refused=("check",)),
    Kind("CMYK", "b.tif", raw(CMYK, "CMYK"), _CMYK_SHOWN),
    Kind("grey with alpha", "b.png", raw(np.dstack([GREY, ALPHA]), "LA"), over_white(spread(GREY), ALPHA)),
    Kind("grey", "b.png", pil(GREY), spread(GREY)),
    Kind("1-bit", "b.png", pil(GREY > 99), spread((GREY > 99) * 255.0)),
    Kind("palette", "b.png", _palette, PLAIN[:, 5][Y]),
    Kind("RGB with alpha", "b.png", pil(np.dstack([PLAIN, ALPHA])), over_white(PLAIN, ALPHA)),
    Kind("16-bit grey", "b.png", lambda path: cv2.imwrite(str(path), DEEP), spread(DEEP / 257)),
    Kind(
        "16-bit colour",
        "b.png",
        lambda path: cv2.imwrite(str(path), PLAIN[..., ::-1].astype(np.uint16) * 257 + 100),
        (PLAIN * 257.0 + 100) / 257,
    ),
    Kind("float TIFF in [0, 1]", "b.tif", tif((DEEP / 65535).astype(np.float32)), spread(DEEP / 257)),
    *(Kind(f"EXIF orientation {number}", "b.png", _turned(number), PLAIN) for number in range(2, 9)),
    Kind(
        "one pixel",
        "b.png",
        pil(PLAIN[:1, :1]),
        PLAIN[:1, :1],
        refused=("evaluate", "folders", "render", "compare", "check"),
    ),
    Kind("colour profile", "b.png", pil(PLAIN, icc_profile=_profile()), PLAIN),
    Kind("progressive JPEG", "b.jpg", _bytes(lambda: _PROGRESSIVE), _decoded(_PROGRESSIVE)),
    Kind("name beyond ASCII", "Größe 図像 é.png", _png, PLAIN),
)
_SETS = (
    Kind("`..` in a list", "b.png", _list, PLAIN, entries=("loader", "train", "evaluate")),
    Kind("two of one name", "b.png", _second("b.jpg"), PLAIN, refused=READING_PAIRS),
    Kind("no partner", "b.png", _target(Path.unlink), PLAIN, refused=READING_PAIRS),
    Kind("partner of another size", "b.png", _target(pil(PLAIN[:40])), PLAIN, refused=READING_PAIRS),
    Kind("portrait and landscape", "b.png", _target(pil(np.rot90(PLAIN).copy())), PLAIN, refused=READING_PAIRS),
)
KINDS = (*_UNREADABLE, *_READABLE, *_SETS)
