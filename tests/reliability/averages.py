"""R24: a training whose weights are averaged is stopped and goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.training.callbacks.weight_average import TRAINED
from lensblend.training.restoration import Restoration
from reliability.children import train
from reliability.resumes import before_call, signal_in_step, tidy
from reliability.rows import Bench, Case, differences, expect, position, side_by_side

PHASES = ("phase1", "phase2")
# What is averaged, processes, data workers, the phase, the step; whether the stop comes within the validation after it.
CASES = (
    ("ema=0.9", 1, 0, "phase1", 7, False),
    ("ema=0.9", 1, 0, "phase1", 20, True),
    ("ema=0.9", 1, 2, "phase2", 10, False),
    ("ema=0.9", 1, 0, "phase2", 29, False),
    ("ema=0.9", 2, 0, "phase1", 13, False),
    ("ema=0.9", 2, 0, "phase2", 7, False),
    ("swa=0.5", 1, 0, "phase1", 25, False),
    ("swa=0.5", 1, 0, "phase2", 30, True),
)


def averages(bench: Bench) -> Iterator[Case]:
    """R24: what is averaged × where it is stopped × processes."""
    chosen = CASES if bench.full else (CASES[1], CASES[4])
    for average, world in dict.fromkeys((case[0], case[1]) for case in chosen):
        _reference(bench, average, world)
        jobs = [partial(_stop_at, bench, *case) for case in chosen if case[:2] == (average, world)]
        yield from side_by_side(jobs, at_once=2 if world == 1 else 1)


def _arguments(average: str, world: int, workers: int = 0) -> list[str]:
    return [
        average,
        "schedule.run=[phase1,phase2]",
        f"loader.limit_train={20 * world}",
        f"loader.num_workers={workers}",
    ]


def _reference(bench: Bench, average: str, world: int) -> Path:
    whole = bench.folder / f"r20-{average.partition('=')[0]}-{world}"
    if not (whole / "status.json").exists() and train(whole, *_arguments(average, world), world=world).wait() != 0:
        raise RuntimeError(f"the uninterrupted run failed: {whole}.log")
    return whole


def _stop_at(bench: Bench, average: str, world: int, workers: int, phase: str, step: int, in_validation: bool) -> Case:
    moment = f"within the validation after step {step}" if in_validation else f"step {step}"
    case = Case(f"{average}, {phase}, {moment}, {workers} workers, {world} processes")
    whole = _reference(bench, average, world)
    run = bench.fresh(f"r20-{average}-{world}-{phase}-{step}")
    before = partial(_signal_in_validation if in_validation else signal_in_step, phase, step - 1, signal.SIGTERM)
    stopped = train(run, *_arguments(average, world, workers), world=world, before=before).wait()
    reached = position(run, phase)
    code = train(run, *_arguments(average, world), world=world).wait()
    case.failures = expect(
        (stopped == 143, f"exit code {stopped} at the stop, not 143"),
        (reached == step, f"stopped at step {reached}, not {step}"),
        (code == 0, f"exit code {code} after the restart; see {run}.log"),
    )
    if not case.failures:
        last = read_checkpoint(run / "phase2" / "last.ckpt")
        same = all(torch.equal(last["state_dict"][name], value) for name, value in last[TRAINED].items())
        case.failures = [*differences(run, whole, PHASES), *(["nothing was averaged"] if same else [])]
    return tidy(run, case)


def _signal_in_validation(phase: str, step: int, number: int) -> None:
    """Let this process get a real signal in the second batch of the validation after so many steps and one more."""

    def act(module: Restoration, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1 and module.trainer.global_step == step + 1 and module.record["phase"] == phase:
            os.kill(os.getpid(), number)

    before_call(Restoration, "validation_step", act)
