"""Train a small sweep over kernel sets with W&B offline, and draw what its files hold: the pictures of docs/wandb.md.

    python benchmarks/wandb_pictures.py                        # minutes on two CPU cores; needs Chromium
    python benchmarks/wandb_pictures.py --runs FOLDER          # draw a sweep that is there

They are no screenshots of wandb.ai, which needs an account: everything in them is read back from the `.wandb` files.
"""

from __future__ import annotations

import argparse
import base64
import html
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # where offline runs are read back

from reliability.offline_runs import OfflineRun, read_runs  # noqa: E402

PICTURES = ROOT / "docs" / "images"
SWEEP = (
    "--multirun",
    "experiment=demo",
    "kernels=gaussian_25_45_75,gaussian_75,disk_variance",
    "logger=wandb",
    "metrics.lpips=null",
    "schedule.run=[phase1,phase2]",
    "schedule.phases.phase1.max_epochs=8",
    "schedule.phases.phase2.max_epochs=4",
    "loader.limit_train=32",
    "loader.limit_val=8",
    "+backbone.width_divisor=8",
)
COLOURS = ("#2f6fde", "#d9622b", "#2d9a5f", "#8b5cc7", "#b8860b", "#c0397b")
STYLE = """
* { box-sizing: border-box } body { margin: 0; padding: 24px 28px; background: #fff; color: #1f2328;
  font: 14px/1.45 "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 15px; margin: 0 0 14px } h1 small, .note { font-weight: 400; color: #6a737d; font-size: 12.5px }
table { border-collapse: collapse; width: 100%; font-size: 12.5px }
th { text-align: left; font-weight: 600; color: #57606a; border-bottom: 1.5px solid #d0d7de; padding: 5px 9px }
td { border-bottom: 1px solid #eaeef2; padding: 6px 9px; white-space: nowrap }
.n { text-align: right; font-variant-numeric: tabular-nums } .best { font-weight: 700 }
.tag { background: #eef2f6; border-radius: 9px; padding: 1px 7px; margin-right: 3px; font-size: 11px }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin-right: 7px }
.charts { display: grid; grid-template-columns: repeat(2, 1fr); gap: 18px 26px }
.key { font-weight: 600; margin-bottom: 2px } svg text { font: 11px "Liberation Sans", sans-serif; fill: #6a737d }
.run { margin-bottom: 12px } .run img { width: 100%; display: block } .legend > span { margin-right: 20px }
"""


def main() -> None:
    """Train unless a sweep is given, and write the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=Path, help="folder of a sweep that was logged offline; default: train one")
    parser.add_argument("--output", type=Path, default=PICTURES, help="folder of the pictures")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium", help="draws HTML as PNG")
    options = parser.parse_args()
    folder = options.runs or train(Path(tempfile.mkdtemp(prefix="wandb-pictures-")))
    runs = read_runs(folder)
    first, last = ([run for run in runs if run.job_type == some.job_type] for some in (runs[0], runs[-1]))
    pages = {
        "wandb-runs": (runs_table(runs), 1780),
        "wandb-charts": (charts(first), 1060),
        "wandb-panels": (panels(last), 840),
    }
    for name, (page, width) in pages.items():
        draw(page, width, options.output / f"{name}.png", options.chromium)
        print(options.output / f"{name}.png")


def train(folder: Path) -> Path:
    """Run the sweep as a user would."""
    command = [sys.executable, "-m", "lensblend.cli.train", *SWEEP, f"hydra.sweep.dir={folder / 'kernels'}"]
    subprocess.run(command, check=True, env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"})
    return folder


def runs_table(runs: Sequence[OfflineRun]) -> str:
    """Return the runs table: names, group, job type, tags and summary columns."""
    columns = {"psnr": ".2f", "ssim": ".4f", "parameters": ",d", "latency_s": ".3f"}
    best = {j: max(r.summary["psnr"] for r in runs if r.job_type == j) for j in {r.job_type for r in runs}}
    lines = []
    for run in sorted(runs, key=lambda r: (r.job_type, -r.summary["psnr"])):
        tags = "".join(f'<span class="tag">{html.escape(tag)}</span>' for tag in (run.tags[0], run.tags[-1]))
        cells = [
            _dot(run, runs) + html.escape(run.name),
            html.escape(run.group),
            run.job_type,
            tags,
            run.config["choices"]["kernels"],
        ]
        numbers = [format(run.summary[name], form) for name, form in columns.items()]
        row = "".join(f"<td>{cell}</td>" for cell in cells) + "".join(f'<td class="n">{n}</td>' for n in numbers)
        mark = ' class="best"' if run.summary["psnr"] == best[run.job_type] else ""
        lines.append(f"<tr{mark}>{row}</tr>")
    heads = ["Name", "Group", "Job Type", "Tags (two of them)", "choices.kernels"]
    head = "".join(f"<th>{h}</th>" for h in heads) + "".join(f'<th class="n">{name}</th>' for name in columns)
    return f"<h1>Runs <small>sorted by job type and psnr</small></h1><table><tr>{head}</tr>{''.join(lines)}</table>"


def charts(runs: Sequence[OfflineRun]) -> str:
    """Return the charts of one phase: scores over steps, all runs in each, and bars of what is logged once."""
    legend = "".join(f"<span>{_dot(run, runs)}{html.escape(run.name)}</span>" for run in runs)
    lines = "".join(_lines(key, runs) for key in ("val/psnr", "val/ssim"))
    bars = "".join(_bars(key, runs) for key in ("psnr", "latency_s"))
    return f'<div class="legend" style="margin-bottom:18px">{legend}</div><div class="charts">{lines}{bars}</div>'


def panels(runs: Sequence[OfflineRun]) -> str:
    """Return two pairs of the grid, each with the last picture of every run, as the workspace puts them together."""
    keys = [key for row in runs[0].history for key in row if key.startswith("panels/")]
    chosen = list(dict.fromkeys(keys))[:3:2]
    return "".join(
        f'<p class="key">{html.escape(key)}</p>{"".join(_strip(key, run, runs) for run in runs)}' for key in chosen
    )


def _strip(key: str, run: OfflineRun, runs: Sequence[OfflineRun]) -> str:
    step, said = run.series(key)[-1]
    share = said["width"] / max(r.series(key)[-1][1]["width"] for r in runs)
    data = base64.b64encode((run.files / said["path"]).read_bytes()).decode()
    return (
        f'<div class="run">{_dot(run, runs)}{html.escape(run.name)} <span class="note">step {step}</span>'
        f'<img style="width:{100 * share:.2f}%" src="data:image/png;base64,{data}"></div>'
    )


def _dot(run: OfflineRun, runs: Sequence[OfflineRun]) -> str:
    sets = list(dict.fromkeys(r.config["choices"]["kernels"] for r in runs))
    return f'<span class="dot" style="background:{COLOURS[sets.index(run.config["choices"]["kernels"])]}"></span>'


def _lines(key: str, runs: Sequence[OfflineRun]) -> str:
    series = [run.series(key) for run in runs]
    low, high = min(v for s in series for _, v in s), max(v for s in series for _, v in s)
    end = max(step for s in series for step, _ in s)
    width, height, left, top = 480, 200, 46, 8

    def at(step: float, value: float) -> str:
        return f"{left + step / end * (width - left - 8):.1f},{top + (high - value) / (high - low) * (height - 34):.1f}"

    grid = ""
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        y = at(0, value).split(",")[1]
        grid += f'<line x1="{left}" x2="{width - 8}" y1="{y}" y2="{y}" stroke="#eaeef2"/>'
        grid += f'<text x="{left - 6}" y="{float(y) + 4}" text-anchor="end">{value:.4g}</text>'
        x = at(share * end, low).split(",")[0]
        grid += f'<text x="{x}" y="{height - 6}" text-anchor="middle">{share * end:.0f}</text>'
    curves = "".join(
        f'<polyline fill="none" stroke-width="2" stroke="{colour}" points="{" ".join(at(*p) for p in points)}"/>'
        for colour, points in zip(COLOURS, series, strict=False)
    )
    svg = f'<svg width="{width}" height="{height}">{grid}{curves}</svg>'
    return f'<div><p class="key">{key} <span class="note">over trainer/global_step</span></p>{svg}</div>'


def _bars(key: str, runs: Sequence[OfflineRun]) -> str:
    values = [float(run.summary[key]) for run in runs]
    bars = "".join(
        f'<rect x="0" y="{34 * i + 4}" width="{380 * value / max(values):.1f}" height="24" rx="2" fill="{colour}"/>'
        f'<text x="{380 * value / max(values) + 6:.1f}" y="{34 * i + 20}">{value:.4g}</text>'
        for i, (value, colour) in enumerate(zip(values, COLOURS, strict=False))
    )
    svg = f'<svg width="480" height="{34 * len(runs) + 4}">{bars}</svg>'
    return f'<div><p class="key">{key} <span class="note">logged once: a bar a run</span></p>{svg}</div>'


def draw(body: str, width: int, path: Path, chromium: str) -> None:
    """Draw a page as a PNG, cut to its content."""
    import numpy as np
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{body}', encoding="utf-8")
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
        ]
        size = [f"--window-size={width},2400", f"--screenshot={folder}/page.png"]
        subprocess.run([*command, *size, page.as_uri()], check=True, capture_output=True)
        with Image.open(f"{folder}/page.png") as picture:
            pixels = picture.convert("RGB")
    used = np.flatnonzero((np.array(pixels) < 255).any(axis=(1, 2)))[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels.crop((0, 0, width, int(used) + 20)).save(path, optimize=True)


if __name__ == "__main__":
    main()
