"""Measure the blurs of a kernel bank against dense depthwise convolution, and print a Markdown page.

Every case runs once per round, rounds follow one another, and the median over the rounds counts: a busy machine slows
all cases alike, and their ratios stay. Times are wall times. The error is the largest difference from SciPy in float64.

    python benchmarks/blur.py --output docs/benchmarks/blur.md
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy import ndimage, signal
from torch import Tensor
from torch.nn import functional

from lensblend.nn.kernel_bank import KernelBank

Case = Callable[[Tensor], Any]
DENSE, DENSE_DISK = "dense depthwise convolution", "dense depthwise convolution, disk"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[25, 45, 75], help="kernel sizes in pixels")
    parser.add_argument("--image-size", type=int, nargs=2, default=[768, 1024], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=9, help="rounds; the dense convolution runs in each")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CPU threads; one table for each")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--output", type=Path, help="write the page here instead of printing it")
    options = parser.parse_args()
    page = "\n".join([*header(options), *(line for n in options.threads for line in table(options, n))]) + "\n"
    if options.output is None:
        sys.stdout.write(page)
    else:
        options.output.write_text(page, encoding="utf-8")


def header(options: argparse.Namespace) -> list[str]:
    """Say what was measured, where, when and how."""
    height, width = options.image_size
    on_gpu = torch.device(options.device).type == "cuda"
    hardware = torch.cuda.get_device_name(options.device) if on_gpu else cpu_name()
    return [
        "# Blurs",
        "",
        f"One RGB photo of {height}×{width}, kernels {', '.join(map(str, options.sizes))}, the stack of the photo and",
        "its copies, float32, matrices and spectra cached as in a training run. Wall times; ratios are to the dense",
        "2-D depthwise convolution of the same run, family and thread count. The error is the largest difference from",
        "SciPy in float64, in 8-bit levels. On a shared machine only the ratios count; with more busy threads than",
        "cores, many short products (Gaussian, box) slow down more than one long convolution.",
        "",
        "| | |",
        "|---|---|",
        f"| hardware | {hardware} |",
        f"| busy threads before the run | {os.getloadavg()[0]:.1f} of {os.cpu_count()} (1-minute load average) |",
        f"| software | Python {platform.python_version()}, torch {torch.__version__}, OpenCV {cv2.__version__} |",
        f"| date | {options.date} |",
        f"| commit | {commit()} |",
        f"| command | `python {shlex.join(sys.argv)}` |",
        f"| rounds | {options.rounds}, cases interleaved, medians, after one warm-up |",
    ]


def table(options: argparse.Namespace, threads: int) -> list[str]:
    """Measure every case with this many CPU threads."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    photo = torch.rand(1, 3, *options.image_size, generator=torch.Generator().manual_seed(0)).to(options.device)
    banks = {family: KernelBank(family, options.sizes) for family in ("gaussian", "box", "disk")}
    fast = banks["gaussian"].quick()
    cases: dict[str, tuple[str, Case]] = {
        DENSE: ("gaussian", lambda photo: dense(photo, banks["gaussian"])),
        "separable depthwise convolution": ("gaussian", lambda photo: separable(photo, banks["gaussian"])),
        "`cv2.GaussianBlur`, float32": ("gaussian", lambda photo: opencv(photo, options.sizes)),
        "**`KernelBank`, gaussian**": ("gaussian", banks["gaussian"]),
        "**`KernelBank`, gaussian, fast**": ("gaussian", fast),
        "**`KernelBank`, box**": ("box", banks["box"]),
        DENSE_DISK: ("disk", lambda photo: dense(photo, banks["disk"])),
        "**`KernelBank`, disk**": ("disk", banks["disk"]),
    }
    truth = {family: scipy_stack(photo, bank) for family, bank in banks.items()}
    errors = {
        name: 255 * np.abs(case(photo).cpu().numpy() - truth[family]).max() for name, (family, case) in cases.items()
    }
    one_by_one: dict[str, tuple[str, Case]] = {  # as pieces of a photo at full size are blended: no stack is made
        "`KernelBank.copies`, gaussian": ("gaussian", lambda photo: deque(banks["gaussian"].copies(photo), maxlen=0)),
        "`KernelBank.copies`, gaussian, fast": ("gaussian", lambda photo: deque(fast.copies(photo), maxlen=0)),
    }
    errors |= {name: errors[f"**{name.replace('.copies', '')}**"] for name in one_by_one}
    cases |= one_by_one
    times = measure({name: case for name, (_, case) in cases.items()}, photo, options.rounds)
    baseline = {"gaussian": times[DENSE], "box": times[DENSE], "disk": times[DENSE_DISK]}
    ratios = {name: baseline[family] / times[name] for name, (family, _) in cases.items()}
    lines = [f"| {name} | {1e3 * t:.1f} | {ratios[name]:.1f}× | {errors[name]:.1e} |" for name, t in times.items()]
    title = f"## {threads} CPU thread{'s' if threads > 1 else ''}"
    return ["", title, "", "| method | ms | ratio | error, 8-bit levels |", "|---|---|---|---|", *lines]


def measure(cases: dict[str, Case], photo: Tensor, rounds: int) -> dict[str, float]:
    """Return the median wall time of each case in seconds."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            synchronize(photo.device)
            start = time.perf_counter()
            case(photo)
            synchronize(photo.device)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def dense(photo: Tensor, bank: KernelBank) -> Tensor:
    """Blur with full two-dimensional kernels, one convolution per channel."""
    copies = [photo]
    for kernel in bank.kernels:
        square = (torch.outer(kernel, kernel) if kernel.ndim == 1 else kernel).to(photo)
        padded = functional.pad(photo, [len(square) // 2] * 4, mode="reflect")
        copies.append(functional.conv2d(padded, square.expand(3, 1, -1, -1), groups=3))
    return torch.stack(copies, dim=1)


def separable(photo: Tensor, bank: KernelBank) -> Tensor:
    """Blur with two one-dimensional convolutions per channel."""
    copies = [photo]
    for kernel in bank.kernels:
        taps = kernel.to(photo)
        padded = functional.pad(photo, [len(taps) // 2] * 4, mode="reflect")
        rows = functional.conv2d(padded, taps.expand(3, 1, 1, -1), groups=3)
        copies.append(functional.conv2d(rows, taps[:, None].expand(3, 1, -1, 1), groups=3))
    return torch.stack(copies, dim=1)


def opencv(photo: Tensor, sizes: Sequence[int]) -> Tensor:
    """Blur with OpenCV."""
    image = photo[0].permute(1, 2, 0).cpu().contiguous().numpy()
    copies = [image, *(cv2.GaussianBlur(image, (k, k), 0, borderType=cv2.BORDER_REFLECT_101) for k in sizes)]
    return torch.from_numpy(np.stack(copies)).permute(0, 3, 1, 2)[None]


def scipy_stack(photo: Tensor, bank: KernelBank) -> np.ndarray:
    """Return the stack in float64: direct sums for 1-D kernels, SciPy's own FFT for 2-D ones."""
    planes = photo.double().cpu().numpy()
    copies = [planes]
    for kernel in bank.kernels:
        taps = kernel.numpy()
        if taps.ndim == 1:
            rows = ndimage.convolve1d(planes, taps, axis=-1, mode="mirror")
            copies.append(ndimage.convolve1d(rows, taps, axis=-2, mode="mirror"))
        else:
            radius = len(taps) // 2
            padded = np.pad(planes, [(0, 0), (0, 0), (radius, radius), (radius, radius)], mode="reflect")
            copies.append(signal.fftconvolve(padded, taps[None, None], mode="valid", axes=(-2, -1)))
    return np.stack(copies, axis=1)


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, which works behind the clock's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cpu_name() -> str:
    """Return the processor's name, its instruction set and how many threads torch would use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads by default"


def commit() -> str:
    """Return the commit that was measured, and say so if files had changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
