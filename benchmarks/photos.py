"""Score models on real photos, beside what a mask and a blur alone reach: the page docs/benchmarks/photos.md.

    python benchmarks/photos.py --ebb ../shared/data/ebb-sample --realbokeh ../shared/data/realbokeh-sample \
        --saliency ../shared/data/priors/isnet_quint8.onnx --model default --output outputs/photos

Baselines: the photo itself; uniform Gaussian blurs; and the saliency network's mask, within which the photo stays and
outside of which it is blurred, with and without bleeding: without, the background is blurred without the subject (the
blur of the masked photo over the blur of the mask). Kernels are in pixels of a photo 1024 high.

On RealBokeh the kernels of baselines and models are scaled by each of `--strengths`, and what comes nearest to the
target at each f-number by PSNR counts. In focus is where `lensblend.ops.focus.focus_from_pair` of photo and target
is above 0.5: no method has a part in it. What lies in `--output` (photos.md and pictures) may show photos that must not
be passed on.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from lensblend.data.catalogue import Ebb
from lensblend.data.images import read_photo
from lensblend.data.pairs import Pair
from lensblend.inference.guidance import guides_of
from lensblend.inference.onnx_maps import OnnxMap
from lensblend.inference.pictures import to_8bit
from lensblend.inference.rendering import render_photo, to_batch
from lensblend.metrics.fidelity import PSNR_LIMIT, Psnr, Ssim
from lensblend.nn.kernel_bank import KernelBank
from lensblend.ops.focus import focus_from_pair
from lensblend.runs.checkpoints import load_network

HEIGHT = 1024  # of the photo in whose pixels the kernels are
UNIFORM = (25, 45, 75)
CROP = 448
IN_FOCUS = 0.5
LEAST = 1e-3  # of a pixel of the subject in a blur without bleeding, so that there is one deep inside it as well
CPU = torch.device("cpu")

Pixels = np.ndarray
Render = Callable[[Pixels, np.ndarray, float], Pixels]  # of a photo, its mask and the kernels' factor


@dataclass(frozen=True)
class Case:
    """A photo and its target, taken at an f-number where that is known."""

    name: str
    photo: Pixels
    target: Pixels
    f_number: float | None = None


def main() -> None:
    """Score, write the tables and the pictures."""
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    guide = OnnxMap("saliency", str(options.saliency))
    methods = {**baselines(), **{name: model(name) for name in options.model}}
    started, load = time.time(), os.getloadavg()[0]
    parts = []
    if options.ebb:
        parts += ebb_tables(options, methods, guide)
    if options.realbokeh:
        parts += realbokeh_tables(options, methods, guide)
    text = "\n".join([*parts, *about(options, load, time.time() - started)])
    (options.output / "photos.md").write_text(text, encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ebb", type=Path, metavar="DIR", help="pairs of EBB!, as data=ebb reads them")
    parser.add_argument("--realbokeh", type=Path, metavar="DIR", help="a folder per scene: f22.jpg and wider apertures")
    parser.add_argument("--saliency", type=Path, required=True, metavar="FILE.onnx", help="IS-Net, for the baselines")
    parser.add_argument("--model", nargs="*", default=[], metavar="MODEL", help="checkpoints, runs, or default")
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.25, 0.35, 0.5, 0.7, 1, 1.4, 2], metavar="S")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for photos.md and the pictures")
    options = parser.parse_args()
    if not options.ebb and not options.realbokeh:
        parser.error("give --ebb, --realbokeh, or both")
    return options


def baselines() -> dict[str, Render]:
    """Return what needs no training, by name."""
    uniform = {f"uniform {size}": lambda photo, _, s, k=size: blurred(photo, k, s) for size in UNIFORM}
    return {
        "photo": lambda photo, _, __: photo,
        **uniform,
        "mask, 75": lambda photo, mask, s: composed(photo, mask, 75, s, bleeding=True),
        "mask, 75, no bleeding": lambda photo, mask, s: composed(photo, mask, 75, s),
        "mask, 101, no bleeding": lambda photo, mask, s: composed(photo, mask, 101, s),
    }


def blurred(photo: Pixels, size: int, factor: float) -> Pixels:
    """Blur a whole photo."""
    bank = KernelBank(sizes=[size], scale=factor * photo.shape[0] / HEIGHT)
    return to_8bit(bank.blur(to_batch(photo, CPU), 1)[0])


def composed(photo: Pixels, mask: np.ndarray, size: int, factor: float, bleeding: bool = False) -> Pixels:
    """Keep what is in the mask and blur the rest, with the subject's colours in the blur or without."""
    bank = KernelBank(sizes=[size], scale=factor * photo.shape[0] / HEIGHT)
    image, subject = to_batch(photo, CPU), torch.from_numpy(mask)[None, None]
    counted = torch.ones_like(subject) if bleeding else 1 - subject + LEAST
    background = bank.blur(counted * image, 1) / bank.blur(counted.expand(-1, 3, -1, -1), 1)
    return to_8bit((subject * image + (1 - subject) * background)[0])


def model(name: str) -> Render:
    """Return what a model renders at a photo's full size."""
    trained = load_network(name)
    network = trained.network
    guides = guides_of(trained) if set(network.guidance) - {"saliency"} else {}

    def render(photo: Pixels, mask: np.ndarray, factor: float) -> Pixels:
        maps = {key: mask if key == "saliency" else guides[key](Pair("photo", photo, None)) for key in network.guidance}
        blend_at = "photo" if network.blends_full_size else "network"
        scaled = {} if factor == 1 else {"strength": factor}
        return to_8bit(render_photo(network, photo, trained.image_size, blend_at, maps, **scaled).bokeh[0])

    return render


def scores(bokeh: Pixels, case: Case, focus: np.ndarray) -> dict[str, float]:
    """Return PSNR and SSIM of the whole, by the project's metrics, and inside and outside of what is in focus."""
    pair = to_batch(bokeh, CPU), to_batch(case.target, CPU)
    found = {"psnr": float(Psnr().per_image(*pair)[0]), "ssim": float(Ssim().per_image(*pair)[0])}
    _, similar = structural_similarity(bokeh, case.target, channel_axis=2, full=True)
    inner = (slice(3, -3), slice(3, -3))  # where the window lies within the photo
    error = (bokeh.astype(np.float64) - case.target) ** 2
    for place, where in (("in", focus), ("out", ~focus)):
        found[f"psnr {place}"] = psnr_of(error[where].mean())
        found[f"ssim {place}"] = float(similar[inner][where[inner]].mean())
    return found


def psnr_of(error: float) -> float:
    """Return dB of a mean squared error of 8-bit levels."""
    return float(min(PSNR_LIMIT, 10 * np.log10(255**2 / max(error, 1e-9))))


def in_focus(case: Case) -> np.ndarray:
    """Return where the target is as sharp as the photo."""
    return focus_from_pair(to_batch(case.photo, CPU), to_batch(case.target, CPU))[0, 0].numpy() > IN_FOCUS


def ebb_tables(options: argparse.Namespace, methods: dict[str, Render], guide: OnnxMap) -> list[str]:
    """Score every pair of EBB! as it is, and picture it."""
    source = Ebb(str(options.ebb))
    pairs = [split.load(index) for split in map(source.split, ("train", "val")) for index in range(len(split.ids))]
    cases = [Case(pair.id, pair.photo, pair.captured()) for pair in pairs]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for case in track(cases, "EBB!"):
        mask, focus = guide(Pair(case.name, case.photo, None)), in_focus(case)
        rendered = {name: method(case.photo, mask, 1.0) for name, method in methods.items()}
        for name, bokeh in rendered.items():
            rows[name].append(scores(bokeh, case, focus))
        picture(options.output / f"ebb-{case.name}.png", case, mask, rendered)
    share = np.mean([in_focus(case).mean() for case in cases])
    columns = ("psnr", "ssim", "psnr in", "ssim in", "psnr out", "ssim out")
    lines = [
        "## EBB!",
        "",
        f"{len(cases)} pairs: {', '.join(case.name for case in cases)}; {share:.0%} is in focus.",
        "",
    ]
    lines += head("", "PSNR", "SSIM", "PSNR in focus", "SSIM in focus", "PSNR elsewhere", "SSIM elsewhere")
    lines += [line(name, *(spread([row[c] for row in found], c) for c in columns)) for name, found in rows.items()]
    lines += ["", "Pair by pair, PSNR / SSIM:", "", *head("", *(case.name for case in cases))]
    pairwise = {name: [f"{row['psnr']:.2f} / {row['ssim']:.4f}" for row in found] for name, found in rows.items()}
    return [*lines, *(line(name, *cells) for name, cells in pairwise.items()), ""]


def realbokeh_tables(options: argparse.Namespace, methods: dict[str, Render], guide: OnnxMap) -> list[str]:
    """Score each f-number at the strength that fits it best."""
    compared = {name: method for name, method in methods.items() if not name.startswith("uniform 4")}
    lines = ["## RealBokeh", "", "PSNR / SSIM at the strength (in brackets) that is nearest by PSNR.", ""]
    details = ["", "PSNR in focus / elsewhere, at the same strengths:", ""]
    lines, details = [*lines, *head("scene", "f", *compared)], [*details, *head("scene", "f", *compared)]
    for scene, photo, targets in track(list(scenes(options.realbokeh)), "RealBokeh"):
        mask = guide(Pair(scene, photo, None))
        cases = [Case(f"{scene}-f{f:g}", photo, target, f) for f, target in targets]
        best: dict[str, list[tuple[float, float, Pixels]]] = {}
        for name, method in compared.items():
            tried = [(s, method(photo, mask, s)) for s in ([1.0] if name == "photo" else options.strengths)]
            best[name] = [max((psnr(bokeh, case), s, bokeh) for s, bokeh in tried) for case in cases]
        for index, case in enumerate(cases):
            focus = in_focus(case)
            found = {
                name: (results[index][1], scores(results[index][2], case, focus)) for name, results in best.items()
            }
            shown = [f"{row['psnr']:.2f} / {row['ssim']:.4f} ({s:g})" for s, row in found.values()]
            lines.append(line(scene, f"{case.f_number:g}", *shown))
            shown = [f"{row['psnr in']:.2f} / {row['psnr out']:.2f}" for _, row in found.values()]
            details.append(line(scene, f"{case.f_number:g}", *shown))
        widest = {name: results[0][2] for name, results in best.items()}
        picture(options.output / f"realbokeh-{scene}.png", cases[0], mask, widest)
    return [*lines, *details, ""]


def psnr(bokeh: Pixels, case: Case) -> float:
    """Return PSNR of the whole."""
    return float(Psnr().per_image(to_batch(bokeh, CPU), to_batch(case.target, CPU))[0])


def scenes(root: Path) -> Iterator[tuple[str, Pixels, list[tuple[float, Pixels]]]]:
    """Yield each scene: its name, its photo at the smallest aperture, the others by f-number, widest first."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = sorted((float(file.stem.removeprefix("f")), file) for file in folder.glob("f*.jpg"))
        yield folder.name, read_photo(files[-1][1]), [(f, read_photo(file)) for f, file in files[:-1]]


def picture(path: Path, case: Case, mask: np.ndarray, rendered: dict[str, Pixels]) -> None:
    """Write a part of each picture at full size, from where the subject's edge is longest."""
    edges = sum(np.abs(np.diff(mask, axis=axis, append=0)) for axis in (0, 1))
    half = CROP // 2
    density = uniform_filter(edges.astype(np.float32), CROP)[half:-half, half:-half]
    top, left = np.unravel_index(density.argmax(), density.shape)
    shown = [case.photo, case.target, *(pixels for name, pixels in rendered.items() if name.startswith("mask, 75"))]
    shown += [pixels for name, pixels in rendered.items() if not name.startswith(("photo", "uniform", "mask"))]
    Image.fromarray(np.hstack([pixels[top : top + CROP, left : left + CROP] for pixels in shown])).save(path)


def spread(values: list[float], column: str) -> str:
    """Return a mean and the standard deviation over pairs."""
    decimals = 2 if column.startswith("psnr") else 4
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.{decimals}f} ± {deviation:.{decimals}f}"


def head(*cells: str) -> list[str]:
    """Return the head of a table."""
    return [line(*cells), f"|---|{'---:|' * (len(cells) - 1)}"]


def line(*cells: str) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def about(options: argparse.Namespace, load: float, seconds: float) -> list[str]:
    """Return how it was measured."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return [
        "## How",
        "",
        "| | |",
        "|---|---|",
        f"| hardware | CPU, {os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads |",
        f"| load before the run | {load:.1f} (1-minute average) |",
        f"| seconds | {seconds:.0f} |",
        f"| software | Python {platform.python_version()}, PyTorch {torch.__version__} |",
        f"| date | {datetime.date.today().isoformat()} |",
        f"| commit | {git.stdout.strip() or 'unknown'} |",
        f"| command | `python {' '.join(sys.argv)}` |",
        "",
    ]


if __name__ == "__main__":
    main()
