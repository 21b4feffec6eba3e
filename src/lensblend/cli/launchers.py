"""Hydra launchers: compose the configuration of each job of a multirun, and hand the jobs on to be run."""

from __future__ import annotations

import os
import re
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from lensblend.cli.surroundings import safe_path
from lensblend.errors import Interrupted, RequestError, TrainingError
from lensblend.launchers.jobs import Folders, Job, Outcome
from lensblend.runs.commands import command, override, typed
from lensblend.storage import fitting

# What a job does not inherit of the sweep's own command line: how jobs are started, and their folders. How they are
# made it does: pruning asks the study that the sweeper keeps.
_OF_THE_SWEEP = re.compile(r"[+~]*hydra(/launcher|\.(mode|launcher|sweep|run|job\.num|job\.id)\b)")


class JobReturned(JobReturn):
    """How a job ended, in Hydra's words.

    Args:
        outcome: How it ended.
        failure: What is said when somebody asks for the score of a job that has none because it failed.
    """

    def __init__(self, outcome: Outcome, failure: str) -> None:
        super().__init__(overrides=outcome.job.overrides, working_dir=str(outcome.job.folder))
        self.outcome = outcome
        self.failure = failure
        self.status = JobStatus.FAILED if outcome.state == "failed" else JobStatus.COMPLETED

    @property  # type: ignore[misc]  # Hydra's has a setter, which nobody needs here
    def return_value(self) -> float | None:
        """The job's best score, for sweepers that search.

        Raises:
            TrainingError: The job failed.
        """
        if self.status == JobStatus.FAILED:
            raise TrainingError(self.failure)
        return self.outcome.score[1] if self.outcome.score else None


class JobLauncher(Launcher):
    """Give every job of a multirun a process and a folder of its own.

    Args:
        resume: Go on with a sweep: jobs that are done are left out, the others go on where they stopped.
    """

    def __init__(self, resume: bool = False) -> None:
        self.resume = resume
        self._folders: Folders | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra has composed."""
        self._context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and return how they ended.

        Args:
            job_overrides: What each job sets.
            initial_job_idx: Number of the first.
        """
        self._sweep_dir = Path(str(self.config.hydra.sweep.dir)).resolve()
        if self._folders is None:
            self._folders = Folders(self._sweep_dir, self.resume)
        jobs = [self._job(initial_job_idx + i, overrides) for i, overrides in enumerate(job_overrides)]
        outcomes = self.run(jobs)
        go_on = (
            f"The same command with {typed('hydra.sweep.dir', self._sweep_dir)} "
            "hydra.launcher.resume=true runs the jobs that are not done, those that had begun from where they stopped."
        )
        if any(outcome.state in ("interrupted", "not started") for outcome in outcomes):
            print(f"The sweep was stopped. {go_on}", flush=True)
            sys.exit(Interrupted.exit_code)
        failed = sum(outcome.state == "failed" for outcome in outcomes)
        done = sum(outcome.state.startswith("done") for outcome in outcomes)
        if done > 1 and self.config.hydra.job.config_name == "train":
            print(f"`{command('compare', str(self._sweep_dir))}` sets them side by side.", flush=True)
        return [JobReturned(outcome, f"{failed} of {len(jobs)} jobs failed. {go_on}") for outcome in outcomes]

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs and return how they ended, in their order."""

    def _job(self, number: int, overrides: Sequence[str]) -> Job:
        from lensblend.launchers.devices import on_gpu
        from lensblend.runs.processes import machines, processes

        config = self._context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        for key in ("run_dir", "resume"):
            if OmegaConf.select(config, key):
                raise RequestError(
                    f"`{key}={config[key]}` would put every job of a multirun into one folder; "
                    f"set `hydra.sweep.dir` and leave `{key}` out."
                )
        sweep = config.hydra.sweep
        proposed = (Path(str(sweep.dir)) / folder_of(str(sweep.subdir))).resolve()
        folder = self._folders.choose(proposed, overrides) if self._folders else proposed
        trainer: Any = OmegaConf.to_container(config.trainer, resolve=True) if "trainer" in config else {}
        command = self._command(number, overrides, folder)
        return Job(number, tuple(overrides), folder, command, processes(trainer), on_gpu(trainer), machines(trainer))

    def _command(self, number: int, overrides: Sequence[str], folder: Path) -> tuple[str, ...]:
        hydra = self.config.hydra
        given: Any = OmegaConf.to_container(hydra.overrides.hydra, resolve=False)  # as typed, `${...}` too
        kept = [override for override in given if not _OF_THE_SWEEP.match(override)]
        added = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        return (
            sys.executable,
            *safe_path(),
            "-m",
            f"lensblend.cli.{hydra.job.config_name}",
            *(f"--config-dir={path}" for path in added),
            *overrides,
            *kept,
            override("hydra.sweep.dir", self._sweep_dir),
            override("hydra.run.dir", folder),
            f"hydra.job.num={number}",
        )


def folder_of(subdir: str) -> Path:
    """Return the folder of a job, whose overrides may be longer than a name can be.

    Example:
        >>> folder_of("seed=1/3"), len(folder_of("a=1," * 100).name)
        (PosixPath('seed=1/3'), 255)
    """
    return Path(*(fitting(part) for part in Path(subdir).parts))


class SubprocessLauncher(JobLauncher):
    """Run the jobs on this machine, each as a fresh process.

    Args:
        slots: Jobs at once; each gets its own GPUs, or its share of the CPU cores.
        resume: See `JobLauncher`.
    """

    def __init__(self, slots: int = 1, resume: bool = False) -> None:
        super().__init__(resume)
        self.slots = slots

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs and return how they ended, in their order."""
        from lensblend.cli.hydra_app import environment_before
        from lensblend.launchers.local import run_jobs

        if self.slots < 1:
            raise RequestError(f"`hydra.launcher.slots` is how many jobs run at once, at least 1: got {self.slots}.")
        return run_jobs(jobs, self.slots, {**os.environ, **environment_before()})


class SlurmLauncher(JobLauncher):
    """Run the jobs on a SLURM cluster, as one array; those that are told to stop are started again until they are done.

    Args:
        wait: Wait for the jobs; otherwise print their numbers and return.
        resume: See `JobLauncher`.
        request: What each job asks SLURM for, see `lensblend.launchers.slurm.SlurmRequest`.
    """

    def __init__(self, wait: bool = True, resume: bool = False, **request: Any) -> None:
        super().__init__(resume)
        self.wait = wait
        self.request = request

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Submit jobs, wait for them if wanted, and return how they ended, in their order."""
        from lensblend.cli.hydra_app import environment_before
        from lensblend.launchers.slurm import SlurmRequest, run_jobs

        environment = {**os.environ, **environment_before()}
        return run_jobs(jobs, SlurmRequest(**self.request), self._sweep_dir, environment, self.wait)
