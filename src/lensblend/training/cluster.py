"""Where Lightning has ideas of its own about SLURM."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment


def cluster_plugins() -> list[SLURMEnvironment]:
    """Leave signals and requeueing on SLURM to this project: Lightning's own way finds no checkpoint afterwards."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


@contextmanager
def without_srun() -> Iterator[None]:
    """Train without SLURM also where it is installed: Lightning would advise against it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available.*")
        yield
