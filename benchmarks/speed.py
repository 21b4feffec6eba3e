"""Measure what makes rendering and training fast, each against the plain way in the same run; print Markdown tables.

    python benchmarks/speed.py engines --checkpoint RUN --photo PHOTO
    python benchmarks/speed.py systems
    python benchmarks/speed.py training
    python benchmarks/speed.py curves
    python benchmarks/speed.py ssim --photo PHOTO
    python benchmarks/speed.py processes

Cases run one after the other in every round, so that a busy machine slows all of them alike; medians over rounds count,
and only ratios within a table. docs/benchmarks/speed.md holds what was found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.cli.recipes import baselines, recipe
from lensblend.data.embedded import Embedded
from lensblend.inference.evaluation import aligned
from lensblend.inference.folding import folded
from lensblend.inference.served import served
from lensblend.metrics.fidelity import Psnr, Ssim
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.checkpointing import checkpoint_activations
from lensblend.nn.kernel_bank import KernelBank
from lensblend.runs.checkpoints import load_network, without_weights
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS

Cases = Mapping[str, Callable[[], object]]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=list(PARTS))
    parser.add_argument("--checkpoint", default=None, help="of a depth_blend network with the published trunk")
    parser.add_argument("--photo", type=Path, default=None)
    parser.add_argument("--image-size", type=int, nargs=2, default=None, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=None, metavar="WAY", help="of a training step, by their names")
    parser.add_argument("--steps", type=int, default=160, help="of a curve")
    asked = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n")
    print(aligned(PARTS[asked.what](asked)))


def engines(asked: argparse.Namespace) -> list[list[str]]:
    """Render by every engine: the network as PyTorch runs it when nothing is done, and all that is offered."""
    trained = load_network(asked.checkpoint)
    size = tuple(asked.image_size or (1024, 1536))
    photo = _photo(asked.photo, (size[0], size[1]))
    naive = trained.network.eval()
    plain = folded(deepcopy(naive))
    ways = [("torch", "bf16"), ("onnx", "fp32"), ("onnx", "int8")]
    ways += [("openvino", precision) for precision in ("fp32", "bf16", "int8")]
    networks: dict[str, nn.Module] = {"naive eager": naive, "torch fp32": plain}
    networks |= {" ".join(way): served(plain, *way, trained.sha256) for way in ways}
    found: dict[str, Tensor] = {}

    def render(name: str) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                found[name] = networks[name](photo).bokeh

        return run

    seconds = _timed({name: render(name) for name in networks}, asked.rounds)
    base = seconds["naive eager"]
    rows = [["", "seconds", "ratio", "largest error, levels", "dB"]]
    for name, taken in seconds.items():
        error = (found[name] - found["naive eager"]).abs().double()
        psnr = -10 * torch.log10(error.square().mean()) if error.any() else torch.tensor(torch.inf)
        rows.append([name, f"{taken:.2f}", f"{base / taken:.2f}×", f"{255 * error.max():.2g}", f"{psnr:.1f}"])
    return rows


def systems(asked: argparse.Namespace) -> list[list[str]]:
    """Render by every published method, random weights, as PyTorch does it by itself and as rendering does it."""
    height, width = asked.image_size or (512, 768)
    rows = [["", "naive eager, s", "plain engine, s", "ratio"]]
    for name in baselines():
        torch.manual_seed(0)
        naive = build(without_weights(recipe(name)["model"]), "model", *MODELS).eval()
        plain = folded(deepcopy(naive))
        photo = torch.rand(1, 3, height, width)
        given = {key: torch.rand(1, 1, height, width) for key in naive.guidance}

        def render(network: nn.Module, photo: Tensor = photo, given: Mapping[str, Tensor] = given) -> None:
            with torch.inference_mode():
                network(photo, **given)

        seconds = _timed({"naive": partial(render, naive), "plain": partial(render, plain)}, asked.rounds)
        ratio = seconds["naive"] / seconds["plain"]
        rows.append([name, *(f"{seconds[way]:.2f}" for way in ("naive", "plain")), f"{ratio:.2f}×"])
    return rows


def training(asked: argparse.Namespace) -> list[list[str]]:
    """Take steps with the published network: photo, blurs, loss, gradients, Adam."""
    height, width = asked.image_size or (384, 512)
    photo, target = (torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    plain, last = torch.contiguous_format, torch.channels_last
    ways = {
        "eager fp32": (plain, ""),
        "channels last": (last, ""),
        "bf16": (plain, "bf16"),
        "channels last, bf16": (last, "bf16"),
        "channels last, checkpointing": (last, "checkpointing"),
        "channels last, bf16, checkpointing": (last, "bf16 checkpointing"),
        "channels last, bf16, fused Adam": (last, "bf16 fused"),
        "channels last, bf16, fused Adam, compiled": (last, "bf16 fused compiled"),
    }
    ways = {name: way for name, way in ways.items() if asked.ways is None or name in asked.ways}
    kept: dict[str, int] = {}

    def step(name: str) -> Callable[[], object]:
        layout, how = ways[name]
        lowered, fused = "bf16" in how, "fused" in how
        torch.manual_seed(0)
        network = DepthBlend(Hourglass(), KernelBank()).train().to(memory_format=layout)
        if "checkpointing" in how:
            checkpoint_activations(network)
        if "compiled" in how:
            network.compile(backend="inductor")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)

        def run() -> None:
            with _kept(network) as sizes, torch.autocast("cpu", torch.bfloat16) if lowered else nullcontext():
                loss = (network(photo.to(memory_format=layout)).bokeh - target).abs().mean()
            kept[name] = sum(sizes.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    seconds = _timed({name: step(name) for name in ways}, asked.rounds)
    base, bytes_ = next(iter(seconds.values())), next(iter(kept.values()))
    rows = [["", "seconds", "ratio", "saved, GB", "times less"]]
    for name, taken in seconds.items():
        rows.append(
            [name, f"{taken:.2f}", f"{base / taken:.2f}×", f"{kept[name] / 1e9:.2f}", f"{bytes_ / kept[name]:.2f}×"]
        )
    return rows


@contextmanager
def _kept(network: nn.Module) -> Iterator[dict[int, int]]:
    """Collect the sizes of what is saved for the gradients, weights aside."""
    sizes: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def curves(asked: argparse.Namespace) -> list[list[str]]:
    """Train a network of an eighth of the width on embedded pairs, in both precisions, from three seeds."""
    data = Embedded((96, 128), train=48, val=16)
    train, val = ([data.split(name).load(i) for i in range(len(data.split(name).ids))] for name in ("train", "val"))
    rows = [["seed", "fp32, dB", "bf16, dB", "difference"]]
    differences = []
    for seed in range(3):
        found = [_trained(seed, lowered, train, val, asked.steps) for lowered in (False, True)]
        differences.append(found[1] - found[0])
        rows.append([str(seed), *(f"{psnr:.2f}" for psnr in found), f"{differences[-1]:+.2f}"])
    return [*rows, ["mean", "", "", f"{np.mean(differences):+.2f} ± {np.std(differences, ddof=1):.2f}"]]


def _trained(seed: int, lowered: bool, train: Sequence, val: Sequence, steps: int) -> float:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = DepthBlend(Hourglass(width_divisor=8), KernelBank(sizes=[5, 9, 15])).train()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    paths = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = [train[i] for i in random.integers(0, len(train), 4)]
        photo, target = (_stack([getattr(pair, name) for pair in chosen]) for name in ("photo", "target"))
        with torch.autocast("cpu", torch.bfloat16) if lowered else nullcontext():
            loss = (network(photo).bokeh - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        paths.step()
    score = Psnr()
    with torch.inference_mode():
        for pair in val:
            score.update(network.eval()(_stack([pair.photo])).bokeh, _stack([pair.target]))
    return float(score.compute())


def _stack(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def ssim(asked: argparse.Namespace) -> list[list[str]]:
    """Score a photo of 1024×1536 against a blurred one."""
    photo = _photo(asked.photo, (1024, 1536))
    blurred = KernelBank(sizes=[25])(photo)[:, 1].mul(255).round() / 255
    pictures = [image[0].mul(255).round().byte().permute(1, 2, 0).numpy() for image in (photo, blurred)]
    values: dict[str, float] = {}

    def library() -> None:
        values["scikit-image"] = float(structural_similarity(*pictures, channel_axis=2, data_range=255))

    def ours() -> None:
        values["`ssim`, with its rounding to levels"] = float(Ssim().per_image(blurred, photo))

    levels = [image.mul(255).round() for image in (blurred, photo)]

    def alone() -> None:
        values["`ssim`, of levels"] = float(Ssim().score(*levels))

    names = ("scikit-image", "`ssim`, with its rounding to levels", "`ssim`, of levels")
    seconds = _timed(dict(zip(names, (library, ours, alone), strict=True)), 5 * asked.rounds)
    base = seconds["scikit-image"]
    rows = [["", "seconds", "ratio", "difference"]]
    return rows + [
        [n, f"{s:.3f}", f"{base / s:.1f}×", f"{abs(values[n] - values['scikit-image']):.1g}"]
        for n, s in seconds.items()
    ]


def processes(asked: argparse.Namespace) -> list[list[str]]:
    """Train with one process on one core, and with two on two, each on a thread."""
    rates: dict[str, list[float]] = {"1 process": [], "2 processes": []}
    for _ in range(asked.rounds):
        for count, found in enumerate(rates.values(), start=1):
            with tempfile.TemporaryDirectory() as folder:
                trainer = ["trainer=cpu"] if count == 1 else ["trainer=ddp_cpu"]
                command = [sys.executable, "-m", "lensblend.cli.bench", "training", "experiment=demo", *trainer]
                command += ["schedule.run=[phase1]", "loader.num_workers=0", "metrics.lpips=null", "logger=none"]
                command += ["+backbone.width_divisor=2", "schedule.phases.phase1.image_size=[192,256]"]
                command += ["schedule.phases.phase1.batch_size=4", "data.image_size=[192,256]"]
                command += ["--rounds", "12", "--output", folder]
                pinned = ["taskset", "-c", ",".join(map(str, range(count))), *command]
                subprocess.run(pinned, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
                (row,) = json.loads((Path(folder) / "bench.json").read_text())["rows"]
                found.append(count * row["photos_per_second"])
    one, two = (median(found) for found in rates.values())
    rows = [["", "photos/s", "efficiency"], ["1 process", f"{one:.2f}", "1"]]
    return [*rows, ["2 processes", f"{two:.2f}", f"{two / one / 2:.2f}"]]


def _photo(path: Path | None, size: tuple[int, int]) -> Tensor:
    if path is None:
        from skimage import data

        picture = Image.fromarray(data.astronaut())
    else:
        picture = Image.open(path).convert("RGB")
    return _stack([np.asarray(picture.resize(size[::-1], Image.Resampling.LANCZOS))])


def _timed(cases: Cases, rounds: int) -> dict[str, float]:
    """Return the median seconds of each case over rounds in which each runs once, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(1 + rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


PARTS: dict[str, Callable[[argparse.Namespace], list[list[str]]]] = {
    "engines": engines,
    "systems": systems,
    "training": training,
    "curves": curves,
    "ssim": ssim,
    "processes": processes,
}

if __name__ == "__main__":
    main()
