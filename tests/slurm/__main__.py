"""Run real trainings on a real SLURM of this machine and print what happened.

    python tests/slurm                                           # all cases; a quarter of an hour on two cores
    python tests/slurm --cases limit --folder /tmp/limit
    python tests/slurm --output docs/benchmarks/slurm.md

Needs root on Debian or Ubuntu; installs slurm-wlm, munge and iproute2 where they are missing. Starts its own cluster
(`tests/slurm/cluster`), ends only what it has started, and stops the cluster. The exit code is 1 if a case fails.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import cases  # noqa: E402
import torch  # noqa: E402
from lab import Lab, cluster  # noqa: E402

from reliability.rows import Case  # noqa: E402

CASES: dict[str, Callable[[Lab], Case]] = {
    "sweep": cases.sweep,
    "failure": cases.failure,
    "preemption": cases.preemption,
    "limit": cases.limit,
    "cancel": cases.cancel,
    "tasks": cases.tasks,
    "nodes": cases.nodes,
    "hosts": cases.hosts,
}
PROGRAMS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "munged": "munge", "ip": "iproute2"}


def main() -> None:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--folder", type=Path, help="scratch folder; default: a new one, removed if nothing fails")
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    options = parser.parse_args()
    install()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="slurm-test-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # mkdtemp makes folders of mode 700, where munge opens no socket
    lab = Lab(folder)
    print(f"in {folder}", flush=True)
    cluster("start", lab.environment)
    try:
        results = [(name, *_run(CASES[name], lab)) for name in options.cases]
    finally:
        cluster("stop", lab.environment)
    failed = sum(bool(case.failures) for _, case, _ in results)
    if options.output:
        options.output.write_text(page(results, _lines(options.output)), encoding="utf-8")
    if not failed and options.folder is None:
        shutil.rmtree(folder)
    print(f"{len(results) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


def install() -> None:
    """Install what is missing, or say how."""
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if os.geteuid() != 0:
        sys.exit(
            "SLURM's slurmd starts jobs for users and so needs root: run this as root, in a container for example."
        )
    if missing and shutil.which("apt-get") is None:
        sys.exit(f"Missing: {', '.join(missing)} (names of Debian's packages); there is no apt-get to install them.")
    if missing:
        print(f"Installing {', '.join(missing)}", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", *missing]):
            subprocess.run(["apt-get", *command], env=quiet, stdout=subprocess.DEVNULL, check=True, timeout=900)


def _run(run: Callable[[Lab], Case], lab: Lab) -> tuple[Case, float]:
    start = time.monotonic()
    try:
        case = run(lab)
    except Exception as error:
        case = Case(run.__name__, [f"{type(error).__name__}: {error}"])
    seconds = time.monotonic() - start
    print(f"{'FAILED' if case.failures else 'ok'}: {case.name} ({seconds:.0f} s)", flush=True)
    for failure in case.failures:
        print(f"    {failure}", flush=True)
    return case, seconds


def _lines(path: Path) -> dict[str, str]:
    """Return a page's table line by case."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}


def page(results: list[tuple[str, Case, float]], before: dict[str, str]) -> str:
    """Return the page; cases that were not run keep the line they have."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "conf"], check=False).returncode
    version = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=False).stdout.strip()
    now = f"{datetime.date.today().isoformat()} | {commit}{', changed' if changed else ''}"
    table = dict(before)
    for name, case, seconds in results:
        table[name] = f"| {name} | {case.name} | {len(case.failures)} | {seconds:.0f} | {now} |"
    lines = [
        "# SLURM",
        "",
        "What happens to sweeps on a real SLURM: one node, two CPUs, a partition `low` whose jobs those of `high`",
        "preempt (REQUEUE, 60 s of grace). Every case is a `lensblend train --multirun hydra/launcher=slurm` with the",
        "published network at a sixteenth of its width. 'Equals' means every row of metrics.csv and every bit of",
        "weights, optimizer and learning-rate state of `last.ckpt` and `best.ckpt`. The case `nodes` has two nodes,",
        "virtual ones: two more slurmd on the same machine, with a port each, in a partition `pair` like `low`; its",
        "processes compute on the CPU. The last case has no SLURM but two hosts. `make slurm-test` runs all of it.",
        "",
        "| case | what was done, and what happened | failures | seconds | date | commit |",
        "|---|---|---:|---:|---|---|",
    ]
    lines += [table[name] for name in CASES if name in table]
    broken = [(name, text) for name, case, _ in results for text in case.failures]
    if broken:
        lines += ["", "## Failing", "", *(f"- {name}: {text}" for name, text in broken)]
    lines += [
        "",
        f"{version}, {os.cpu_count()} CPU cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}), "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}. The seconds include the uninterrupted runs.",
        "",
        "Not measured here: GPUs, nodes of their own machines, clusters with cgroups or an accounting data base.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
