"""Which GPUs, or how many CPU threads, each job of a sweep may use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from lensblend.errors import RequestError
from lensblend.launchers.jobs import Job, labels

# What a process that trains with others is told by whoever started it; a job of a sweep starts its own.
PLACE = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        named = [name.strip() for name in environment["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in named if name and name != "-1"]
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.split()


def on_gpu(trainer: Mapping[str, Any]) -> bool | None:
    """Tell whether a ``trainer`` node asks for GPUs; None: if there are any."""
    accelerator = str(trainer.get("accelerator", "auto"))
    return None if accelerator == "auto" else accelerator in ("gpu", "cuda")


class Pool:
    """Share the GPUs and CPU cores of this machine among jobs that run at once.

    With one slot a job may use all that this process may. With several, each job gets as many GPUs as it has
    processes, and its share of the CPU cores.

    Args:
        slots: Jobs at once.
        jobs: All of them.
        environment: This process's.

    Raises:
        RequestError: A job asks for more GPUs than there are.
    """

    def __init__(self, slots: int, jobs: Sequence[Job], environment: Mapping[str, str]) -> None:
        self.slots = slots
        self._base = {name: value for name, value in environment.items() if name not in PLACE}
        self._gpus = visible_gpus(environment) if slots > 1 and any(job.on_gpu is not False for job in jobs) else []
        self._count = len(self._gpus)
        for job, label in zip(jobs, labels(jobs), strict=True):
            if slots > 1 and self._needs(job) > self._count:
                raise RequestError(
                    f"Job {job.number} ({label}) asks for {self._needs(job)} GPUs, but there are {self._count}; "
                    "lower trainer.devices, or use trainer=cpu."
                )

    def _needs(self, job: Job) -> int:
        if job.on_gpu is False or (job.on_gpu is None and self._count == 0):
            return 0
        return max(self._count // self.slots, 1) if job.processes is None else job.processes

    def has_room(self, job: Job) -> bool:
        """Tell whether enough GPUs are free for a job."""
        return self.slots == 1 or self._needs(job) <= len(self._gpus)

    def environment(self, job: Job) -> dict[str, str]:
        """Return a job's environment, but for its GPUs."""
        if self.slots == 1:
            return dict(self._base)
        threads = max(_cores() // self.slots // (job.processes or 1), 1)
        # What a person has set stays.
        return {"OMP_NUM_THREADS": str(threads), **self._base}

    def take(self, job: Job) -> tuple[dict[str, str], list[str]]:
        """Return a job's environment and the GPUs that it holds until `give_back`."""
        environment = self.environment(job)
        gpus = [self._gpus.pop(0) for _ in range(self._needs(job))] if self.slots > 1 else []
        if self._count:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return environment, gpus

    def give_back(self, gpus: Sequence[str]) -> None:
        """Take back what a job held."""
        self._gpus.extend(gpus)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
