"""What is done to sweeps on SLURM, and what must come of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import TRAINING, Lab, status, wait_for

from reliability.rows import Case, differences, expect

EPOCHS = "schedule.phases.phase1.max_epochs"
SHORT, MEDIUM = f"{EPOCHS}=2", f"{EPOCHS}=6"
# SLURM looks at the time every 30 s: in `limit` the signal comes after 30 to 60 s. The training must take longer.
LONG = f"{EPOCHS}=40"
QUEUED_AGAIN = "was told to stop and is queued again"


def sweep(lab: Lab) -> Case:
    """Train three jobs as one array."""
    kernels = ("gaussian_25_45_75", "disk_variance", "gaussian_75")
    started, folder = lab.sweep("sweep", SHORT, f"kernels={','.join(kernels)}")
    name = lab.submitted(folder)
    code = started.wait()
    states = [status(folder / str(n))["state"] for n in range(3)]
    failures = expect(
        (code == 0, f"exit code {code}"),
        (states == ["done"] * 3, f"states {states}"),
        (lab.job(name).get("ArrayTaskId") == "0", "not an array"),
    )
    failures += _equal(folder / "1", lab.reference(SHORT, f"kernels={kernels[1]}"))
    return Case("a sweep of 3 jobs as one array: all done; the second equals a run without SLURM", failures)


def failure(lab: Lab) -> Case:
    """Let one of three jobs fail."""
    broken = lab.folder / "broken.ckpt"
    broken.write_text("not a checkpoint")
    started, folder = lab.sweep("failure", SHORT, f"init_from=null,{broken}", "seed=0,1")
    code = started.wait()
    states = [status(folder / str(n))["state"] for n in range(4)]
    codes = [status(folder / str(n))["exit_code"] for n in range(4)]
    failures = expect(
        (code == 1, f"exit code {code}"),
        (states == ["done", "done", "failed", "failed"], f"states {states}"),
        (codes == [0, 0, 1, 1], f"exit codes {codes}"),
        ("broken.ckpt" in started.log.read_text(), "the reason is not said"),
    )
    return Case(
        "a sweep of 4 jobs of which 2 start from a damaged file: 2 done, 2 failed with exit code 1, as it", failures
    )


def preemption(lab: Lab) -> Case:
    """Let a job of higher priority take the node away."""
    started, folder = lab.sweep("preemption", MEDIUM, "hydra.launcher.partition=low", "logger=wandb")
    name, run = lab.submitted(folder), folder / "0"
    lab.trains(run, 5)
    before = (run / "phase1/wandb_id").read_text()
    urgent = _preempt(lab)
    code = started.wait()
    after, job = (run / "phase1/wandb_id").read_text(), lab.job(name)
    runs = [path.name for path in run.rglob("offline-run-*") if path.is_dir()]
    restarts = int(job.get("Restarts", 0))
    failures = expect(
        (code == 0, f"exit code {code}"),
        (restarts >= 1, "was not preempted"),
        (lab.job(urgent).get("JobState") == "COMPLETED", "the urgent job did not run"),
        (status(run)["state"] == "done", f"status.json says {status(run)['state']}"),
        (before == after, f"W&B's id was {before}, is {after}"),
        (len(runs) > 1 and all(part.endswith(before.strip()) for part in runs), f"W&B's parts: {runs}"),
        (not list((folder).glob("[1-9]*")), "another folder"),
    )
    failures += _equal(run, lab.reference(MEDIUM))
    return Case(
        f"preempted by a job of higher priority: {restarts} new start(s), same folder, {len(runs)} parts of one W&B "
        "run; equals the uninterrupted run",
        failures,
    )


def limit(lab: Lab) -> Case:
    """Give a job less time than it needs."""
    limits = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60")
    started, folder = lab.sweep("limit", LONG, *limits)
    name, run = lab.submitted(folder), folder / "0"
    code = started.wait()
    restarts = int(lab.job(name).get("Restarts", 0))
    log = (run / "job.log").read_text()
    failures = expect(
        (code == 0, f"exit code {code}"),
        (restarts >= 1, "ended before its limit: raise LONG"),
        (log.count(QUEUED_AGAIN) == restarts, f"{log.count(QUEUED_AGAIN)} requeues for {restarts} new starts"),
        ("SIGUSR1" in log, "no SIGUSR1 came"),
        (status(run)["state"] == "done", f"status.json says {status(run)['state']}"),
    )
    failures += _equal(run, lab.reference(LONG))
    return Case(
        f"a time limit of 2 minutes, SIGUSR1 a minute or more before it: {restarts} new start(s), same folder; equals "
        "the uninterrupted run",
        failures,
    )


def cancel(lab: Lab) -> Case:
    """Submit without waiting, cancel, and go on with the sweep."""
    started, folder = lab.sweep("cancel", MEDIUM, "hydra.launcher.wait=false")
    name, run = lab.submitted(folder), folder / "0"
    code = started.wait()
    lab.trains(run, 5)
    lab.ask("scancel", name)
    wait_for(lambda: lab.job(name).get("JobState") == "CANCELLED", "end of the cancelled job")
    between = status(run)["state"]
    failures = expect(
        (code == 0, f"exit code of the submission {code}"),
        (between == "interrupted", f"status.json says {between} after scancel"),
    )
    again, _ = lab.sweep("cancel", MEDIUM, "hydra.launcher.resume=true")
    code = again.wait()
    failures += expect(
        (code == 0, f"exit code of the second start {code}"),
        (lab.job(name).get("JobState") == "CANCELLED", "the cancelled job came back"),
        (lab.submitted(folder) != name, "no new job"),
    )
    failures += _equal(run, lab.reference(MEDIUM))
    waited, _ = lab.sweep("cancelled", MEDIUM)
    name = lab.submitted(lab.folder / "cancelled")
    lab.trains(lab.folder / "cancelled/0", 1)
    lab.ask("scancel", name)
    code = waited.wait()
    failures += expect((code == 143, f"a sweep whose job is cancelled ends with {code}"))
    return Case(
        "`wait=false`, then scancel: interrupted, and SLURM does not start it again; the sweep with `resume=true` ends "
        "it: equals the uninterrupted run. A waiting sweep whose job is cancelled exits with 143",
        failures,
    )


def tasks(lab: Lab) -> Case:
    """Train with two of srun's tasks, preempted."""
    pair = ("trainer=ddp_cpu",)
    started, folder = lab.sweep("tasks", MEDIUM, *pair, "hydra.launcher.partition=low")
    name, run = lab.submitted(folder), folder / "0"
    lab.trains(run, 5)
    _preempt(lab)
    code = started.wait()
    job, log = lab.job(name), (run / "job.log").read_text()
    restarts = int(job.get("Restarts", 0))
    failures = expect(
        (code == 0, f"exit code {code}"),
        (restarts >= 1, "was not preempted"),
        (job.get("NumTasks") == "2" and "MEMBER: 1/2" in log, "not two tasks"),
        (log.count(QUEUED_AGAIN) == restarts, f"{log.count(QUEUED_AGAIN)} requeues for {restarts} new starts"),
    )
    failures += _equal(run, lab.reference(MEDIUM, *pair))
    return Case(
        f"two tasks of srun train together and are preempted: {restarts} new start(s), one requeue each; equals two "
        "processes without SLURM",
        failures,
    )


def nodes(lab: Lab) -> Case:
    """Train on two nodes, of which a job of higher priority takes one away."""
    pair = ("trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2")
    on = ("hydra.launcher.partition=pair", "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']")
    started, folder = lab.sweep("nodes", MEDIUM, "logger=wandb", *pair, *on)
    name, run = lab.submitted(folder), folder / "0"
    lab.trains(run, 5)
    before = (run / "phase1/wandb_id").read_text()
    urgent = _preempt(lab, "--nodelist=right")
    code = started.wait()
    job, log = lab.job(name), (run / "job.log").read_text()
    restarts = int(job.get("Restarts", 0))
    runs = [path.name for path in run.rglob("offline-run-*") if path.is_dir()]
    failures = expect(
        (code == 0, f"exit code {code}"),
        (restarts >= 1, "was not preempted"),
        (lab.job(urgent).get("NodeList") == "right", "the urgent job did not run on the second node"),
        (job.get("NodeList") == "left,right" and job.get("NumTasks") == "2", "not a task on each of two nodes"),
        ("MEMBER: 1/2" in log and "MEMBER: 2/2" not in log, "not two processes with a log each"),
        (log.count(QUEUED_AGAIN) == restarts, f"{log.count(QUEUED_AGAIN)} requeues for {restarts} new starts"),
        (status(run)["state"] == "done", f"status.json says {status(run)['state']}"),
        (not list(folder.glob("[1-9]*")), "another folder"),
        (len(runs) == restarts + 1 and all(part.endswith(before.strip()) for part in runs), f"W&B's parts: {runs}"),
    )
    failures += _equal(run, lab.reference(MEDIUM, "trainer=ddp_cpu"))
    return Case(
        f"`trainer.num_nodes=2`: a task on each of two nodes, one of which is taken away: {restarts} new start(s), one "
        f"requeue each, same folder, {len(runs)} parts of one W&B run; equals two processes without SLURM",
        failures,
    )


def hosts(lab: Lab) -> Case:
    """Train on two hosts with own addresses, without SLURM."""
    run = lab.folder / "hosts"
    overrides = ("trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2", SHORT, f"run_dir={run}")
    with _two_hosts() as names:
        started = [
            lab.start(
                lab.folder / f"host-{number}.log",
                *TRAINING,
                *overrides,
                prefix=("ip", "netns", "exec", name),
                MASTER_ADDR="10.77.0.1",
                MASTER_PORT="29500",
                NODE_RANK=str(number),
                GLOO_SOCKET_IFNAME="cable",
            )
            for number, name in enumerate(names)
        ]
        codes = [one.wait() for one in started]
    failures = expect((codes == [0, 0], f"exit codes {codes}"))
    failures += _equal(run, lab.reference(SHORT, "trainer=ddp_cpu"))
    return Case("two hosts (network namespaces) train together over TCP; equals two processes on one host", failures)


def _equal(run: Path, reference: Path) -> list[str]:
    return differences(run, reference, ["phase1"])


def _preempt(lab: Lab, *where: str) -> str:
    """Submit a job that needs a whole node, and return what SLURM calls it."""
    log = lab.folder / "urgent.log"
    where = where or ("--exclude=left,right",)
    asked = (
        "--parsable",
        "--partition=high",
        *where,
        "--nodes=1",
        "--ntasks=2",
        "--time=1",
        f"--output={log}",
        "--wrap=sleep 2",
    )
    return lab.ask("sbatch", *asked).strip()


@contextmanager
def _two_hosts() -> Iterator[list[str]]:
    """Make two network namespaces with an address each and a cable between them."""
    names = ["lensblend-0", "lensblend-1"]

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, timeout=60)

    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)
