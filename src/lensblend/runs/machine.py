"""What a training runs on: the machine, its GPUs, the cluster's job, and the packages that are installed."""

from __future__ import annotations

import functools
import os
import platform
import re
import socket
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

# None of them is a secret.
_OF_SLURM = (
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME"),
    *("SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK"),
)
_DRIVER = Path("/proc/driver/nvidia/version")


@functools.cache
def packages() -> dict[str, str]:
    """Return the version of every package that is installed, by its name."""
    found: dict[str, str] = {}
    for package in distributions():
        # Not `package.metadata`, which parses all of the file: a fifth of a second for two hundred packages.
        head = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0]
        name, number = (re.search(rf"^{key}: *(\S+)", head, re.M) for key in ("Name", "Version"))
        if name and number:
            # What stands first on the path is what is imported.
            found.setdefault(name[1], number[1])
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def machine(gpus: Sequence[int] = ()) -> dict[str, Any]:
    """Return the machine: its name, system, Python, processor, memory and, of GPUs, their names and driver.

    Args:
        gpus: Numbers of those that are used, as PyTorch counts them.
    """
    about: dict[str, Any] = {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
    }
    if gpus:
        about["gpus"] = [torch.cuda.get_device_name(number) for number in gpus]
        about["cuda"] = torch.version.cuda
        about["driver"] = driver(_DRIVER)
    return about


def processor() -> str:
    """Return the processor's name, as far as the system knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def memory_bytes() -> int | None:
    """Return the size of the machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def driver(file: Path) -> str | None:
    """Return the version of NVIDIA's driver, from the file in which the kernel's module says it; None without one."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def slurm() -> dict[str, str]:
    """Return what SLURM says of the job that this process belongs to; nothing outside of one."""
    return {name: os.environ[name] for name in _OF_SLURM if os.environ.get(name)}
