"""Surfaces for rendered scenes: photos that scikit-image ships, and procedural ones. All in linear light."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy import ndimage

from lensblend.data.lens import linearise
from lensblend.errors import DataError

Colour = tuple[float, float, float]
Grey = Float32[np.ndarray, "h w"]
Radiance = Float32[np.ndarray, "h w 3"]


def shipped(name: str) -> Path:
    """Locate a file that the scikit-image package carries; scikit-image's own loaders might download it instead."""
    spec = find_spec("skimage")
    for folder in (spec and spec.submodule_search_locations) or []:
        path = Path(folder) / "data" / name
        if path.is_file():
            return path
    raise DataError(
        f"scikit-image's `data/{name}` is missing; reinstall it: pip install --force-reinstall scikit-image."
    )


@functools.cache
def photo(name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Read a photo that scikit-image ships, as 8-bit sRGB; the array is shared, so it is read-only."""
    with Image.open(shipped(name), formats=("PNG", "JPEG")) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels.setflags(write=False)
    return pixels


@functools.cache
def grey(name: str) -> Grey:
    """Read a photo that scikit-image ships as linear grey, stretched to [0, 1] between its 1st and 99th percentile."""
    light = linearise(photo(name)).mean(axis=2)
    low, high = np.percentile(light, (1, 99))
    stretched: np.ndarray = np.clip((light - low) / (high - low), 0, 1).astype(np.float32)
    stretched.setflags(write=False)
    return stretched


def resize(image: Float32[np.ndarray, "h w c"], height: int, width: int) -> Float32[np.ndarray, "height width c"]:
    """Resample with an antialiased bicubic filter, never below zero."""
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BICUBIC))
        for plane in np.moveaxis(image, 2, 0)
    ]
    return np.maximum(np.stack(planes, axis=2), 0)


def noise(rng: np.random.Generator, shape: Sequence[int], cells: int, octaves: int = 4) -> Grey:
    """Sum octaves of smooth noise, stretched to [0, 1].

    Args:
        rng: Where the noise comes from.
        shape: Height and width.
        cells: Blobs across the longer side in the first octave.
        octaves: Each is twice as fine and 0.55 times as strong as the one before.
    """
    height, width = shape
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        scale = cells * 2**octave / max(height, width)
        grid = rng.random((max(2, round(height * scale)), max(2, round(width * scale))), dtype=np.float32)
        total += 0.55**octave * resize(grid[..., None], height, width)[..., 0]
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, np.float32(1e-6))


def ramp(values: Grey, *colours: Colour) -> Radiance:
    """Colour a map in [0, 1] along evenly spaced colours.

    Example:
        >>> ramp(np.array([[0.25]], np.float32), (0.0, 0.0, 0.0), (1.0, 0.5, 0.0)).tolist()
        [[[0.25, 0.125, 0.0]]]
    """
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(values, stops, [colour[channel] for colour in colours]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)


def crop(rng: np.random.Generator, image: Grey, side: int) -> Float32[np.ndarray, "side side"]:
    """Cut a random square, mirrored at random."""
    top, left = (int(rng.integers(length - side + 1)) for length in image.shape)
    square = image[top : top + side, left : left + side]
    return np.ascontiguousarray(square[:, :: -1 if rng.random() < 0.5 else 1])


def wood(rng: np.random.Generator, side: int) -> Radiance:
    """Draw planks with grain."""
    grain = noise(rng, (side, side), 6)
    rows = np.arange(side, dtype=np.float32)[:, None] / side
    plank = np.floor(rows * 5)
    shade = rng.uniform(0.6, 1.0, 5).astype(np.float32)[plank.astype(int)]
    waves = 0.5 + 0.5 * np.sin(90 * (rows + 0.12 * ndimage.gaussian_filter1d(grain, side / 24, axis=1)))
    gap = np.where(rows * 5 - plank < 0.03, 0.25, 1.0)
    return ramp(
        ((0.55 * waves + 0.45 * grain) * shade * gap).astype(np.float32), (0.02, 0.01, 0.005), (0.42, 0.2, 0.08)
    )


def fabric(rng: np.random.Generator, side: int) -> Radiance:
    """Draw cloth: stripes or checks of two colours, with folds."""
    first, second = (saturated(rng) for _ in range(2))
    across, down = rng.integers(4, 12, 2)
    phase = np.arange(side, dtype=np.float32) / side
    stripes = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * across * phase))[None, :] * np.ones((side, 1))
    if rng.random() < 0.5:
        stripes = 0.5 * stripes + 0.25 + 0.25 * np.sign(np.sin(2 * np.pi * down * phase))[:, None]
    folds = 0.6 + 0.4 * noise(rng, (side, side), 5)
    return (ramp(stripes.astype(np.float32), first, second) * folds[..., None]).astype(np.float32)


def saturated(rng: np.random.Generator) -> Colour:
    """Draw a colour of strong hue, in linear light."""
    hue, chroma, value = rng.random(), rng.uniform(0.3, 0.85), rng.uniform(0.2, 0.7)
    red, green, blue = (
        value * (1 - chroma * float(np.clip(abs((hue * 6 + shift) % 6 - 3) - 1, 0, 1))) for shift in (3, 1, 5)
    )
    return red, green, blue
