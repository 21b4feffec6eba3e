"""Sizes of images and crops, checked without reading one: commands that only compose a configuration start at once."""

from __future__ import annotations

from collections.abc import Sequence

from lensblend.errors import RequestError


def check_image_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width), or refuse what is not two positive integers."""
    if not isinstance(image_size, list | tuple):
        raise RequestError(f"`image_size` is (height, width), a list of two, but got {image_size!r}.")
    if len(image_size) != 2 or not all(isinstance(side, int) and side > 0 for side in image_size):
        raise RequestError(f"`image_size` is (height, width), both positive, but got {list(image_size)}.")
    return image_size[0], image_size[1]


def turned(image_size: Sequence[int], photo_size: Sequence[int]) -> tuple[int, int]:
    """Return a working size that stands where the photo stands and lies where it lies: the sides change places.

    Args:
        image_size: (height, width) at which a network works.
        photo_size: (height, width) of the photo; a square one takes the size as it is.

    Example:
        >>> turned((384, 512), (1536, 1024)), turned((384, 512), (1024, 1536))
        ((512, 384), (384, 512))
    """
    height, width = image_size
    is_across = (height - width) * (photo_size[0] - photo_size[1]) < 0
    return (width, height) if is_across else (height, width)


def check_crop(crop: Sequence[int], image_size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a crop, or refuse one that does not lie within the image."""
    if len(crop) != 2 or not all(isinstance(side, int) and side > 0 for side in crop):
        raise RequestError(f"`crop` is (height, width), both positive, but got {list(crop)}.")
    if any(part > whole for part, whole in zip(crop, image_size, strict=True)):
        raise RequestError(
            f"`crop` lies within the image of {list(image_size)}, but got {list(crop)}; make it smaller, or "
            "`image_size` larger."
        )
    return crop[0], crop[1]
