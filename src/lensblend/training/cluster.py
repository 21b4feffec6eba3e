"""Where Lightning has ideas of its own about clusters."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.utilities import rank_zero_only

from lensblend.errors import RequestError, TrainingError
from lensblend.runs.messages import is_first_process
from lensblend.runs.processes import machines, processes
from lensblend.training.batches import processes_together


def tell_lightning_its_rank() -> None:
    """Keep the first process of a second machine from logging as the training's first.

    Lightning knows a process's place once its trainer has been built; before, it looks at variables that a machine
    which was told only ``NODE_RANK`` does not have.
    """
    if not is_first_process() and not getattr(rank_zero_only, "rank", 0):
        setattr(rank_zero_only, "rank", 1)  # noqa: B010  # any but 0, until Lightning sets the right one


def check_machines(trainer: Mapping[str, Any]) -> None:
    """Refuse processes that would wait for others for ever, or train beside each other in one folder.

    Args:
        trainer: The configuration's ``trainer``.

    Raises:
        RequestError: SLURM has started another number of processes; or, without SLURM, nothing says where the first of
            several machines is and which this one is, or how many processes the others start.
    """
    nodes = machines(trainer)
    if _on_slurm():
        _check_tasks(nodes, processes_together(trainer) // nodes)
        return
    if nodes == 1:
        return
    told = all(name in os.environ for name in ("MASTER_ADDR", "MASTER_PORT"))
    ranked = "NODE_RANK" in os.environ or "GROUP_RANK" in os.environ
    if not (told and ranked):
        raise RequestError(
            f"`trainer.num_nodes={nodes}` would wait for machines that nothing names: start it on each with "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK set (docs/slurm.md), by torchrun, or through hydra/launcher=slurm."
        )
    if processes(trainer) is None:
        raise RequestError(
            f"`trainer.devices={trainer.get('devices')}` is every GPU of this machine, but the others of "
            f"`trainer.num_nodes={nodes}` have to start as many: give trainer.devices=N."
        )


def _check_tasks(nodes: int, each: int) -> None:
    """Refuse other tasks than a training needs: Lightning takes SLURM's word for how many processes there are.

    Args:
        nodes: Machines of the training.
        each: Processes on each.
    """
    spread = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE")
    # As SLURM writes it: `2(x3),1` is 2, 2, 2, 1.
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", spread or os.environ["SLURM_NTASKS"])
    tasks = [int(count) for count, times in groups for _ in range(int(times or 1))]
    if tasks != [each] * nodes:
        fits = f", or set trainer.devices={tasks[0]} trainer.num_nodes={len(tasks)}" if len(set(tasks)) == 1 else ""
        raise RequestError(
            f"SLURM has {_tasks(tasks)} for this job, but `trainer.devices` and `trainer.num_nodes` train in "
            f"{_tasks([each] * nodes)}: ask it for --nodes={nodes} --ntasks-per-node={each}{fits}."
        )
    if sum(tasks) > 1 and "SLURM_STEP_ID" not in os.environ:
        raise RequestError(
            f"This is the batch script's own process, which would wait for the {sum(tasks)} tasks of srun: put srun "
            "before the command (docs/slurm.md)."
        )


def check_shared(folder: Path, patience: float = 20.0) -> None:
    """Refuse a training's folder that only some of its machines see: a new start would find two beginnings.

    To be called by all processes, which have joined.

    Args:
        folder: Where the first process writes.
        patience: Seconds that a file system may take to show a new file to others.

    Raises:
        TrainingError: Some do not see it; in every process, with their names.
    """
    first = torch.distributed.get_rank() == 0
    name = [f".seen-{secrets.token_hex(8)}"]
    if first:
        (folder / name[0]).touch()
    torch.distributed.broadcast_object_list(name)
    mark = folder / name[0]
    until = time.monotonic() + patience
    while not (seen := mark.exists()) and time.monotonic() < until:
        time.sleep(0.1)
    told: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(told, (platform.node(), seen))
    if first:
        mark.unlink()
    blind = sorted({host for host, seen in told if not seen})
    if blind:
        raise TrainingError(
            f"{folder} on {told[0][0]}, where the first process writes, is not what {', '.join(blind)} sees there: "
            "give a `run_dir` (a sweep: `hydra.sweep.dir`) on a file system that all machines share."
        )


def _tasks(counts: list[int]) -> str:
    total = f"{sum(counts)} task{'s' if sum(counts) > 1 else ''}"
    return f"{total} on {len(counts)} node{'s' if len(counts) > 1 else ''}"


def _on_slurm() -> bool:
    with without_srun():
        return SLURMEnvironment.detect()


def cluster_plugins() -> list[SLURMEnvironment]:
    """Leave signals and requeueing on SLURM to this project: Lightning's own way finds no checkpoint afterwards."""
    return [SLURMEnvironment(auto_requeue=False)] if _on_slurm() else []


@contextmanager
def without_srun() -> Iterator[None]:
    """Train without SLURM also where it is installed: Lightning would advise against it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available.*")
        yield
