"""Measure how many pairs a second one process draws from photos in files, decoded anew or packed (``loader.cache``).

python benchmarks/packed.py --pairs 24 --image-size 384 512
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lensblend.data.files import FilePairs, PairFiles
from lensblend.data.packed import pack
from lensblend.data.pairs import Pairs
from lensblend.data.samples import Samples
from lensblend.data.transforms import resize_lanczos

EPOCHS = 3


def main() -> None:
    """Measure what the command line asks for, without reading processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--photo-size", type=int, nargs=2, default=[1024, 1536], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--image-size", type=int, nargs=2, default=[384, 512], metavar=("HEIGHT", "WIDTH"))
    asked = parser.parse_args()
    height, width = asked.image_size
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LENSBLEND_CACHE"] = str(Path(folder) / "cache")
        files = _files(Path(folder), asked.pairs, asked.photo_size)
        decoded = _rate(files, (height, width))
        start = time.perf_counter()
        packed = pack(files, (height, width), None, 1, print)
        built = asked.pairs / (time.perf_counter() - start)
        read = _rate(packed, (height, width))
    print(f"{height}×{width}: {decoded:.1f} pairs/s decoded, {read:.0f} packed (packing: {built:.1f})")


def _files(folder: Path, count: int, size: list[int]) -> FilePairs:
    """Write JPEGs that have about as much detail as photos."""
    random, entries = np.random.default_rng(0), []
    for index in range(count):
        paths = [folder / f"{index}-{part}.jpg" for part in ("photo", "target")]
        for path in paths:
            coarse = random.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
            Image.fromarray(resize_lanczos(coarse, size)).save(path, quality=92)
        entries.append(PairFiles(str(index), *paths, {}))
    return FilePairs(entries)


def _rate(pairs: Pairs, image_size: tuple[int, int]) -> float:
    """Return pairs a second, flips included; the best of the epochs, as the machine may be busy."""
    samples, seconds = Samples(pairs, image_size, "random"), []
    for epoch in range(EPOCHS):
        start = time.perf_counter()
        for index in range(len(samples)):
            samples[epoch, index]
        seconds.append(time.perf_counter() - start)
    return len(samples) / min(seconds)


if __name__ == "__main__":
    main()
