"""Time every published system on one photo, and count its parameters, operations and memory.

    python benchmarks/latency.py                                        # 1024x1536 on the CPU
    python benchmarks/latency.py --device cuda --output docs/benchmarks/latency.md

Each system is built from its `conf/baseline` with random weights and runs in a process of its own, one after the other,
so that its peak memory is its own. Guidance is given, not computed: the priors' time is not in it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASELINES = (
    "dbsi",
    "scrn",
    "dmshn",
    "stacked_dmshn",
    "islab_zju",
    "ipcv_iitm",
    "vidar_member",
    "vidar",
    "xmu_viplab",
    "kaist_viclab",
    "slyym",
    "bazinga",
    "aps_vision",
    "aps_vision_rgb",
)


def main() -> None:
    """Measure what the command line asks for, and print or write the page."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--baselines", nargs="+", default=list(BASELINES), metavar="NAME", help="default: all")
    parser.add_argument("--image-size", nargs=2, type=int, default=[1024, 1536], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3, help="after one warm-up; the median counts (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    load = os.getloadavg()[0]
    rows = {}
    for name in options.baselines:
        command = [sys.executable, __file__, "--child", name, "--device", options.device]
        command += ["--rounds", str(options.rounds), "--image-size", *map(str, options.image_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, rows[name], flush=True)
    text = page(options, rows, load)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Return what one system takes, in this process."""
    import hydra
    import torch
    from omegaconf import OmegaConf

    from lensblend.cli.config import config_folder, register
    from lensblend.comparison.cost import count_macs
    from lensblend.inference.guidance import guidance_of
    from lensblend.runs.instantiate import build
    from lensblend.runs.roles import MODELS

    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("train", overrides=["run_dir=x", f"baseline={options.child}"])
    node: Any = OmegaConf.to_container(composed.model, resolve=True)
    height, width = options.image_size
    torch.manual_seed(0)
    device = torch.device(options.device)
    network = build(node, "model", *MODELS).eval().to(device)
    photo = torch.rand(1, 3, height, width, device=device)
    maps = {name: torch.rand(1, 1, height, width, device=device) for name in guidance_of(node, "model")}
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = []
    with torch.inference_mode():
        for _ in range(options.rounds + 1):
            synchronize()
            start = time.perf_counter()
            network(photo, **maps)
            synchronize()
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated()
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "gmac": count_macs(network, photo, **maps) / 1e9,
        "seconds": sorted(seconds[1:])[len(seconds[1:]) // 2],
        "gib": peak / 2**30,
    }


def page(options: argparse.Namespace, rows: dict[str, dict[str, float]], load: float) -> str:
    """Return the page."""
    import torch

    height, width = options.image_size
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    size = "" if options.image_size == [1024, 1536] else f" --image-size {height} {width}"
    command = f"python benchmarks/latency.py --device {options.device} --rounds {options.rounds}{size}"
    machine = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {os.cpu_count()} cores"
    memory = "GPU memory allocated" if options.device == "cuda" else "resident memory of the process"
    if options.device == "cpu":
        machine += f" ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
    base = rows.get("dbsi")
    lines = [
        "# Latency and memory",
        "",
        f"One photo of {height}×{width}, float32, random weights, each system as its `conf/baseline` says, in one run.",
        f"Seconds: median of {options.rounds} forwards after one warm-up. Memory: peak {memory}, PyTorch",
        "included. GMAC: multiply-accumulates of convolutions and matrix products, by PyTorch's counter; filters of a",
        "kernel per pixel, blurs by FFT and element-wise work are not in it. Maps that a network is given (saliency,",
        "disparity) are given: the networks that would estimate them are not in it. SLYYM generates at 256×256,",
        "whatever the photo. Ratios are to DBSI of the same run.",
        "",
        "| baseline | parameters | GMAC | seconds | to DBSI | GiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        ratio = f"{row['seconds'] / base['seconds']:.2f}×" if base else ""
        cells = [name, f"{row['parameters']:,.0f}", f"{row['gmac']:,.0f}", f"{row['seconds']:.2f}", ratio]
        lines.append(f"| {' | '.join([*cells, format(row['gib'], '.1f')])} |")
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| hardware | {machine} |",
        f"| load before the run | {load:.1f} (1-minute average) |",
        f"| software | PyTorch {torch.__version__}, Python {platform.python_version()} |",
        f"| date | {datetime.date.today().isoformat()} |",
        f"| commit | {git.stdout.strip() or 'unknown'} |",
        f"| command | `{command}` |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
