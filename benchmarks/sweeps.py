"""Measure what a sweep adds to its jobs: the same trainings started by hand, one after the other, and as one sweep.

    python benchmarks/sweeps.py --output docs/benchmarks/sweeps.md

Needs a machine that does nothing else. Every figure is the wall time of real processes.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

TRAINING = (
    "experiment=demo",
    "+backbone.width_divisor=4",
    "metrics.lpips=null",
    "callbacks.panels=null",
    "schedule.run=[phase1]",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
)


def main() -> None:
    """Measure and print, or write, the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=4, help="trainings on either side; default: 4")
    parser.add_argument("--epochs", type=int, default=5, help="of each; default: what took a minute on 2 cores")
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sweeps-") as name:
        folder = Path(name)
        training = [*TRAINING, f"schedule.phases.phase1.max_epochs={options.epochs}"]
        seeds = range(1, options.jobs + 1)
        _run([*training, "seed=0"], folder / "warm-up", [])  # renders the data, fills the caches of files
        by_hand: list[tuple[float, float]] = []
        for seed in seeds:
            run = folder / f"by-hand-{seed}"
            took, first = _run([*training, f"seed={seed}", f"run_dir={run}"], folder, [run])
            by_hand.append((took, first[0]))
        sweep = folder / "sweep"
        arguments = ["--multirun", *training, f"seed={','.join(map(str, seeds))}", f"hydra.sweep.dir={sweep}"]
        total, first_steps = _run(arguments, folder, [sweep / str(job) for job in range(options.jobs)])
    text = page(options, by_hand, total, first_steps)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def _run(arguments: Sequence[str], folder: Path, runs: Sequence[Path]) -> tuple[float, list[float]]:
    """Run ``lensblend train``; return its wall time and, for each run's folder, when its first step was logged."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[Path, float] = {}
    over = threading.Event()
    start = time.monotonic()

    def watch() -> None:
        while not over.wait(0.02):
            for run in runs:
                file = run / "metrics.csv"
                if run not in seen and file.exists() and file.read_text().count("\n") > 1:
                    seen[run] = time.monotonic() - start

    watcher = threading.Thread(target=watch)
    watcher.start()
    with (folder / "output.log").open("ab") as log:
        command = [sys.executable, "-m", "lensblend.cli.train", *arguments]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, cwd=folder).returncode
    took = time.monotonic() - start
    over.set()
    watcher.join()
    if code != 0:
        raise SystemExit(f"{' '.join(command)} ended with exit code {code}:\n{(folder / 'output.log').read_text()}")
    return took, [seen[run] for run in runs]


def page(
    options: argparse.Namespace, by_hand: Sequence[tuple[float, float]], total: float, first_steps: Sequence[float]
) -> str:
    """Return the page."""
    jobs = options.jobs
    took, first = (statistics.median(values) for values in zip(*by_hand, strict=True))
    alone = sum(value for value, _ in by_hand)
    training = took - first
    added = (total - alone) / jobs
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    gaps = [later - earlier for earlier, later in itertools.pairwise(first_steps)]
    median_gap = statistics.median(gaps)
    command = f"python benchmarks/sweeps.py --jobs {jobs} --epochs {options.epochs}"
    return f"""# What a sweep costs

{jobs} trainings of the hourglass at a quarter of its width, {options.epochs} epochs at 48×64, started by hand one
after the other, then as one sweep (`--multirun`, one slot). Wall time, in seconds; by hand: medians.

| | by hand | as jobs of a sweep |
|---|---:|---:|
| process start to first logged step | {first:.1f} | {first_steps[0]:.1f} (the first job, launcher included) |
| first logged step to the end of the process | {training:.1f} | |
| from one job's first step to the next one's | {took:.1f} | {median_gap:.1f} |
| all {jobs} | {alone:.1f} | {total:.1f} |

- **A sweep adds {added:+.1f} s to each job, {100 * added / took:+.1f} % of it** (target: at most 10 % of a job of
  60 s). The spread of the trainings by hand is {min(v for v, _ in by_hand):.1f} to {max(v for v, _ in by_hand):.1f} s.
- By hand {first:.1f} s ({100 * first / took:.0f} %) pass before the first step: importing PyTorch, Lightning and
  torchmetrics, building the network and reading data. Every job of a sweep is a process of its own, too, but it is
  started while the one before it trains, and waits with its imports done: from the second job on,
  {median_gap - training:.1f} s pass from the end of one training to the first step of the next.

{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()},
{datetime.date.today().isoformat()}, commit {commit.stdout.strip()}:

    {command} --output docs/benchmarks/sweeps.md
"""


if __name__ == "__main__":
    main()
