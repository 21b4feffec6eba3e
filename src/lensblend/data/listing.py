"""Which files of a folder are images, and what their renderings are called."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from lensblend.errors import DataError, RequestError

# Of the formats that the loader reads.
_PHOTOS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".tif", ".tiff", ".webp", ".bmp", ".mpo")
SUFFIXES = (*_PHOTOS, ".ppm", ".pgm", ".pbm", ".pnm", ".pfm")
# Of the formats that are written, the first of each for new names.
FORMATS = {"png": (".png",), "jpeg": (".jpg", ".jpeg"), "webp": (".webp",), "tiff": (".tif", ".tiff")}
WRITTEN = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_LARGEST_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}


def list_images(folder: str | Path) -> list[Path]:
    """List the images of a folder by name, 2 before 10; hidden files and subfolders are passed over."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(f"`{folder}` is not a folder; name an existing folder of images.")
    images = images_in(folder)
    if not images:
        raise DataError(f"`{folder}` holds no image; add files that end in one of {', '.join(SUFFIXES)}.")
    return images


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder as `list_images` does; there may be none."""
    images = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and not p.is_dir()]
    return sorted(images, key=lambda p: natural_key(p.name))


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder by name; hidden ones, and links to folders, which may lead back, are passed over."""
    folders = [p for p in folder.iterdir() if p.is_dir() and p.name[0] != "." and not p.is_symlink()]
    return sorted(folders, key=lambda p: natural_key(p.name))


def passed_over(folder: Path) -> list[Path]:
    """List the files of a folder that are images by their names, of formats that are not read: GIF, HEIC, raw files."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() not in SUFFIXES
        and path.name[0] != "."
        and (mimetypes.guess_type(path.name)[0] or "").startswith("image/")
    )


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Return a sort key that compares runs of digits as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(parts)], name


def rendered_name(photo: Path) -> str:
    """Return what a photo's rendering is called: like the photo, as PNG where its own format is not written.

    Example:
        >>> rendered_name(Path("a/1.JPG")), rendered_name(Path("a/1.bmp"))
        ('1.JPG', '1.png')
    """
    return photo.name if photo.suffix.lower() in WRITTEN else f"{photo.stem}.png"


def format_of(suffix: str) -> str | None:
    """Return the name of the format that a file's suffix stands for; None where it is not written.

    Example:
        >>> format_of(".JPG"), format_of(".gif")
        ('jpeg', None)
    """
    return next((name for name, suffixes in FORMATS.items() if suffix.lower() in suffixes), None)


def check_holds(path: Path, size: tuple[int, int]) -> None:
    """Refuse a file whose format, chosen by its suffix, does not hold a picture of this (height, width).

    Raises:
        DataError: It is too large for the format.
    """
    most = _LARGEST_SIDES.get(path.suffix.lower())
    if most is not None and max(size) > most:
        raise DataError(
            f"`{path}` cannot hold {size[0]}×{size[1]} pixels (at most {most} a side); name the photo .png or .tif."
        )
