"""R12: sweeps of real trainings, with jobs that fail, jobs that are killed and launchers that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lensblend.launchers.jobs import read_status
from reliability.resumes import tidy
from reliability.rows import Bench, Case, differences, expect

PHASES = ("phase1", "phase2")
TINY = (
    "experiment=demo",
    "debug=smoke",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "schedule.run=[phase1,phase2]",
    "schedule.every_phase.max_epochs=3",
    "loader.limit_train=20",
    "loader.limit_val=6",
    "callbacks.panels=null",
    "checkpoint.every_steps=4",
    "logger=wandb",
)
SEEDS = "seed=1,2"


def sweeps(bench: Bench) -> Iterator[Case]:
    """R12: devices × launcher × what happens, then list-valued kernels with mixed devices, and other launchers."""
    yield _mixed(bench)
    combinations = [(devices, slots) for devices in (1, 2) for slots in (1, 2)] if bench.full else [(2, 2)]
    events = (_all_done, _one_fails, _job_killed, _launcher_killed) if bench.full else (_job_killed,)
    for devices, slots in combinations:
        for event in events:
            yield event(bench, devices, slots)
    if bench.full:
        yield _ctrl_c(bench)
        yield _in_process(bench, "seed=1,2", 0)
        yield _in_process(bench, "schedule.every_phase.lr=1e-3,1e30", 1)
        yield _in_process_refused(bench)


class _Sweep:
    """A sweep that was started from a command line, in a folder."""

    def __init__(self, folder: Path, *overrides: str, devices: int = 1, slots: int | None = 1) -> None:
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}.log").open("ab")
        launcher = [] if slots is None else [f"hydra.launcher.slots={slots}"]
        trainer = ["trainer=ddp_cpu" if devices > 1 else "trainer=cpu"]
        command = [sys.executable, "-m", "lensblend.cli.train", "--multirun", *TINY, *trainer, *overrides, *launcher]
        # One thread each, so that results do not depend on how many jobs run at once.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HYDRA_FULL_ERROR": "0"}
        self.process = subprocess.Popen(
            [*command, f"hydra.sweep.dir={folder}"], stdout=self._log, stderr=subprocess.STDOUT, env=environment
        )

    def wait(self, seconds: float = 600.0) -> int:
        code = self.process.wait(seconds)
        self._log.close()
        return code

    @property
    def output(self) -> str:
        return self.folder.with_name(f"{self.folder.name}.log").read_text(encoding="utf-8", errors="replace")

    def states(self) -> list[str]:
        return [read_status(self.folder / job).get("state", "") for job in self.jobs()]

    def jobs(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if (path / "status.json").exists())

    def faults(self, jobs: int) -> list[str]:
        """Say what is wrong with the folders, the W&B runs and the processes of a sweep that has come to its end."""
        found = expect((len(self.jobs()) == jobs, f"{len(self.jobs())} folders for {jobs} jobs"))
        ids = [path.read_text().strip() for path in self.folder.glob("*/*/wandb_id")]
        found += expect((len(set(ids)) == len(ids), "two phases share a W&B run"))
        for job in self.jobs():
            runs = {path.name.rpartition("-")[2] for path in (self.folder / job).glob("wandb/offline-run-*")}
            own = {path.read_text().strip() for path in (self.folder / job).glob("*/wandb_id")}
            found += expect((runs == own, f"job {job} has W&B runs {sorted(runs)}, its phases {sorted(own)}"))
        left = processes_of(self.folder)
        return found + expect((not left, f"left behind: {left}"))


def processes_of(folder: Path, seconds: float = 60.0) -> list[str]:
    """Return the command lines that name a folder, of processes that do not end by themselves in good time."""
    until = time.monotonic() + seconds
    found: dict[int, str] = {}
    while time.monotonic() < until:
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (OSError, ValueError):
                continue
            if entry.name.isdigit() and f"{folder}" in line:
                found[int(entry.name)] = line.strip()
        if not found:
            return []
        time.sleep(0.2)
    return list(found.values())


def _reference(bench: Bench, devices: int) -> Path:
    """Return a sweep of the same jobs that nothing happened to."""
    folder = bench.folder / f"r12-reference-{devices}"
    if not folder.exists():
        sweep = _Sweep(folder, SEEDS, devices=devices)
        if sweep.wait() != 0:
            raise RuntimeError(f"the undisturbed sweep failed; see {folder}.log")
    return folder


def _like_the_reference(bench: Bench, sweep: _Sweep, devices: int) -> list[str]:
    reference = _reference(bench, devices)
    return [
        f"job {job}: {difference}"
        for job in ("0", "1")
        for difference in differences(sweep.folder / job, reference / job, PHASES)
    ]


def _case(bench: Bench, what: str, devices: int, slots: int) -> tuple[Case, Path]:
    case = Case(f"{what}, {devices} process{'es' * (devices > 1)} a job, {slots} job{'s' * (slots > 1)} at once")
    return case, bench.fresh(f"r12-{what.replace(' ', '-')}-{devices}-{slots}")


def _all_done(bench: Bench, devices: int, slots: int) -> Case:
    case, folder = _case(bench, "all done", devices, slots)
    sweep = _Sweep(folder, SEEDS, devices=devices, slots=slots)
    code = sweep.wait()
    case.failures = expect((code == 0, f"exit code {code}; see {folder}.log"))
    case.failures += sweep.faults(2) + _like_the_reference(bench, sweep, devices)
    return tidy(folder, case)


def _one_fails(bench: Bench, devices: int, slots: int) -> Case:
    case, folder = _case(bench, "one fails", devices, slots)
    sweep = _Sweep(folder, "schedule.every_phase.lr=1e-3,1e30,2e-3", devices=devices, slots=slots)
    code = sweep.wait()
    states = sweep.states()
    case.failures = expect(
        (code == 1, f"exit code {code}; see {folder}.log"),
        (states[0] == states[2] == "done", f"states {states}"),
        (states[1] != "done", "the failing job counts as done"),
        ("1 of 3 jobs failed" in sweep.output, f"the failure is not said; see {folder}.log"),
    )
    case.failures += sweep.faults(3)
    return tidy(folder, case)


def _job_killed(bench: Bench, devices: int, slots: int) -> Case:
    case, folder = _case(bench, "a job killed and the sweep resumed", devices, slots)
    sweep = _Sweep(folder, SEEDS, devices=devices, slots=slots)
    _wait_for_steps(sweep, "1", bench.random(case.name).randrange(4, 16))
    os.kill(_pid_of(folder / "1"), signal.SIGKILL)
    code = sweep.wait()
    states = sweep.states()
    case.failures = expect(
        (code == 1, f"exit code {code}; see {folder}.log"),
        (states[0] == "done" and states[1] != "done", f"states {states} after the kill"),
        ("killed by SIGKILL" in sweep.output, f"the kill is not said; see {folder}.log"),
    )
    case.failures += sweep.faults(2) + _resumed(bench, folder, devices, slots, before=1)
    return tidy(folder, case)


def _launcher_killed(bench: Bench, devices: int, slots: int) -> Case:
    case, folder = _case(bench, "the launcher killed and the sweep resumed", devices, slots)
    sweep = _Sweep(folder, SEEDS, devices=devices, slots=slots)
    _wait_for_steps(sweep, "0", bench.random(case.name).randrange(4, 16))
    sweep.process.kill()
    sweep.wait()
    left = processes_of(folder)
    state = read_status(folder / "0").get("state")
    case.failures = expect((not left, f"left behind: {left}"), (state == "interrupted", f"job 0 is {state}"))
    case.failures += _resumed(bench, folder, devices, slots)
    return tidy(folder, case)


def _ctrl_c(bench: Bench) -> Case:
    case, folder = _case(bench, "Ctrl-C and the sweep resumed", 2, 2)
    sweep = _Sweep(folder, SEEDS, devices=2, slots=2)
    _wait_for_steps(sweep, "0", 6)
    sweep.process.send_signal(signal.SIGINT)
    code = sweep.wait()
    case.failures = expect(
        (code == 143, f"exit code {code}; see {folder}.log"),
        ("hydra.launcher.resume=true" in sweep.output, f"how to go on is not said; see {folder}.log"),
        ("done" not in sweep.states(), f"states {sweep.states()}"),
    )
    left = processes_of(folder)
    case.failures += expect((not left, f"left behind: {left}")) + _resumed(bench, folder, 2, 2)
    return tidy(folder, case)


def _resumed(bench: Bench, folder: Path, devices: int, slots: int, before: int = 0) -> list[str]:
    """Go on with a sweep and say what is wrong then; ``before`` jobs were done already."""
    sweep = _Sweep(folder, SEEDS, "hydra.launcher.resume=true", devices=devices, slots=slots)
    code = sweep.wait()
    again = sweep.output.count("done before") // 2  # said once, and once in the table
    failures = expect(
        (code == 0, f"exit code {code} of the second start; see {folder}.log"),
        (again == before, f"{again} jobs were left out as done, not {before}; see {folder}.log"),
    )
    return failures + sweep.faults(2) + _like_the_reference(bench, sweep, devices)


def _mixed(bench: Bench) -> Case:
    case = Case("list-valued kernels × 2, 1, 2 processes, 2 jobs at once: one folder, W&B run and kernel set each")
    folder = bench.fresh("r12-mixed")
    kernels = ["kernels.sizes=[25,45],[75]"] if bench.full else ["kernels.sizes=[25,45]"]
    sweep = _Sweep(folder, "trainer.devices=2,1,2", *kernels, "seed=3", devices=2, slots=2)
    code = sweep.wait()
    count = 6 if bench.full else 3
    case.failures = expect((code == 0, f"exit code {code}; see {folder}.log")) + sweep.faults(count)
    seen = [_read(folder / job) for job in sweep.jobs()]
    wanted = [(devices, sizes) for devices in (2, 1, 2) for sizes in ([25, 45], [75])[: count // 3]]
    case.failures += expect((seen == wanted, f"trained {seen}, not {wanted}"))
    return tidy(folder, case)


def _read(run: Path) -> tuple[int, list[int]]:
    import yaml

    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return config["trainer"]["devices"], config["kernels"]["sizes"]


def _in_process(bench: Bench, values: str, wanted: int) -> Case:
    case = Case(f"hydra/launcher=basic: {values}, exit code {wanted}")
    folder = bench.fresh(f"r12-basic-{wanted}")
    sweep = _Sweep(folder, "hydra/launcher=basic", values, slots=None)
    code = sweep.wait()
    case.failures = expect((code == wanted, f"exit code {code}; see {folder}.log")) + sweep.faults(2)
    return tidy(folder, case)


def _in_process_refused(bench: Bench) -> Case:
    case = Case("hydra/launcher=basic with 2 processes a job is refused in one sentence")
    folder = bench.fresh("r12-basic-refused")
    sweep = _Sweep(folder, "hydra/launcher=basic", SEEDS, devices=2, slots=None)
    code = sweep.wait()
    case.failures = expect(
        (code == 2, f"exit code {code}; see {folder}.log"),
        ("hydra/launcher=subprocess" in sweep.output, f"no remedy; see {folder}.log"),
        ("Traceback" not in sweep.output, f"a traceback; see {folder}.log"),
        (not any(folder.glob("*/status.json")), "something was trained"),
    )
    return tidy(folder, case)


def _wait_for_steps(sweep: _Sweep, job: str, steps: int) -> None:
    """Wait until a job has logged so many steps in its first phase."""
    file = sweep.folder / job / "metrics.csv"
    _wait(lambda: file.exists() and len(file.read_text().splitlines()) > steps, sweep)


def _wait(condition: Callable[[], bool], sweep: _Sweep, seconds: float = 300.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if sweep.process.poll() is not None or time.monotonic() > until:
            sweep.process.terminate()
            raise TimeoutError(f"the sweep ended or hung before its time; see {sweep.folder}.log")
        time.sleep(0.02)


def _pid_of(run: Path) -> int:
    """Return the process that trains in a folder: the one that holds its lock."""
    words: Sequence[str] = (run / ".lock").read_text().split()
    return int(words[1])
