"""Warp photos by known transforms, blur half of each, register them, and print a Markdown page of the corners' errors.

    python benchmarks/alignment.py --cases 200 --real ../shared/data/ebb-sample/Training ../shared/data/realbokeh-sample

Each case is drawn from its seed: one of four photos of scikit-image, a homography, affinity or similarity, which half
is blurred by a disc, exposure, colour and noise. The error is the largest distance, over the four corners, between
where the estimate and where the drawn transform takes them, in pixels of the photo.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from skimage import data

from lensblend.data.images import read_photo
from lensblend.preparation.captures import find_captures
from lensblend.preparation.registration import Registration, register
from lensblend.preparation.transforms import MODELS, Model
from lensblend.storage import write_atomically

PHOTOS = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}


class Case(NamedTuple):
    """A photo, what a second exposure of it looks like, and the transform from that one to the photo."""

    name: str
    model: Model
    reference: np.ndarray
    moving: np.ndarray
    transform: np.ndarray


def case(seed: int) -> Case:
    """Draw a case: zoom within 6 %, turn within 2°, shift within 3 % of the width, corners bent within 1.5 % of it."""
    draw = np.random.default_rng(seed)
    name, model = list(PHOTOS)[seed % len(PHOTOS)], MODELS[seed // len(PHOTOS) % len(MODELS)]
    photo = PHOTOS[name]()
    height, width = photo.shape[:2]
    transform = drawn_transform(draw, model, (height, width))
    moving = cv2.warpPerspective(photo, transform, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return Case(name, model, photo, changed(draw, moving), transform)


def drawn_transform(draw: np.random.Generator, model: Model, size: tuple[int, int]) -> np.ndarray:
    """Draw a transform from where the corners of a picture of this size go."""
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=float)
    angle, middle = np.radians(draw.uniform(-2, 2)), corners.mean(axis=0)
    turn = draw.uniform(0.94, 1.06) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if model != "similarity":
        turn += draw.uniform(-0.01, 0.01, (2, 2))
    moved = (corners - middle) @ turn.T + middle + draw.uniform(-0.03, 0.03, 2) * width
    if model == "homography":
        moved += draw.uniform(-0.015, 0.015, (4, 2)) * width
    return cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))


def changed(draw: np.random.Generator, photo: np.ndarray) -> np.ndarray:
    """Blur one half by a disc of radius 2 to 8, change exposure and colour, add noise."""
    height, width = photo.shape[:2]
    radius = draw.uniform(2, 8)
    y, x = np.mgrid[-9:10, -9:10]
    disc = (x**2 + y**2 <= radius**2).astype(np.float32)
    half = np.zeros((height, width), np.float32)
    side = (np.s_[:, : width // 2], np.s_[:, width // 2 :], np.s_[: height // 2], np.s_[height // 2 :])
    half[side[draw.integers(4)]] = 1
    half = cv2.GaussianBlur(half, (0, 0), 3)[..., None]
    sharp = photo.astype(np.float32)
    mixed = half * cv2.filter2D(sharp, -1, disc / disc.sum()) + (1 - half) * sharp
    mixed *= draw.uniform(0.75, 1.2) * (1 + draw.uniform(-0.08, 0.08, 3))
    return (mixed + draw.normal(0, draw.uniform(0, 5), mixed.shape)).clip(0, 255).round().astype(np.uint8)


def corner_error(case: Case, found: Registration) -> float:
    """Return by how many pixels the worst corner is off."""
    height, width = case.moving.shape[:2]
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], dtype=float)
    off = cv2.perspectiveTransform(corners, found.transform) - cv2.perspectiveTransform(corners, case.transform)
    return float(np.linalg.norm(off[0], axis=1).max())


def main() -> None:
    """Register all cases, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, metavar="N", help="seeds 0 to N-1 (default: 200)")
    parser.add_argument("--real", nargs="*", type=Path, default=[], metavar="DIR", help="folders of captures")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page there as well")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    started, results = time.perf_counter(), []
    for seed in range(options.cases):
        drawn = case(seed)
        found = register(drawn.reference, drawn.moving, drawn.model)
        results.append((seed, drawn, found, corner_error(drawn, found)))
        if sys.stderr.isatty():
            print(f"\r{seed + 1}/{options.cases}", end="", file=sys.stderr)
    seconds = (time.perf_counter() - started) / options.cases
    text = page(results, strangers(), seconds, real(options.real))
    print(text)
    if options.output:
        write_atomically(options.output, text + "\n")


Result = tuple[int, Case, Registration, float]


def strangers() -> list[tuple[str, str, Registration]]:
    """Register every photo to every other one, which shows something else."""
    return [(a, b, register(PHOTOS[a](), PHOTOS[b]())) for a in PHOTOS for b in PHOTOS if a != b]


def real(folders: Iterable[Path]) -> list[str]:
    """Register captures as they are, and with the wide photo displaced by a known similarity."""
    lines = [
        "",
        "Real captures. Moved: how far the farthest corner moves, as they are. Recovered: by how much that corner "
        "differs when the wide photo is displaced first (2 % zoom, 0.6°, 17 pixels) and that is taken back.",
        "",
        "| capture | model | inliers | ratio | residual (px) | moved (px) | recovered within (px) |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder in folders:
        for capture in find_captures(folder).captures:
            narrow, wide = read_photo(capture.narrow), read_photo(capture.wide)
            for model in MODELS:
                found, moved, off = displaced(narrow, wide, model)
                figures = f"{found.inliers} | {found.ratio:.2f} | {found.residual:.2f} | {moved:.2f} | {off:.2f}"
                lines.append(f"| {folder.parent.name}/{folder.name}/{capture.name} | {model} | {figures} |")
    return lines if len(lines) > 5 else []


def displaced(narrow: np.ndarray, wide: np.ndarray, model: Model) -> tuple[Registration, float, float]:
    """Return the registration of two photos, how far a corner moves, and how much that differs once displaced."""
    height, width = wide.shape[:2]
    known = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), 0.6, 1.02), [0, 0, 1]])
    known[:2, 2] += 14, -9
    moving = cv2.warpPerspective(wide, known, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    found, again = register(narrow, wide, model), register(narrow, moving, model)
    still = Case("", model, wide, wide, np.eye(3))
    return found, corner_error(still, found), corner_error(Case("", model, wide, wide, found.transform @ known), again)


def page(
    results: Sequence[Result],
    others: Iterable[tuple[str, str, Registration]],
    seconds: float,
    real_pairs: Sequence[str],
) -> str:
    """Return the page."""
    lines = [
        "# Alignment",
        "",
        f"Seeds 0 to {len(results) - 1}; `lensblend prepare align` accepts a pair or names the rule that it breaks.",
        "",
        "| model | cases | accepted | median error | 95 % | largest | below 1 px | above 3 px |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in (*MODELS, "all"):
        of_model = [r for r in results if model in (r[1].model, "all")]
        errors = np.array([error for _, _, found, error in of_model if found.problem is None])
        cells = [model, len(of_model), len(errors)]
        if len(errors):
            cells += [f"{np.median(errors):.3f}", f"{np.percentile(errors, 95):.3f}", f"{errors.max():.3f}"]
            cells += [f"{(errors < 1).mean():.1%}", int((errors > 3).sum())]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    refused = [f"seed {seed} ({drawn.name}): {found.problem}" for seed, drawn, found, _ in results if found.problem]
    lines += ["", f"Not accepted: {'; '.join(refused) or 'none'}."]
    lines += ["", "Two different photos, which must not be accepted:", "", "| reference | moving | refused because |"]
    lines += ["|---|---|---|", *(f"| {a} | {b} | {found.problem} |" for a, b, found in others)]
    lines += real_pairs
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    about = {
        "command": f"`python {shlex.join(sys.argv)}`",
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread; load {os.getloadavg()[0]:.1f}",
        "OpenCV": cv2.__version__,
        "seconds a case": f"{seconds:.2f}",
    }
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
