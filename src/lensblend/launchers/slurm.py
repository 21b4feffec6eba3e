"""Run the jobs of a sweep on a SLURM cluster: an array of jobs, each started again until its training is done."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lensblend.errors import Interrupted, RequestError
from lensblend.launchers.devices import PLACE
from lensblend.launchers.jobs import Job, Outcome, done_before, labels
from lensblend.launchers.queue import Queue, wait
from lensblend.launchers.report import Report

FILES = "slurm"
# What the launcher decides itself, as sbatch calls it.
_OURS = {"array", "error", "export", "gpus-per-node", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output"}
_OURS |= {"requeue", "signal", "gpus", "gpus-per-task", "ntasks-per-gpu"}  # GPUs bound to tasks are numbered otherwise
_KILLED_BY_USR1 = 128 + signal.SIGUSR1


@dataclass(frozen=True)
class SlurmRequest:
    """What every job of a sweep asks SLURM for; None leaves a choice to the cluster.

    Attributes:
        partition: Where the jobs wait.
        account: Who pays.
        qos: The quality of service.
        timeout_min: Minutes that one start may take.
        signal_delay_s: Seconds before that at which a training saves and ends, to go on in the next start.
        max_requeues: Starts of one job after its first.
        cpus_per_task: CPU cores of each process.
        gpus_per_node: Instead of those that ``trainer`` asks for.
        mem_gb: Memory of each node.
        array_parallelism: Jobs of an array that run at once.
        setup: Lines of the batch script before ``srun``.
        additional_parameters: More of sbatch's options, by name.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    timeout_min: int = 240
    signal_delay_s: int = 120
    max_requeues: int = 100
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    mem_gb: float | None = None
    array_parallelism: int = 256
    setup: Sequence[str] = ()
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("timeout_min", "signal_delay_s", "array_parallelism"):
            if getattr(self, name) < 1:
                raise RequestError(f"`hydra.launcher.{name}` must be at least 1, but is {getattr(self, name)}.")
        if self.signal_delay_s >= 60 * self.timeout_min:
            raise RequestError(
                f"`hydra.launcher.signal_delay_s={self.signal_delay_s}` is not shorter than "
                f"`timeout_min={self.timeout_min}` minutes: a job would be told to stop before it has begun."
            )
        for name in self.additional_parameters:
            if name.replace("_", "-") in _OURS:
                raise RequestError(
                    f"`hydra.launcher.additional_parameters.{name}` is set by the launcher itself: nodes, tasks and "
                    "GPUs follow `trainer.num_nodes`, `trainer.devices` and `hydra.launcher.gpus_per_node`, the signal "
                    "`hydra.launcher.signal_delay_s`."
                )


@dataclass(frozen=True)
class JobShape:
    """What a job occupies; jobs of one array are of one shape.

    Attributes:
        nodes: Machines.
        tasks: Processes on each.
        gpus: GPUs of each.
    """

    nodes: int
    tasks: int
    gpus: int

    @classmethod
    def of(cls, job: Job, asked: SlurmRequest) -> JobShape:
        """Return the shape of a job: a process for each of ``trainer.devices``, with a GPU where it wants one.

        Raises:
            RequestError: It depends on how many GPUs a node happens to have.
        """
        gpus = asked.gpus_per_node
        tasks = job.processes if job.processes is not None else gpus
        if tasks is None and job.on_gpu is None:
            tasks = 1
        if tasks is None:
            raise RequestError(
                f"Job {job.number} trains on every GPU of a machine, but SLURM has to be told how many: give "
                "trainer.devices=N or hydra.launcher.gpus_per_node=N."
            )
        if gpus is None:
            gpus = tasks if job.on_gpu else 0
        if job.on_gpu and gpus < tasks:
            raise RequestError(
                f"Job {job.number} trains on {tasks} GPUs of each node, but hydra.launcher.gpus_per_node is {gpus}."
            )
        return cls(job.nodes, tasks, gpus)


def parameters(asked: SlurmRequest, shape: JobShape, files: Path) -> dict[str, Any]:
    """Return what submitit makes the batch script of.

    Args:
        asked: Of the sweep.
        shape: Of the array's jobs.
        files: Where the jobs' logs and exit codes lie.
    """
    # Since SLURM 22.05 srun does not take this over from sbatch.
    srun_args = ["--kill-on-bad-exit=1"] + ([f"--cpus-per-task={asked.cpus_per_task}"] if asked.cpus_per_task else [])
    threads = [f"export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{asked.cpus_per_task}}}"] if asked.cpus_per_task else []
    given = {
        "job_name": "lensblend",
        "partition": asked.partition,
        "account": asked.account,
        "qos": asked.qos,
        "time": asked.timeout_min,
        "nodes": shape.nodes,
        "ntasks_per_node": shape.tasks,
        "cpus_per_task": asked.cpus_per_task,
        "gpus_per_node": shape.gpus or None,
        "mem": f"{round(1024 * asked.mem_gb)}M" if asked.mem_gb else None,
        "array_parallelism": asked.array_parallelism,
        "stderr_to_stdout": True,
        "srun_args": srun_args,
        "setup": [*_beginning(files), *threads, *asked.setup],
        "teardown": _end(asked.max_requeues),
        "additional_parameters": {
            **asked.additional_parameters,
            "requeue": True,
            # SIGUSR1 is what a training understands; without `B:` its processes get it, and not the batch script.
            "signal": f"USR1@{asked.signal_delay_s}",
        },
    }
    return {name: value for name, value in given.items() if value is not None} | {"wckey": None}


def _beginning(files: Path) -> list[str]:
    """Return the lines of the batch script that name the job and forget how an earlier start of it ended."""
    return [
        "job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}",
        f'ended={shlex.quote(str(files))}/"$job".exit',
        'rm -f "$ended"',
    ]


def _end(max_requeues: int) -> list[str]:
    """Return the lines of the batch script after ``srun``: start a training again that was told to stop.

    SLURM itself does so only with a job that it had to kill; one that ends within its grace time counts as failed. A
    cancelled job does not come back: its batch script is killed.
    """
    return [
        "code=$?",
        f"if [ $code -eq {Interrupted.exit_code} ] || [ $code -eq {_KILLED_BY_USR1} ]; then",
        f'  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_requeues} ]; then',
        '    echo "Job $job was told to stop and is queued again; it goes on where it was."',
        '    scontrol requeue "$job" && exit $code',
        "  fi",
        "fi",
        'echo $code > "$ended"',
        "exit $code",
    ]


def run_jobs(
    jobs: Sequence[Job], asked: SlurmRequest, sweep: Path, environment: Mapping[str, str], should_wait: bool
) -> list[Outcome]:
    """Submit jobs, wait for them if wanted, and return how they ended, in their order.

    Args:
        jobs: Those that an earlier start of the sweep has done are left out.
        asked: What each asks for.
        sweep: The sweep's folder, which all nodes see.
        environment: For the jobs.
        should_wait: Otherwise the outcomes are ``submitted``.

    Raises:
        RequestError: This is no cluster, submitit is missing, or SLURM refuses the jobs.
    """
    _check_cluster()
    outcomes = {job.number: before for job in jobs if (before := done_before(job))}
    waiting = [job for job in jobs if job.number not in outcomes]
    with Report(jobs, slots=1) as report:
        for outcome in outcomes.values():
            report.ended(outcome)
        ids = submit(waiting, asked, sweep / FILES, environment)
        arrays = sorted({name.split("_")[0] for name in ids.values()}, key=int)
        for job in waiting:
            report.started(job)
            report.noted(job, f"submitted as {ids[job.number]}")
        if waiting:
            report.say(f"`squeue --jobs={','.join(arrays)}` shows them, `scancel {' '.join(arrays)}` ends them.")
        if not should_wait:
            report.say(f"Each writes to its folder in {sweep}: status.json says where it stands, job.log what it says.")
            return [outcomes.get(job.number) or Outcome(job, "submitted") for job in jobs]
        try:
            outcomes |= wait(waiting, ids, sweep / FILES, Queue(), report)
        except KeyboardInterrupt:
            report.say("\nThe jobs go on without this command.")
            raise
        done = [outcomes[job.number] for job in jobs]
        report.table(done)
    return done


def _check_cluster() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise RequestError(
            "`hydra/launcher=slurm` needs submitit: pip install 'lensblend[slurm]', or pip install submitit."
        ) from None
    missing = [program for program in ("sbatch", "srun", "squeue") if shutil.which(program) is None]
    if missing:
        raise RequestError(
            f"`hydra/launcher=slurm` needs SLURM, but {', '.join(missing)} is not on the PATH: start the sweep on a "
            "login node of the cluster, or leave hydra/launcher out to run the jobs on this machine."
        )


def submit(jobs: Sequence[Job], asked: SlurmRequest, files: Path, environment: Mapping[str, str]) -> dict[int, str]:
    """Submit jobs, those of one shape as one array, and return what SLURM calls them, by number.

    The process that submitit starts on a node becomes the training, so that SLURM's signals and the exit code pass
    through no other.

    Args:
        jobs: To be started.
        asked: What each asks for.
        files: Receives batch scripts and logs.
        environment: For the jobs.

    Raises:
        RequestError: SLURM refuses them.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    shapes: dict[JobShape, list[Job]] = {}
    for job in jobs:
        shapes.setdefault(JobShape.of(job, asked), []).append(job)
    ids = {}
    files.mkdir(parents=True, exist_ok=True)
    with _environment(environment):
        for shape, alike in shapes.items():
            executor = submitit.SlurmExecutor(folder=files)
            executor.update_parameters(**parameters(asked, shape, files))
            try:
                with executor.batch():
                    started = [executor.submit(os.execv, sys.executable, list(job.command)) for job in alike]
            except FailedJobError as error:
                names = ", ".join(labels(alike)) if len(alike) < 4 else f"{len(alike)} jobs"
                raise RequestError(f"SLURM refuses {names}: {error}") from error
            for job, its in zip(alike, started, strict=True):
                ids[job.number] = its.job_id
                _link_log(job, its.paths.stdout)
    return ids


def _link_log(job: Job, log: Path) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    link = job.folder / "job.log"
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(log, job.folder))


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Let what sbatch hands on be ``wanted``, without the traces of a job in which this process may itself run."""
    before = dict(os.environ)
    handed_on = {
        name: value
        for name, value in wanted.items()
        if name == "SLURM_CONF" or (name not in PLACE and not name.startswith(("SLURM_", "SUBMITIT_")))
    }
    os.environ.clear()
    os.environ.update(handed_on)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
