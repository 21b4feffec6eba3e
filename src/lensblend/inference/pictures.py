"""Rows of captioned pictures: photo, target, bokeh and weight maps side by side (the layout of Dutta 2021, Fig. 6)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lensblend.errors import printable
from lensblend.storage import write_atomically

CELL_HEIGHT = 192
GAP = 6
WHITE_ERROR = 64
CAPTION = 20
SMALL = 256
PAPER, INK = (250, 250, 250), (40, 40, 40)


def to_8bit(image: Tensor) -> NDArray[np.uint8]:
    """Turn a ``(3, h, w)`` or ``(h, w)`` tensor in [0, 1] into 8-bit pixels, channels last."""
    array = (image.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return array.transpose(1, 2, 0) if array.ndim == 3 else array


def error_map(bokeh: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Picture where a rendering is wrong: the mean absolute difference of the colours, white = 64 levels or more.

    The scale is fixed, so that maps of several runs compare.

    Args:
        bokeh: Rendered bokeh, ``(h, w, 3)``.
        target: Captured bokeh.

    Example:
        >>> error_map(np.full((1, 1, 3), 16, np.uint8), np.zeros((1, 1, 3), np.uint8))
        array([[64]], dtype=uint8)
    """
    error = np.abs(bokeh.astype(np.float64) - target).mean(axis=-1)
    return np.rint((error * 255 / WHITE_ERROR).clip(0, 255)).astype(np.uint8)


def cells(
    photo: NDArray[np.uint8],
    target: NDArray[np.uint8] | None,
    bokeh: NDArray[np.uint8],
    weights: Sequence[NDArray[np.uint8]],
    names: Sequence[str] = (),
) -> dict[str, NDArray[np.uint8]]:
    """Name the pictures of one row, in their order.

    Args:
        photo: All-in-focus photo.
        target: Captured bokeh, where there is one.
        bokeh: Rendered bokeh.
        weights: Weight maps, sharpest copy first, white = 1.
        names: What each weight map weighs, e.g. ``gaussian 25``.
    """
    row = {"photo": photo}
    if target is not None:
        row["target"] = target
    row["bokeh"] = bokeh
    for index, weight in enumerate(weights):
        what = f" · {names[index]}" if index < len(names) else ""
        row[f"W{index}{what}"] = weight
    return row


def sheet(rows: Mapping[str, Mapping[str, NDArray[np.uint8]]], height: int = CELL_HEIGHT) -> Image.Image:
    """Lay rows of captioned pictures out on one sheet, each row under its title.

    Args:
        rows: Pictures by caption, by row title.
        height: Height of every picture on the sheet in pixels; small pictures are enlarged without smoothing, so that
            what is seen is what was rendered.
    """
    drawn = [_row(title, row, height) for title, row in rows.items()]
    page = Image.new("RGB", (max(r.width for r in drawn), sum(r.height for r in drawn)), PAPER)
    top = 0
    for row in drawn:
        page.paste(row, (0, top))
        top += row.height
    return page


def _row(title: str, row: Mapping[str, NDArray[np.uint8]], height: int) -> Image.Image:
    pictures = {caption: _scaled(Image.fromarray(pixels).convert("RGB"), height) for caption, pixels in row.items()}
    width = GAP + sum(p.width + GAP for p in pictures.values())
    page = Image.new("RGB", (width, height + CAPTION + GAP), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    left = GAP
    for index, (caption, picture) in enumerate(pictures.items()):
        text = " ".join(printable(f"{title} · {caption}" if index == 0 else caption).split())
        draw.text((left, 3), text, INK, font)
        page.paste(picture, (left, CAPTION))
        left += picture.width + GAP
    return page


def _scaled(picture: Image.Image, height: int) -> Image.Image:
    width = max(1, round(picture.width * height / picture.height))
    enlarging = height > picture.height
    return picture.resize((width, height), Image.Resampling.NEAREST if enlarging else Image.Resampling.LANCZOS)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically, creating its folder."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    write_atomically(path, content.getvalue())


ENCODED = ("png", "jpeg")


def encode(pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
    """Compress pixels for a page: without loss where they are few, else as JPEG of high quality and full colour.

    Args:
        pixels: ``(h, w, 3)`` or ``(h, w)``.

    Returns:
        The file's content, and its suffix: ``png`` or ``jpeg``.
    """
    small = pixels.shape[1] < SMALL
    options = {"format": "PNG"} if small else {"format": "JPEG", "quality": 93, "subsampling": 0}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue(), "png" if small else "jpeg"
