"""R20 to R22: phases made longer, steps of another kind after a restart, and consent that holds for one command."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from functools import partial
from itertools import groupby, product
from pathlib import Path

from lensblend.training.loggers.metrics_csv import read_rows
from reliability.children import train
from reliability.resumes import signal_in_step, tidy
from reliability.rows import Bench, Case, digest, expect, position, side_by_side

ONE = ("schedule.run=[phase1]", "schedule.every_phase.lr_path=constant", "loader.num_workers=0")
EPOCHS = "schedule.every_phase.max_epochs"
STEPS = ("schedule.every_phase.max_epochs=null", "schedule.phases.phase1.max_epochs=null")
TO = "schedule.phases.phase1.max_steps"
# How long at first, and then; ten steps are an epoch.
LENGTHS = {
    "2 epochs, finished": ([f"{EPOCHS}=2"], [f"{EPOCHS}=4"]),
    "2 epochs, stopped within the second": ([f"{EPOCHS}=2"], [f"{EPOCHS}=4"]),
    "13 steps, finished within an epoch": ([*STEPS, f"{TO}=13"], [*STEPS, f"{TO}=40"]),
}


def extended(bench: Bench) -> Iterator[Case]:
    """R20: lengths × processes × data workers."""
    everything = list(product(LENGTHS, (1, 2), (0, 2)))
    chosen = everything if bench.full else [everything[8]]
    for world in sorted({world for _, world, _ in chosen}):
        whole = bench.fresh(f"r20-whole-{world}")
        if train(whole, *_limited(world), f"{EPOCHS}=4", world=world).wait() != 0:
            raise RuntimeError(f"the whole run failed: {whole}.log")
        jobs = [partial(_extend, bench, whole, *case) for case in chosen if case[1] == world]
        yield from side_by_side(jobs, at_once=2 if world == 1 else 1)


def _limited(world: int) -> list[str]:
    return [*ONE, f"loader.limit_train={20 * world}"]


def _extend(bench: Bench, whole: Path, length: str, world: int, workers: int) -> Case:
    case = Case(f"{length}, {world} processes, {workers} workers")
    run = bench.fresh(f"r20-{world}-{workers}-{list(LENGTHS).index(length)}")
    first, then = LENGTHS[length]
    common = [*_limited(world), f"loader.num_workers={workers}"]
    stops = "stopped" in length
    here = partial(signal_in_step, "phase1", 14, signal.SIGTERM) if stops else None
    began = train(run, *common, *first, world=world, before=here).wait()
    code = train(run, *common, *then, world=world).wait()
    again = train(run, *common, *then, world=world).wait()
    ours, theirs = (_losses(path) for path in (run, whole))
    case.failures = expect(
        (began == (143 if stops else 0), f"exit code {began} at first; see {run}.log"),
        (code == again == 0, f"exit codes {code}, {again} when it goes on; see {run}.log"),
        (ours == theirs, f"{len(ours)} losses and rates, not the {len(theirs)} of the whole run, or others"),
    )
    if not case.failures and digest(run / "phase1" / "last.ckpt") != digest(whole / "phase1" / "last.ckpt"):
        case.failures.append("last.ckpt differs")
    return tidy(run, case)


def _losses(run: Path) -> list[tuple[str, str, str]]:
    return [(row["step"], row["train/loss"], row["lr"]) for row in read_rows(run / "metrics.csv") if "lr" in row]


# What a step is made of after the restart, batches of 2 before: the key, its value, processes, steps of an epoch.
CHANGES = {
    "batches of 4": ("schedule.every_phase.batch_size", "=4", 1, 5),
    "batches of 1": ("schedule.every_phase.batch_size", "=1", 1, 20),
    "two batches accumulated": ("trainer.accumulate_grad_batches", "=2", 1, 5),
    "two processes": ("trainer", ".devices=2", 2, 5),
}


def other_steps(bench: Bench) -> Iterator[Case]:
    """R21: stops × changes; the rate is that of the place in the epochs, by the cosine written out."""
    everything = list(product((7, 10, 13), CHANGES))
    chosen = everything if bench.full else [everything[0]]
    jobs = [partial(_other_steps, bench, *case) for case in chosen]
    yield from side_by_side(jobs)


def _other_steps(bench: Bench, stop: int, change: str) -> Case:
    case = Case(f"after step {stop}, {change}")
    run = bench.fresh(f"r21-{stop}-{list(CHANGES).index(change)}")
    common = ["schedule.run=[phase1]", "loader.num_workers=0", "schedule.phases.phase1.lr=1e-2"]
    common += ["schedule.phases.phase1.lr_final=1e-3"]
    first = train(run, *common, before=partial(signal_in_step, "phase1", stop - 1, signal.SIGTERM)).wait()
    key, value, world, per_epoch = CHANGES[change]
    override = f"+{key}{value}" if "accumulate" in key else f"{key}{value}"
    code = train(run, *common, override, f"resume_overrides=[{key}]", world=world).wait()
    rows = [row for row in read_rows(run / "metrics.csv") if "lr" in row and int(row["step"]) >= stop]
    case.failures = expect(
        (first == 143, f"exit code {first} at the stop"), (code == 0, f"exit code {code}; see {run}.log")
    )
    for epoch, found in groupby(rows, key=lambda row: int(row["epoch"])):
        rates = [float(row["lr"]) for row in found]
        wanted = [_cosine((epoch * per_epoch + n) / (3 * per_epoch - 1)) for n in range(per_epoch)]
        if "accumulated" in change and epoch == stop // 10:
            wanted = wanted[-len(rates) :]  # its batches are the same as before, and are not trained again
        if not all(map(partial(math.isclose, rel_tol=1e-6), rates, wanted)) or len(rates) != len(wanted):
            case.failures.append(f"epoch {epoch} has the rates {rates}, not {wanted}")
    if not case.failures and not math.isclose(float(rows[-1]["lr"]), 1e-3, rel_tol=1e-6):
        case.failures.append(f"the last rate is {rows[-1]['lr']}")
    return tidy(run, case)


def _cosine(share: float) -> float:
    return 1e-3 + 9e-3 * 0.5 * (1 + math.cos(math.pi * share))


CONSENTS = {
    "schedule.phases.phase1.lr": ("1e-2", "1e-4"),
    "loader.flips": ("none", "horizontal"),
    "schedule.every_phase.batch_size": ("1", "4"),
    "seed": ("1", "2"),
}


def consent(bench: Bench) -> Iterator[Case]:
    """R22: keys that an earlier command allowed to change."""
    chosen = list(CONSENTS) if bench.full else list(CONSENTS)[:1]
    yield from side_by_side([partial(_consent, bench, key) for key in chosen])


def _consent(bench: Bench, key: str) -> Case:
    case = Case(key)
    run = bench.fresh(f"r22-{list(CONSENTS).index(key)}")
    common = ["schedule.run=[phase1]", "loader.num_workers=0"]
    one, other = CONSENTS[key]
    stopping = [partial(signal_in_step, "phase1", step, signal.SIGTERM) for step in (3, 6)]
    codes = [train(run, *common, before=stopping[0]).wait()]
    codes.append(train(run, *common, f"{key}={one}", f"resume_overrides=[{key}]", before=stopping[1]).wait())
    before = position(run, "phase1"), (run / "config.yaml").read_text()
    codes.append(train(run, *common, f"{key}={other}").wait())
    untouched = before == (position(run, "phase1"), (run / "config.yaml").read_text())
    codes.append(train(run, *common, f"{key}={one}").wait())
    case.failures = expect(
        (codes == [143, 143, 2, 0], f"exit codes {codes}, not [143, 143, 2, 0]; see {run}.log"),
        (untouched, "what was refused has changed the run"),
    )
    return tidy(run, case)
