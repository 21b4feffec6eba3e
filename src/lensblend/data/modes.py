"""One written way from each of Pillow's modes to 8-bit RGB, used by the one loader.

- Alpha and transparent palette entries are composited over white, as a browser shows them.
- 16-bit grey is scaled by its own maximum (Pillow would clip it); 16-bit RGB arrives as its upper byte.
- Float TIFF and PFM hold [0, 1] or are refused; 32-bit integers have no agreed white and are refused.
- CMYK with a profile is converted to sRGB, without one by Pillow's formula; CIELAB is converted to sRGB.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_REMEDY = "save it as 8 or 16 bits per channel, or as floats in [0, 1]"
_IN_COLOUR = ("P", "PA", "LA", "La", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB")
_GREY_TOLERANCE = 4  # levels; JPEG rounds the channels of grey apart


class UnsupportedError(ValueError):
    """A sound file that this project does not read; the message completes "`path` …"."""


def to_rgb(image: Image.Image, upright: Image.Image) -> Image.Image:
    """Convert a decoded, upright image to RGB; ``image`` is the opened file, which alone knows its tags."""
    if upright.mode not in _TO_RGB:
        raise UnsupportedError(f"has the mode {upright.mode}; convert it to RGB.")
    if "transparency" in image.info and upright.mode in ("1", "L", "P", "RGB"):
        return _over_white(image, upright)
    return _TO_RGB[upright.mode](image, upright)


def check_mode(image: Image.Image) -> None:
    """Refuse an opened file whose mode alone says that it is not read, before it is decoded."""
    if image.mode not in _TO_RGB or (image.mode == "I" and image.format != "PPM"):
        raise UnsupportedError(f"holds {image.mode} values; {_REMEDY}.")


def is_plain_grey(image: Image.Image) -> bool:
    """Tell whether an opened file has one channel and nothing else."""
    return image.mode not in _IN_COLOUR and "transparency" not in image.info


def map_grey(image: Image.Image, upright: Image.Image) -> np.ndarray:
    """Return a map's one channel in [0, 1]; stored in colour, it is taken where it is grey and hides nothing."""
    if is_plain_grey(image):
        return unit_grey(image, upright)
    if upright.has_transparency_data and upright.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        raise UnsupportedError("is a map with transparent places; save it as grey without transparency.")
    channels = np.asarray(to_rgb(image, upright), dtype=np.int16)
    if np.ptp(channels, axis=-1).max() > _GREY_TOLERANCE:
        raise UnsupportedError("is a map in colours; save it as grey, in one channel.")
    return channels[..., 0] / 255


def _plain(_: Image.Image, upright: Image.Image) -> Image.Image:
    return upright.convert("RGB")


def _over_white(_: Image.Image, upright: Image.Image) -> Image.Image:
    colours = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _scaled(image: Image.Image, upright: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(unit_grey(image, upright) * 255).astype(np.uint8)).convert("RGB")


def _cmyk(image: Image.Image, upright: Image.Image) -> Image.Image:
    icc = image.info.get("icc_profile")
    return to_srgb(upright, ImageCms.ImageCmsProfile(io.BytesIO(icc))) if icc else upright.convert("RGB")


def _lab(_: Image.Image, upright: Image.Image) -> Image.Image:
    return to_srgb(upright, ImageCms.createProfile("LAB"))


def to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    """Convert an image from the colours of a profile, or of its file, to sRGB."""
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise UnsupportedError("could not be converted to sRGB; convert it to RGB.")
    return converted


def unit_grey(image: Image.Image, upright: Image.Image) -> np.ndarray:
    """Return one channel in [0, 1], black at 0."""
    values, mode = np.asarray(upright, dtype=np.float64), upright.mode
    tags = getattr(image, "tag_v2", {})
    if mode.startswith("I;16"):
        unit = values / (2 ** tags.get(258, (16,))[0] - 1)  # BitsPerSample: 12-bit TIFF is white at 4095
        return 1 - unit if tags.get(262) == 0 else unit  # WhiteIsZero, which Pillow undoes for 8 bits only
    if mode == "I" and image.format == "PPM":
        return values / 65535
    if mode == "F" and values.min() >= 0 and values.max() <= 1:
        return values
    if mode in ("1", "L"):
        return values / (1 if mode == "1" else 255)
    limits = f" from {values.min():g} to {values.max():g}" if mode in ("F", "I") else ""
    raise UnsupportedError(f"holds {mode} values{limits}; {_REMEDY}.")


_TO_RGB: dict[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    **dict.fromkeys(("1", "L", "P", "RGB", "RGBX", "YCbCr", "HSV"), _plain),
    **dict.fromkeys(("LA", "La", "PA", "RGBA", "RGBa"), _over_white),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I", "F"), _scaled),
    "CMYK": _cmyk,
    "LAB": _lab,
}
