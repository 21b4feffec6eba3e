"""Measure how large the discs of what is out of focus are in pairs of photos: what the embedded camera goes by.

    python benchmarks/discs.py EBB_FOLDER [--width 768]

Each photo is divided into tiles. A tile's disc is the one that, laid over the photo in linear light, comes nearest to
the target, after the gain and the shift that fit best; its radius is printed as a share of the photo's width. Tiles
without detail say nothing and are left out. The shift is that of the tiles in focus.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import signal

from lensblend.data.catalogue import Ebb
from lensblend.data.lens import linearise
from lensblend.ops.optics import defocus_disc

TILE = 64
RADII = np.arange(0, 24, 0.5)  # in pixels at the measured width


def main() -> None:
    """Measure every pair of a folder and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="EBB! as downloaded, or a part of it")
    parser.add_argument("--width", type=int, default=768, help="photos are reduced to this width first")
    options = parser.parse_args()
    pairs = Ebb(str(options.folder)).split("train")
    print("| pair | median radius | 90 % below | largest | exposure, stops | shift |\n|---|---|---|---|---|---|")
    for index, name in enumerate(pairs.ids):
        pair = pairs.load(index)
        photo, target = (reduced(image, options.width) for image in (pair.photo, pair.captured()))
        radii, gains, shifts = measure(photo, target)
        sharp = radii <= 1
        low, high, top = np.quantile(radii, (0.5, 0.9, 1.0)) / options.width
        stops = np.log2(np.median(gains))
        # Defocus hides small shifts: only tiles in focus tell them.
        shift = np.median(shifts[sharp], axis=0) / options.width if sharp.any() else np.full(2, np.nan)
        print(f"| {name} | {low:.4f} | {high:.4f} | {top:.4f} | {stops:+.2f} | {np.hypot(*shift):.4f} |", flush=True)


def reduced(image: np.ndarray, width: int) -> np.ndarray:
    """Return the green channel in linear light at a smaller width."""
    height = round(image.shape[0] * width / image.shape[1])
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    return linearise(np.asarray(small))[..., 1].astype(np.float64)


def measure(photo: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return radius, gain and shift (rows, columns) of every tile with detail."""
    copies = [signal.fftconvolve(np.pad(photo, 24, mode="symmetric"), defocus_disc(float(r)), "same") for r in RADII]
    copies = [copy[24:-24, 24:-24] for copy in copies]
    found = []
    for top in range(TILE // 2, photo.shape[0] - TILE, TILE):
        for left in range(TILE // 2, photo.shape[1] - TILE, TILE):
            box = slice(top, top + TILE), slice(left, left + TILE)
            if photo[box].std() < 0.15 * photo[box].mean():
                continue
            found.append(min(fit(copy, target, top, left, r) for r, copy in zip(RADII, copies, strict=True)))
    values = np.array(found)
    return values[:, 1], values[:, 2], values[:, 3:5]


def fit(copy: np.ndarray, target: np.ndarray, top: int, left: int, radius: float) -> tuple[float, ...]:
    """Return the error, radius, gain and shift of one blurred copy in one tile, at its best shift and gain."""
    tile = copy[top : top + TILE, left : left + TILE]
    reach = 6
    around = target[top - reach : top + TILE + reach, left - reach : left + TILE + reach]
    # Normalised correlation at every shift.
    centred = tile - tile.mean()
    products = signal.fftconvolve(around, centred[::-1, ::-1], "valid")
    sums = signal.fftconvolve(around, np.ones_like(tile), "valid")
    squares = signal.fftconvolve(around**2, np.ones_like(tile), "valid") - sums**2 / tile.size
    likeness = products / np.sqrt(np.maximum(squares, 1e-12) * (centred**2).sum())
    best = np.unravel_index(likeness.argmax(), likeness.shape)
    there = around[best[0] : best[0] + TILE, best[1] : best[1] + TILE]
    gain = there.mean() / tile.mean()
    error = float(((there - gain * tile) ** 2).mean())
    return error, radius, gain, best[0] - reach, best[1] - reach


if __name__ == "__main__":
    main()
