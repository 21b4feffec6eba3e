"""Does `--f-number N` blur as a lens at f/N does? Scores renderings at several N against photos at known apertures.

    python benchmarks/f_numbers.py REALBOKEH_SAMPLE --model RUN
    python benchmarks/f_numbers.py REALBOKEH_SAMPLE --masks FOLDER      # SCENE.png, white = in focus: `--focus-mask`

A scene is a folder with the photo, `f22.jpg`, and the same view at wider apertures, `f2.0.jpg` and so on. Each target,
at f/T, is compared with renderings at N = T times each of `RATIOS`. Where the control is right, the mean is best at 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lensblend.data.images import read_map, read_photo
from lensblend.data.transforms import resize_lanczos, resize_map
from lensblend.inference.refocusing import ThinLens, refocus
from lensblend.inference.rendering import render_photo
from lensblend.runs.checkpoints import check_renders, load_ensemble

RATIOS = (0.5, 0.71, 1.0, 1.41, 2.0)
Renderer = Callable[[str, np.ndarray, float], np.ndarray]


def main() -> None:
    """Score every scene of a folder and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="holds a folder for each scene")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", nargs="+", help="a checkpoint or a run's folder, of a network that blends")
    what.add_argument("--masks", type=Path, help="a mask for each scene: the rest is blurred by the lens's disc")
    parser.add_argument("--trained-f-number", type=float, help="of the model, where its record does not say it")
    parser.add_argument("--width", type=int, default=1000, help="photos are reduced to it (default: 1000)")
    parser.add_argument(
        "--pictures", type=Path, help="write photo, target and rendering at the same N beside each other"
    )
    options = parser.parse_args()
    rendered = by_mask(options.masks) if options.masks else by_model(options.model, options.trained_f_number)
    head = [f"N = {ratio:g} T" for ratio in RATIOS]
    print(f"| scene | T | photo | {' | '.join(head)} |\n|---|---:|{'---:|' * (len(RATIOS) + 1)}")
    rows = []
    for scene in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        photo = reduced(scene / "f22.jpg", options.width)
        targets = {float(file.stem[1:]): file for file in scene.glob("f*.jpg") if file.stem != "f22"}
        for aperture, file in sorted(targets.items()):
            target = reduced(file, options.width)
            pictures = [rendered(scene.name, photo, aperture * ratio) for ratio in RATIOS]
            scores = [psnr(image, target) for image in (photo, *pictures)]
            rows.append(scores)
            print(f"| {scene.name} | {aperture:g} | {' | '.join(f'{s:.2f}' for s in scores)} |", flush=True)
            if options.pictures:
                options.pictures.mkdir(parents=True, exist_ok=True)
                beside = np.concatenate([photo, target, pictures[RATIOS.index(1.0)]], axis=1)
                Image.fromarray(beside).save(options.pictures / f"{scene.name}-f{aperture:g}.jpg", quality=92)
    mean = np.mean(rows, axis=0)
    print(f"| mean | | {' | '.join(f'{score:.2f}' for score in mean)} |")
    best = int(mean[1:].argmax())
    at_one = mean[1 + RATIOS.index(1.0)]
    print(f"\nBest at N = {RATIOS[best]:g} T; at N = T {mean[1:].max() - at_one:.2f} dB below that.")


def by_model(paths: list[str], trained_f_number: float | None) -> Renderer:
    """Return what renders with a network, at the photo's size where it can."""
    trained = load_ensemble(paths)
    network, at = check_renders(trained), trained_f_number or trained.f_number
    if at is None:
        raise SystemExit(f"{trained.path} does not say at which f-number it was trained; add --trained-f-number N.")

    def rendered(_: str, photo: np.ndarray, f_number: float) -> np.ndarray:
        blend_at = "photo" if network.blends_full_size else "network"
        bokeh = render_photo(network, photo, trained.image_size, blend_at, strength=at / f_number).bokeh[0]
        return to_8bit(bokeh.permute(1, 2, 0).numpy())

    return rendered


def by_mask(folder: Path) -> Renderer:
    """Return what blurs all that a mask leaves black, as `lensblend render --focus-mask` does."""
    from lensblend.data.camera import Camera

    def rendered(scene: str, photo: np.ndarray, f_number: float) -> np.ndarray:
        mask = resize_map(read_map(folder / f"{scene}.png"), (photo.shape[0], photo.shape[1]))
        lens = ThinLens(1.0, Camera.aperture_at(f_number))
        return to_8bit(refocus(photo / np.float32(255), np.zeros_like(mask), lens, mask))

    return rendered


def reduced(file: Path, width: int) -> np.ndarray:
    """Return a photo at a smaller width."""
    photo = read_photo(file)
    return resize_lanczos(photo, (round(photo.shape[0] * width / photo.shape[1]), width))


def to_8bit(image: np.ndarray) -> np.ndarray:
    """Return values in [0, 1] as 8-bit levels."""
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of 8-bit images, in dB."""
    return float(10 * np.log10(255**2 / ((first.astype(np.float64) - second) ** 2).mean()))


if __name__ == "__main__":
    main()
