"""R14: what W&B's offline runs hold after trainings that end, fail, are killed, are requeued, are jobs of a sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lensblend.training.restoration import Restoration
from reliability import tracking_checks as checks
from reliability.children import SMALL, Child, start, train
from reliability.offline_runs import OfflineRun, read_runs
from reliability.resumes import before_call, signal_in_step
from reliability.rows import PHASES, Bench, Case
from reliability.tracking_checks import SECRETS, Recorded

LOGGED = (*(value for value in SMALL if value != "callbacks.panels=null"), "logger=wandb", "loader.num_workers=0")
ONE = "schedule.run=[phase1]"


def offline_runs(bench: Bench) -> Iterator[Case]:
    """R14: twelve checks, each on every training and by both readers."""
    trainings = [_whole(bench), _failing(bench), _stopped_and_requeued(bench)]
    if bench.full:
        trainings += [_killed(bench), _two_processes(bench), *_jobs_of_a_sweep(bench)]
    described: dict[str, checks.Reading] = {
        "a run for each phase, and for each time it was started": checks.counted,
        "ids: one a phase, as its folder says, also after a restart": checks.ids,
        "group: one a training": checks.groups,
        "job type and name: the phase": checks.job_types,
        "tags: what was combined": checks.tags,
        "config: all of config.yaml, the chosen options, the sweep": checks.configs,
        "history: every value of metrics.csv, at its step": checks.histories,
        "summary: best scores, parameters, latency": checks.summaries,
        "images: the same pairs under the same keys, never before training": checks.images,
        "table: the same pairs, their pictures and scores": checks.tables,
        "exit code of success, failure and signals": checks.ends,
        "no secret in any file": checks.no_secrets,
    }
    for name, check in described.items():
        yield Case(f"{name} ({len(trainings)} trainings)", checks.failures_of(check, trainings))


def _train(run: Path, *overrides: str, world: int = 1, before: Callable[[], None] | None = None) -> Child:
    return train(run, *overrides, world=world, env=SECRETS, before=before, small=LOGGED)


def _recorded(
    name: str, folder: Path, codes: list[int], wanted: list[int], phases: tuple[str, ...] = PHASES[:1], **more: Any
) -> Recorded:
    if codes != wanted:
        raise RuntimeError(f"{name}: exit codes {codes}, not {wanted}; see the log beside {folder}")
    runs = read_runs(folder)
    readings = {"own reader": runs, "wandb leet inspect": [read_with_leet(run.path) for run in runs]}
    return Recorded(name, folder, codes, phases, readings, **more)


def _whole(bench: Bench) -> Recorded:
    run = bench.fresh("r14-whole")
    # A value of the configuration that holds a secret: it must be in config.yaml, and in no file of W&B's.
    code = _train(run, "kernels=gaussian_75", "name=${oc.env:HF_TOKEN}").wait()
    return _recorded("three phases", run, [code], [0], PHASES, kernels="gaussian_75")


def _failing(bench: Bench) -> Recorded:
    run = bench.fresh("r14-failing")
    code = _train(run, ONE, before=_spoil_step_12).wait()
    return _recorded("a loss that becomes infinite", run, [code], [1])


def _spoil_step_12() -> None:
    step = Restoration.training_step

    def training_step(self: Restoration, *arguments: Any) -> Any:
        return step(self, *arguments) * (float("inf") if self.trainer.global_step == 12 else 1.0)

    Restoration.training_step = training_step  # type: ignore[method-assign]


def _stopped_and_requeued(bench: Bench) -> Recorded:
    """Stop a training without ``run_dir`` with a signal, as SLURM does, and start the job again."""
    place = bench.fresh("r14-slurm")
    place.mkdir()
    arguments, log = [*LOGGED, ONE], place.with_name("r14-slurm.log")
    job = {**SECRETS, "SLURM_JOB_ID": "4711"}
    codes = []
    for stop in (True, False):

        def before(stop: bool = stop) -> None:
            os.chdir(place)
            if stop:
                signal_in_step("phase1", 6, signal.SIGUSR1)

        codes.append(start(arguments, log, env=job, before=before).wait())
    (folder,) = (place / "outputs" / "train" / "slurm-4711").iterdir()
    return _recorded("a SLURM job, stopped and requeued", folder, codes, [143, 0])


def _killed(bench: Bench) -> Recorded:
    run = bench.fresh("r14-killed")
    # W&B's file is at most a second behind; in the ninth step it catches up.
    child = _train(run, ONE, before=partial(before_call, Restoration, "training_step", _wait_in_step_9))
    while child.poll() is None and not (run / "phase1" / "previous.ckpt").exists():
        time.sleep(0.01)
    time.sleep(5)
    child.kill()
    codes = [child.wait(), _train(run, ONE).wait()]
    return _recorded("killed and started again", run, codes, [-signal.SIGKILL, 0])


def _wait_in_step_9(module: Restoration, *_: Any) -> None:
    if module.trainer.global_step == 8:
        time.sleep(60)


def _two_processes(bench: Bench) -> Recorded:
    run = bench.fresh("r14-two")
    return _recorded("two processes", run, [_train(run, ONE, world=2).wait()], [0])


def _jobs_of_a_sweep(bench: Bench) -> list[Recorded]:
    """Start the jobs as a launcher does that gives each a process of its own."""
    sweep = bench.fresh("r14-sweep")
    jobs = []
    for number, kernels in enumerate(("gaussian_75", "disk_variance")):
        folder = sweep / str(number)
        names = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={sweep}", f"hydra.job.num={number}"]
        arguments = [*LOGGED, ONE, f"kernels={kernels}", *names]
        code = start(arguments, sweep.with_name(f"r14-sweep-{number}.log"), env=SECRETS).wait()
        more = {"kernels": kernels, "job": number}
        jobs.append(_recorded(f"job {number} of a sweep", folder, [code], [0], **more))
    return jobs


def read_with_leet(path: Path) -> OfflineRun:
    """Read a run with W&B's own ``wandb leet inspect``: a second opinion on what the file holds."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    run = OfflineRun(path)
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        record = json.loads(line)
        content = record[record["type"]]
        match record["type"]:
            case "run":
                run.id, run.name, run.project = content["run_id"], content["display_name"], content["project"]
                run.group, run.job_type = content["run_group"], content["job_type"]
                run.tags = content.get("tags", run.tags)  # a later record of the run has them
                run.config = content["config"]["update"]
            case "summary":
                run.summary.update(content["update"])
            case "history":
                run.history.append(content["item"])
            case "artifact":
                files = {file["path"]: Path(file["local_path"]) for file in content["manifest"]["contents"]}
                run.artifacts[content["name"]] = files
            case "exit":
                run.exit_code = content.get("exit_code", 0)
            case "preempting":
                run.preempting = True
    # Nested keys come joined by dots.
    run.history = [_nested(row) for row in run.history]
    run.summary = _nested(run.summary)
    return run


def _nested(flattened: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flattened.items():
        *path, last = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return nested
