"""Where Lightning has ideas of its own about clusters."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.utilities import rank_zero_only

from lensblend.errors import RequestError
from lensblend.runs.messages import is_first_process


def tell_lightning_its_rank() -> None:
    """Keep the first process of a second machine from logging as the training's first.

    Lightning knows a process's place once its trainer has been built; before, it looks at variables that a machine
    which was told only ``NODE_RANK`` does not have.
    """
    if not is_first_process() and not getattr(rank_zero_only, "rank", 0):
        setattr(rank_zero_only, "rank", 1)  # noqa: B010  # any but 0, until Lightning sets the right one


def check_machines(nodes: int | None) -> None:
    """Refuse several machines where nothing says which this one is: it would wait for the others for ever.

    Raises:
        RequestError: Neither SLURM nor variables say where the first machine is and which this one is.
    """
    told = all(name in os.environ for name in ("MASTER_ADDR", "MASTER_PORT"))
    ranked = "NODE_RANK" in os.environ or "GROUP_RANK" in os.environ
    if (nodes or 1) > 1 and not SLURMEnvironment.detect() and not (told and ranked):
        raise RequestError(
            f"`trainer.num_nodes={nodes}` would wait for machines that nothing names: start it on each with "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK set (docs/slurm.md), by torchrun, or through hydra/launcher=slurm."
        )


def cluster_plugins() -> list[SLURMEnvironment]:
    """Leave signals and requeueing on SLURM to this project: Lightning's own way finds no checkpoint afterwards."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


@contextmanager
def without_srun() -> Iterator[None]:
    """Train without SLURM also where it is installed: Lightning would advise against it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available.*")
        yield
