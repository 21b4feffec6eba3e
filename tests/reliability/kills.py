"""R1 and R3: real `kill -9` of real trainings at random moments."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from lensblend.storage import TEMPORARY
from reliability.children import Child, train
from reliability.resumes import reference, tidy
from reliability.rows import PHASES, Bench, Case, checkpoints_are_whole, differences, expect, position, side_by_side

_OTHER_FILE_SYSTEM = Path("/dev/shm")


def kills_while_saving(bench: Bench) -> Iterator[Case]:
    """R1: a training that saves after every step is killed in a save, again and again."""
    count = 50 if bench.full else 3
    jobs = [partial(_kill_saves, bench, "same", None, count)]
    if _OTHER_FILE_SYSTEM.is_dir():
        jobs.append(partial(_kill_saves, bench, "other", mkdtemp(dir=_OTHER_FILE_SYSTEM), count))
    for cases in side_by_side(jobs):  # type: ignore[arg-type]
        yield from cases if isinstance(cases, list) else [cases]


def _kill_saves(bench: Bench, where: str, temporary_folder: str | None, count: int) -> list[Case]:
    run, random = bench.fresh(f"r1-{where}"), bench.random("r1", where)
    arguments = [
        "schedule.run=[phase1]",
        "schedule.every_phase.max_epochs=1000",
        "schedule.every_phase.validate_every=100",
        "checkpoint.every_steps=1",
        "backbone.width_divisor=4",
    ]
    cases: list[Case] = []
    left: list[Path] = []
    for number in range(count):
        child = train(run, *arguments, env={"TMPDIR": temporary_folder} if temporary_folder else None)
        delay = random.uniform(0, 0.03)
        _wait_for_save(child, run / "phase1", left, random.randint(2, 8))
        stale = [p.name for p in left if p.exists()]
        time.sleep(delay)
        child.kill()
        code = child.wait()
        left = list((run / "phase1").glob(f".*{TEMPORARY}"))
        failures = expect(
            (code == -signal.SIGKILL, f"ended with {code} before it was killed; see {run}.log"),
            (not stale, f"temporaries of the process before are still there: {stale}"),
            (position(run, "phase1") >= 1, "no valid checkpoint"),
        )
        name = f"TMPDIR on the {where} file system, kill {number + 1} after {1000 * delay:.1f} ms of a save"
        cases.append(Case(name, failures + checkpoints_are_whole(run)))
    return cases


def _wait_for_save(child: Child, folder: Path, old: list[Path], number: int) -> None:
    """Return in the middle of the given save after the process has started."""
    seen: set[Path] = set(old)
    while len(seen) - len(old) < number and child.poll() is None:
        seen.update(folder.glob(f".last.ckpt.*{TEMPORARY}"))


def kills_of_a_whole_run(bench: Bench) -> Iterator[Case]:
    """R3: three phases, killed three times on the way, the same command until done."""
    whole = reference(bench, 1)
    jobs = [partial(_kill_run, bench, whole, number) for number in range(20 if bench.full else 2)]
    yield from side_by_side(jobs)


def _kill_run(bench: Bench, whole: Path, number: int) -> Case:
    run, random = bench.fresh(f"r3-{number}"), bench.random("r3", number)
    arguments = ("schedule.run=[phase1,phase2,phase3]", "loader.num_workers=0")
    # Moments over the whole run: the steps that have been saved, and a random time after that.
    moments = sorted((random.randint(0, 82), random.uniform(0, 0.4)) for _ in range(3))
    where, codes = [], []
    for steps, delay in moments:
        child = train(run, *arguments)
        while child.poll() is None and _steps_saved(run) < steps:
            time.sleep(0.01)
        time.sleep(delay)
        child.kill()
        codes.append(child.wait())
        where.append(f"{steps} steps + {delay:.2f} s")
    code = train(run, *arguments).wait()
    case = Case(f"run {number + 1}, killed after {', '.join(where)}")
    case.failures = expect(
        (all(code == -signal.SIGKILL for code in codes), "a process had ended before it was killed"),
        (code == 0, f"exit code {code} of the last start; see {run}.log"),
        (not list(run.rglob(f".*{TEMPORARY}")), "temporaries are left"),
    )
    if not case.failures:
        case.failures = differences(run, whole, PHASES)
    return tidy(run, case)


def _steps_saved(run: Path) -> int:
    try:
        phases = json.loads((run / "status.json").read_text())["phases"]
    except FileNotFoundError:
        return 0
    return sum(phase["step"] for phase in phases.values())
