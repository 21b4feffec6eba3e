"""R2 and R4: stop with a signal, go on with the same command, and compare with a run that was not stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.restoration import Restoration
from lensblend.training.runner import Training
from reliability.children import train
from reliability.rows import PHASES, Bench, Case, differences, expect, position, side_by_side

SAVE_POINTS = (1, 7, 10, 13, 17, 20, 29)
MOMENTS = ("train", "validation", "save", "phase change")


def reference(bench: Bench, world: int) -> Path:
    """Train without a stop, once; keep what the folder held before each phase, and return the whole run."""
    whole = bench.folder / f"reference-{world}"
    if not (whole.with_name(f"{whole.name}-phase3") / "status.json").exists():
        bench.fresh(whole.name)
        for number, phase in enumerate(PHASES):
            shutil.copytree(whole, whole.with_name(f"{whole.name}-{phase}")) if number else None
            code = train(whole, *_arguments(PHASES[: number + 1], world), world=world).wait()
            if code != 0:
                raise RuntimeError(f"the uninterrupted run failed: {whole}.log")
    return whole


def _arguments(phases: tuple[str, ...], world: int, workers: int = 0) -> list[str]:
    # Ten steps an epoch, whatever the number of processes.
    return [f"schedule.run=[{','.join(phases)}]", f"loader.limit_train={20 * world}", f"loader.num_workers={workers}"]


def exact_resume(bench: Bench) -> Iterator[Case]:
    """R2: save points × workers × processes × phases."""
    everything = [(p, w, n, s) for n in (1, 2) for w in (0, 2) for p in range(3) for s in SAVE_POINTS]
    chosen = everything if bench.full else [(0, 0, 1, 7), (1, 2, 1, 10), (2, 0, 1, 29), (1, 0, 2, 13)]
    for world in (1, 2):
        reference(bench, world)
    for world in (1, 2):
        jobs = [partial(_stop_at, bench, *case) for case in chosen if case[2] == world]
        yield from side_by_side(jobs, at_once=2 if world == 1 else 1)


def _stop_at(bench: Bench, phase: int, workers: int, world: int, step: int) -> Case:
    case = Case(f"{PHASES[phase]}, step {step}, {workers} workers, {world} processes")
    whole = reference(bench, world)
    run = bench.fresh(f"r2-{phase}-{workers}-{world}-{step}")
    if phase:
        shutil.copytree(whole.with_name(f"{whole.name}-{PHASES[phase]}"), run)
    arguments = _arguments(PHASES[: phase + 1], world, workers)
    here = partial(signal_in_step, PHASES[phase], step - 1, signal.SIGTERM)
    stopped = train(run, *arguments, world=world, before=here).wait()
    reached = position(run, PHASES[phase])
    code = train(run, *arguments, world=world).wait()
    case.failures = expect(
        (stopped == 143, f"exit code {stopped} at the stop, not 143"),
        (reached == step, f"stopped at step {reached}, not {step}"),
        (code == 0, f"exit code {code} after the restart; see {run}.log"),
    )
    if not case.failures:
        case.failures = differences(run, whole, PHASES[: phase + 1])
    return tidy(run, case)


def tidy(run: Path, case: Case) -> Case:
    """Remove the run of a case that passed."""
    if not case.failures:
        shutil.rmtree(run)
    return case


def interruption(bench: Bench) -> Iterator[Case]:
    """R4: signal × moment, some with data workers and to the whole process group."""
    signals = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    everything = [(s, m) for s in signals for m in MOMENTS]
    chosen = everything if bench.full else [everything[0], everything[5], everything[10], everything[3]]
    reference(bench, 1)
    jobs: list[Callable[[], Case]] = [partial(_interrupt, bench, *case) for case in chosen]
    yield from side_by_side([*jobs, partial(_interrupt_twice, bench)])


def _interrupt(bench: Bench, number: signal.Signals, moment: str) -> Case:
    case = Case(f"{number.name} in {moment}")
    whole = reference(bench, 1)
    run = bench.fresh(f"r4-{number.name}-{moment.replace(' ', '-')}")
    # Ctrl-C and a cluster reach the whole group, data workers as well.
    group = number == signal.SIGINT
    arguments = _arguments(PHASES, 1, workers=2 if group else 0)
    child = train(run, *arguments, before=partial(_signal_at, moment, number, group))
    stopped = child.wait()
    left = [p for p in os.listdir("/proc") if p.isdigit() and _group_of(int(p)) == child.pids[0]]
    steps = {"train": 5, "validation": 10, "save": 4, "phase change": 30}
    reached = position(run, "phase1")
    code = train(run, *_arguments(PHASES, 1)).wait()
    case.failures = expect(
        (stopped == 143, f"exit code {stopped}, not 143"),
        (not left, f"processes left: {left}"),
        (steps[moment] <= reached <= steps[moment] + 1, f"saved step {reached}, signal in step {steps[moment]}"),
        (code == 0, f"exit code {code} after the restart; see {run}.log"),
    )
    if not case.failures:
        case.failures = differences(run, whole, PHASES)
    return tidy(run, case)


def _interrupt_twice(bench: Bench) -> Case:
    case = Case("SIGINT twice stops at once, and the restart is exact")
    whole = reference(bench, 1)
    run = bench.fresh("r4-twice")
    stopped = train(run, *_arguments(PHASES, 1), before=partial(_signal_at, "train", signal.SIGINT, False, 2)).wait()
    reached = position(run, "phase1")
    code = train(run, *_arguments(PHASES, 1)).wait()
    case.failures = expect(
        (stopped == 143, f"exit code {stopped}, not 143"),
        (reached == 4, f"saved step {reached}: nothing is saved after step 4, where the schedule saved"),
        (code == 0, f"exit code {code} after the restart; see {run}.log"),
    )
    if not case.failures:
        case.failures = differences(run, whole, PHASES)
    return tidy(run, case)


def _group_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return 0 if fields[0] == "Z" else int(fields[2])
    except OSError:
        return 0


def before_call(owner: type, name: str, act: Callable[..., object]) -> None:
    """In this process, let ``act`` run before each call of a method, with the method's arguments."""
    original = getattr(owner, name)

    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        act(self, *arguments, **options)
        return original(self, *arguments, **options)

    setattr(owner, name, method)


def signal_in_step(phase: str, step: int, number: int) -> None:
    """Let this process get a real signal in a step, which `step` others precede."""

    def act(module: Restoration, *_: Any) -> None:
        trainer = module.trainer
        if trainer.global_rank == 0 and trainer.global_step == step and module.record["phase"] == phase:
            os.kill(os.getpid(), number)

    before_call(Restoration, "training_step", act)


def _signal_at(moment: str, number: int, group: bool, times: int = 1) -> None:
    """Let this process, or its group, get a real signal at a moment of phase 1."""
    left = list(range(times))

    def act(owner: Any, *arguments: Any, **_: Any) -> None:
        here = {
            "train": lambda: owner.trainer.global_step == 4,
            "validation": lambda: arguments[1] == 1,
            "save": lambda: True,
            "phase change": lambda: arguments[0] == "phase2",
        }[moment]
        while left and here():
            left.pop()
            os.killpg(0, number) if group else os.kill(os.getpid(), number)

    owner, name = {
        "train": (Restoration, "training_step"),
        "validation": (Restoration, "validation_step"),
        "save": (AtomicCheckpointIO, "save_checkpoint"),
        "phase change": (Training, "_module"),
    }[moment]
    before_call(owner, name, act)
