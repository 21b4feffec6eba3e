"""Start trainings and sweeps as a user does, ask SLURM about them, and wait for what they do; everything bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST = 900.0
# 36 steps an epoch, a twentieth to a tenth of a second each.
TRAINING = (
    "experiment=demo",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "callbacks.panels=null",
    "schedule.run=[phase1]",
    "loader.limit_val=4",
    "trainer.log_every_n_steps=4",
)


def cluster(verb: str, environment: Mapping[str, str]) -> None:
    """Start or stop the cluster."""
    subprocess.run([CHECKOUT / "tests/slurm/cluster", verb], env=dict(environment), check=True, timeout=120)


class Lab:
    """Where the cases run.

    Args:
        folder: Receives the runs, their logs and the cluster.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._references: dict[tuple[str, ...], Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        # Equal sums need equal numbers of threads.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "PYTHONPATH": str(CHECKOUT / "src"),
            "SLURM_CONF": str(folder / "cluster/slurm.conf"),
            "SLURM_TEST_FOLDER": str(folder / "cluster"),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "HYDRA_FULL_ERROR": "0",
        }

    def reference(self, *overrides: str) -> Path:
        """Return the folder of an uninterrupted training without SLURM, trained at the first call."""
        if overrides not in self._references:
            folder = self.folder / f"reference-{len(self._references)}"
            started = self.start(folder.with_suffix(".log"), *TRAINING, *overrides, f"run_dir={folder}")
            if started.wait(LONGEST) != 0:
                raise RuntimeError(f"the reference failed, see {folder}.log")
            self._references[overrides] = folder
        return self._references[overrides]

    def sweep(self, name: str, *overrides: str) -> tuple[Started, Path]:
        """Start a sweep on the cluster, and return it and its folder."""
        folder = self.folder / name
        common = ("--multirun", "hydra/launcher=slurm", f"hydra.sweep.dir={folder}", *TRAINING)
        if not any(override.startswith("hydra.launcher.timeout_min") for override in overrides):
            common = (*common, "hydra.launcher.timeout_min=60")
        return self.start(folder.with_suffix(".log"), *common, *overrides), folder

    def start(self, log: Path, *overrides: str, prefix: Sequence[str] = (), **variables: str) -> Started:
        """Start ``lensblend train``."""
        command = [*prefix, sys.executable, "-m", "lensblend.cli.train", *overrides]
        return Started(command, log, {**self.environment, **variables})

    def ask(self, *command: str) -> str:
        """Return what one of SLURM's commands prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def job(self, name: str) -> dict[str, str]:
        """Return what SLURM knows of a job."""
        return dict(pair.split("=", 1) for pair in self.ask("scontrol", "show", "job", name).split() if "=" in pair)

    def submitted(self, folder: Path) -> str:
        """Return what SLURM calls the first job of a sweep, once it is submitted."""
        wait_for(lambda: (folder / "0/job.log").is_symlink(), f"{folder}/0/job.log")
        return os.readlink(folder / "0/job.log").rsplit("/", 1)[-1].removesuffix("_0_log.out")

    def trains(self, folder: Path, rows: int) -> None:
        """Wait until a training has written rows of metrics.csv."""
        file = folder / "metrics.csv"
        wait_for(lambda: file.exists() and len(file.read_text().splitlines()) > rows, f"{rows} rows of {file}")


class Started:
    """A process group of ours.

    Args:
        command: What to start.
        log: Receives what it prints; what is there stays.
        environment: Its.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=CHECKOUT, stdout=file, stderr=file, start_new_session=True
            )

    def wait(self, seconds: float = LONGEST) -> int:
        """Return the exit code; what takes too long is killed, with what it started."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise


def wait_for(holds: Callable[[], Any], what: str, seconds: float = LONGEST) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} after {seconds:.0f} s")
        time.sleep(0.2)


def status(folder: Path) -> dict[str, Any]:
    """Return a run's status.json."""
    content: dict[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    return content
