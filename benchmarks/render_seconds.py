"""Time ``lensblend render`` of one photo from file to file, the start of the process included.

    python benchmarks/render_seconds.py PHOTO --output docs/benchmarks/render.md

Beside the model in the box: the published network (DBSI's hourglass, random weights) at the size of its last phase and
at the photo's, and what any process spends before it renders: importing PyTorch, and rendering a photo of 33×33 pixels.
Each command runs once to warm the disk's cache and then `--rounds` times.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

HOURGLASS = {"published": (768, 1024), "photo": (1024, 1536)}


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("photo", type=Path, help="is resized to 1024×1536 first")
    parser.add_argument("--rounds", type=int, default=5, help="of the quick commands; slow ones run once (default: 5)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="Markdown page to write")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photo, tiny = folder / "photo.jpg", folder / "tiny.jpg"
        Image.open(options.photo).convert("RGB").resize((1536, 1024), Image.Resampling.LANCZOS).save(photo, quality=95)
        Image.open(photo).resize((33, 33)).save(tiny)
        verb = [sys.executable, "-m", "lensblend.cli.main", "render"]
        bokeh = ["--output", str(folder / "bokeh.jpg"), "--overwrite"]
        rows = {
            "model in the box, 1024×1536": measured([*verb, str(photo), *bokeh], options.rounds),
            "the same, 33×33: all but the photo": measured([*verb, str(tiny), *bokeh], options.rounds),
            "`import torch`": measured([sys.executable, "-c", "import torch"], options.rounds),
        }
        for name, size in HOURGLASS.items():
            model = folder / f"{name}.safetensors"
            write_hourglass(model, size)
            title = f"hourglass working at {size[0]}×{size[1]}, 1024×1536"
            rows[title] = measured([*verb, str(photo), "--model", str(model), *bokeh], 1)
    text = page(rows, load, options.rounds)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def measured(command: Sequence[str], rounds: int) -> tuple[list[float], float]:
    """Return the seconds of each round, and the CPU seconds of one."""
    subprocess.run(command, check=True, capture_output=True)
    seconds, before = [], _cpu()
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return seconds, (_cpu() - before) / rounds


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_hourglass(file: Path, size: tuple[int, int]) -> None:
    """Write the published network with random weights, as `lensblend export` would."""
    import hydra
    import torch
    from omegaconf import OmegaConf

    from lensblend.cli.config import config_folder, register
    from lensblend.runs.instantiate import build
    from lensblend.runs.roles import MODELS
    from lensblend.runs.safetensors_files import write_network

    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("train", overrides=["run_dir=x", "baseline=dbsi"])
    node: Any = OmegaConf.to_container(composed.model, resolve=True)
    torch.manual_seed(0)
    network = build(node, "model", *MODELS)
    record = {"format": 2, "phase": "phase3", "image_size": list(size), "network": node, "config": "{}", "versions": {}}
    write_network(network.state_dict(), record, file)


def page(rows: dict[str, tuple[list[float], float]], load: float, rounds: int) -> str:
    """Return the page."""
    from importlib.metadata import version

    ours = statistics.median(next(iter(rows.values()))[0])
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = [
        "# Seconds to render one photo, from file to file",
        "",
        f"Whole processes of `lensblend render`, start included; median of {rounds} (the hourglass: 1), after one that",
        "is not counted.",
        "",
        "| | seconds | least to most | CPU seconds | to the model in the box |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (seconds, cpu) in rows.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}" if len(seconds) > 1 else ""
        lines.append(f"| {name} | {middle:.2f} | {spread} | {cpu:.2f} | {middle / ours:.2f}× |")
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| hardware | {os.cpu_count()} CPU cores ({platform.machine()}), no GPU |",
        f"| load before the run | {load:.1f} (1-minute average) |",
        f"| software | PyTorch {version('torch')}, Python {platform.python_version()} |",
        f"| date | {datetime.date.today()} |",
        f"| commit | {git.stdout.strip()} |",
        "| command | `python benchmarks/render_seconds.py PHOTO --output docs/benchmarks/render.md` |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
