"""Write the paper's tables as trainings on data of this machine give them, over several seeds, beside the printed ones.

    python benchmarks/tables.py SWEEP... --command "lensblend train ..." --output docs/benchmarks/tables.md

SWEEP are folders of finished trainings: the rows of Tables 1 to 4 at several seeds each, and, where there are some, the
same from depth weights (`init_from`), of other kernel families and of other networks.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from scipy.stats import t

from lensblend.comparison.runs import Entry, every_phase, find_entries
from lensblend.comparison.scored import Request, Scored
from lensblend.comparison.scoring import score_entry
from lensblend.comparison.statistics import CONFIDENCE, difference_interval
from lensblend.comparison.studies.paper import TABLES, deviations, is_row
from lensblend.inference.evaluation import aligned
from lensblend.metrics.fidelity import Psnr, Ssim
from lensblend.runs.instantiate import build
from lensblend.runs.roles import DATA

METRICS = {"psnr": Psnr, "ssim": Ssim}


class Row:
    """The trainings of one row: one per seed, all scored on the same images."""

    def __init__(self, name: str, entries: Sequence[Entry], scored: Mapping[tuple[Path, str], Scored]) -> None:
        self.name, self.entries = name, entries
        self._scored = [scored[entry.run_dir, entry.phase] for entry in entries]

    def per_image(self, metric: str) -> list[float]:
        """Return each image's score, averaged over the seeds."""
        return [float(np.mean([s.scores[i][metric] for s in self._scored])) for i in self._scored[0].scores]

    def written(self, metric: str) -> str:
        """Return the mean of the trainings' means, and the half width of its interval over the trainings."""
        means = [np.mean([row[metric] for row in s.scores.values()]) for s in self._scored]
        digits, count = METRICS[metric].decimals, len(means)
        if count < 2:
            return f"{np.mean(means):.{digits}f}"
        half = t.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(means, ddof=1) / np.sqrt(count)
        return f"{np.mean(means):.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    """Score, compare and print, or write, the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--command", action="append", default=[], help="what made the trainings; may be repeated")
    parser.add_argument("--note", action="append", default=[], help="a line below the tables; may be repeated")
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    options = parser.parse_args()
    entries, left_out = find_entries(options.folders, choose=every_phase)
    for run in left_out:
        print(f"Left out: {run.folder}: {run.reason}")
    pairs = build(entries[0].config["data"], "data", DATA).split("val")
    request = Request({"psnr": Psnr(), "ssim": Ssim()}, torch.device("cpu"), pictures=0)
    scored = {(e.run_dir, e.phase): score_entry(e, pairs, request, lambda i: i)[0] for e in track(entries, "Scoring")}
    text = page(options, entries, scored, len(pairs.ids))
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def page(
    options: argparse.Namespace, entries: Sequence[Entry], scored: Mapping[tuple[Path, str], Scored], images: int
) -> str:
    """Return the page."""
    plain = [entry for entry in entries if _is_plain(entry)]
    parts = ["# The paper's tables on embedded data"]
    differing = sorted({note for e in plain for note in deviations(e) if "SCRN" not in note})
    parts.append(
        "Beside each figure of Dutta 2021 (means over Val294), ours: the mean of the trainings' means over "
        f"{images} validation images, ± the half width of its 95 % interval over the trainings (Student's t). The "
        f"figures do not compare with the printed ones, the orderings do. Ours: {'; '.join(differing)}."
    )
    for number, (title, rows) in TABLES.items():
        chosen = [Row(row.name, [e for e in plain if is_row(e, row)], scored) for row in rows]
        parts.append(f"## Table {number}: {title}")
        parts.append(_table(chosen, [row.figures for row in rows]))
        parts.append(_orderings(chosen, [row.figures for row in rows]))
    parts += _further(entries, scored)
    parts += ["\n".join(f"- {note}" for note in options.note)] if options.note else []
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    made = f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}"
    parts.append(f"{made}, {datetime.date.today()}, scored at commit {done.stdout.strip()}:")
    parts.append("\n".join(f"    {command}" for command in options.command))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row], figures: Sequence[Sequence[float]]) -> str:
    lines = [["", "paper PSNR", "paper SSIM", "ours PSNR", "ours SSIM", "trainings"]]
    for row, (psnr, ssim, _) in zip(rows, figures, strict=True):
        ours = [row.written(m) for m in METRICS] if row.entries else ["–", "–"]
        lines.append([row.name, f"{psnr:.2f}", f"{ssim:.4f}", *ours, str(len(row.entries))])
    return aligned(lines)


def _orderings(rows: Sequence[Row], figures: Sequence[Sequence[float]]) -> str:
    """Say of each neighbouring pair of rows, and each metric, whether ours are ordered like the paper's."""
    lines = []
    for first, second in zip(range(len(rows) - 1), range(1, len(rows)), strict=True):
        if not (rows[first].entries and rows[second].entries):
            continue
        for index, metric in enumerate(METRICS):
            printed = figures[second][index] - figures[first][index]
            found = difference_interval(rows[second].per_image(metric), rows[first].per_image(metric))
            same = (found.mean > 0) == (printed > 0)
            verdict = "reproduced" if same else "not reproduced"
            if not found.excludes_zero:
                verdict = f"cannot be said, {'the same' if same else 'the other'} sign but the interval includes zero"
            digits = METRICS[metric].decimals
            compared = f"{metric.upper()}, {rows[second].name} against {rows[first].name}"
            lines.append(
                f"- {compared}: paper {printed:+.{digits}f}, ours "
                f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]: **{verdict}**."
            )
    return "\n".join(lines)


def _further(entries: Sequence[Entry], scored: Mapping[tuple[Path, str], Scored]) -> list[str]:
    """Return what the paper has no table of: depth weights to start from, other kernels, other networks."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((_what(entry), entry.phase), []).append(entry)
    if len({what for what, _ in groups}) < 2:
        return []
    lines = [["", "phase", "PSNR", "SSIM", "trainings"]]
    for (what, phase), members in groups.items():
        row = Row(what, members, scored)
        lines.append([what, phase, *(row.written(m) for m in METRICS), str(len(members))])
    parts = ["## All trainings", aligned(lines)]
    starts = []
    for (what, phase), members in groups.items():
        random = groups.get((what.removesuffix(", from depth weights"), phase))
        if what.endswith(", from depth weights") and random:
            ours, against = Row(what, members, scored), Row("", random, scored)
            for metric in METRICS:
                found = difference_interval(ours.per_image(metric), against.per_image(metric))
                digits = METRICS[metric].decimals
                starts.append(
                    f"- {phase}, {metric.upper()}: {found.mean:+.{digits}f} "
                    f"[{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
                )
    if starts:
        parts += ["Starting from depth weights instead of random ones changes:", "\n".join(starts)]
    return parts


def _is_plain(entry: Entry) -> bool:
    """Tell whether a training is one of the tables' rows rather than a variation of it."""
    source = (entry.config.get("saliency") or {}).get("network", {}).get("_target_", "")
    blends_saliency = entry.config["model"]["_target_"].endswith(".SaliencyBlend")
    varied = entry.config["model"].get("saliency_norm", "none") != "none" or not source.endswith(".Scrn")
    return not entry.config.get("init_from") and _width(entry) == 1 and not (blends_saliency and varied)


def _width(entry: Entry) -> int:
    return int((entry.config["model"].get("backbone") or {}).get("width_divisor", 1))


def _what(entry: Entry) -> str:
    model: dict[str, Any] = entry.config["model"]
    if model["_target_"].endswith(".SaliencyBlend"):
        source = (entry.config["saliency"].get("network") or entry.config["saliency"])["_target_"].rsplit(".", 1)[-1]
        return f"SaliencyBlend of {source}{', stretched' if model['saliency_norm'] == 'minmax' else ''}"
    bank = model.get("bank") or {}
    name = str(model["_target_"]).rsplit(".", 1)[-1]
    sizes = ", ".join(str(size) for size in bank.get("sizes", ()))
    kernels = f", {bank['family']} {sizes}" if bank else ""
    width = f", 1/{_width(entry)} width" if _width(entry) != 1 else ""
    matched = ", matched by variance" if bank.get("match") == "variance" and bank["family"] != "gaussian" else ""
    return f"{name}{kernels}{matched}{width}{', from depth weights' if entry.config.get('init_from') else ''}"


if __name__ == "__main__":
    main()
