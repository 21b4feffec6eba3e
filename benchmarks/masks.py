"""Make masks of photos with a saliency network, for data=photos: what the model in the box was trained on.

    python benchmarks/masks.py ../shared/data/photos --saliency ../shared/data/priors/isnet_quint8.onnx --output DIR
    lensblend train experiment=photos data.root=DIR

Photos whose mask is unsure are left out and named: more than 0.3 of it lies between subject and background, or the
subject covers less than 0.015 or more than 0.8 of the photo. Contrast is raised, so that what is nearly sure counts as
sure. Photos are linked, not copied; masks that are there are not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from lensblend.data.images import read_photo, write_image
from lensblend.data.listing import list_images
from lensblend.data.pairs import Pair
from lensblend.inference.onnx_maps import OnnxMap

UNSURE, COVERED, SURE = 0.3, (0.015, 0.8), (0.15, 0.85)


def main() -> None:
    """Write masks and links, and say what is left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("photos", type=Path, metavar="DIR")
    parser.add_argument("--saliency", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    guide = OnnxMap("saliency", str(options.saliency))
    (options.output / "photos").mkdir(parents=True, exist_ok=True)
    left_out = []
    for file in track(list_images(options.photos), "Masks"):
        target, link = options.output / "masks" / f"{file.stem}.png", options.output / "photos" / file.name
        if target.exists() and link.exists():
            continue
        mask = guide(Pair(file.stem, read_photo(file), None))
        unsure = np.minimum(mask, 1 - mask).sum() / max(mask.sum(), 1e-6)
        if unsure > UNSURE or not COVERED[0] <= mask.mean() <= COVERED[1]:
            left_out.append(f"{file.name} (unsure {unsure:.2f}, covers {mask.mean():.3f})")
            continue
        sure = ((mask - SURE[0]) / (SURE[1] - SURE[0])).clip(0, 1)
        write_image(target, np.rint(255 * sure).astype(np.uint8))
        if not link.exists():
            link.symlink_to(file.resolve())
    print(f"{len(left_out)} left out:", *left_out, sep="\n  ")


if __name__ == "__main__":
    main()
