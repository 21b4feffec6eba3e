"""What a row of the matrix is, and how two trainings are compared."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch

from lensblend.runs.checkpoint_files import newest_valid, read_checkpoint
from lensblend.training.callbacks.weight_average import TRAINED
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.loggers.metrics_csv import read_rows

PHASES = ("phase1", "phase2", "phase3")


@dataclass
class Bench:
    """Where the cases run and how many of them.

    Attributes:
        folder: A scratch folder on the file system under test.
        seed: Of every random choice; printed, so that a failure can be repeated.
        full: The published counts; otherwise a few of each.
        rewrite: Write the pages that rows compare themselves with.
    """

    folder: Path
    seed: int = 0
    full: bool = False
    rewrite: bool = False

    def random(self, *key: object) -> Random:
        """Return a case's own random numbers."""
        return Random("/".join(map(str, (self.seed, *key))))

    def fresh(self, name: str) -> Path:
        """Return an empty place for a run."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(f"{path.name}.log").unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass
class Case:
    """One check of a row: its name, and what went wrong, empty where nothing did; ``count`` where it is many alike."""

    name: str
    failures: list[str] = field(default_factory=list)
    count: int = 1


@dataclass(frozen=True)
class Row:
    """One row of the matrix.

    Attributes:
        id: As in the matrix.
        what: What is done.
        passes: When a case passes.
        cases: Runs them.
    """

    id: str
    what: str
    passes: str
    cases: Callable[[Bench], Iterator[Case]]


def expect(*checks: tuple[bool, str]) -> list[str]:
    """Return the texts of the checks that do not hold."""
    return [text for holds, text in checks if not holds]


def side_by_side(jobs: Sequence[Callable[[], Case]], at_once: int = 2) -> Iterator[Case]:
    """Run cases, a few at once, and yield each as it is done; a case that raises has failed."""

    def guarded(job: Callable[[], Case]) -> Case:
        try:
            return job()
        except Exception as error:
            return Case(getattr(job, "__name__", "case"), [f"{type(error).__name__}: {error}"])

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(guarded, jobs)


def differences(run: Path, reference: Path, phases: Sequence[str]) -> list[str]:
    """Say in what a run differs from another: losses step by step, and the state after each phase, bit by bit."""
    found = []
    ours, theirs = ([r for r in read_rows(p / "metrics.csv") if r["phase"] in phases] for p in (run, reference))
    if [(r["phase"], r["step"]) for r in ours] != [(r["phase"], r["step"]) for r in theirs]:
        found.append(f"metrics.csv has {len(ours)} rows, not {len(theirs)}, or others")
    else:
        wrong = [f"{a['phase']} step {a['step']}" for a, b in zip(ours, theirs, strict=True) if a != b]
        if wrong:
            found.append(f"{len(wrong)} rows of metrics.csv differ, first {wrong[0]}")
    for phase in phases:
        files = [f"{phase}/{name}" for name in ("last.ckpt", "best.ckpt")]
        found += [f"{file} differs" for file in files if digest(run / file) != digest(reference / file)]
    return found


def digest(path: Path) -> str:
    """Return a SHA-256 of a checkpoint's weights, optimizer and learning-rate state and position."""
    content = read_checkpoint(path)
    told = hashlib.sha256()
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch", TRAINED):
        _tell(content.get(key), told)
    return told.hexdigest()


def _tell(node: Any, told: Any) -> None:
    if isinstance(node, torch.Tensor):
        told.update(node.detach().contiguous().numpy().tobytes())
    elif isinstance(node, dict):
        for key, value in node.items():
            told.update(str(key).encode())
            _tell(value, told)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _tell(value, told)
    else:
        told.update(repr(node).encode())


def checkpoints_are_whole(run: Path) -> list[str]:
    """Say which checkpoints under a folder cannot be loaded."""
    found = []
    for path in filter(Path.is_file, run.rglob("*.ckpt")):
        try:
            AtomicCheckpointIO().load_checkpoint(path)
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def position(run: Path, phase: str) -> int:
    """Return the step of the checkpoint that a restart goes on from; -1 where there is none."""
    path, _ = newest_valid(run / phase)
    return -1 if path is None else int(read_checkpoint(path)["global_step"])
