"""Where, when and with what something was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import lensblend


def surroundings(command: str) -> dict[str, str]:
    """Return the machine, its load at this moment, versions, the date and the command.

    Of a checkout also its commit, with a mark where files differ from it.

    Args:
        command: As it was typed.
    """
    python = platform.python_version()
    about = {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "load before": f"{os.getloadavg()[0]:.1f} (1-minute average)",
        "software": f"lensblend {lensblend.__version__}, PyTorch {version('torch')}, Python {python}",
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }
    commit = commit_of(Path(lensblend.__file__).resolve().parents[2])
    return {**about, **({"commit": commit} if commit else {}), "command": command}


def commit_of(folder: Path) -> str | None:
    """Return the commit of a checkout, marked where files differ; None where the folder is none."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def as_table(about: Mapping[str, str]) -> str:
    """Return them as a Markdown table."""
    cells = [f"| {name} | {_cell(name, value)} |" for name, value in about.items()]
    return "\n".join(["| | |", "|---|---|", *cells])


def _cell(name: str, value: str) -> str:
    value = value.replace("|", "\\|").replace("\n", " ")
    return f"`{value}`" if name == "command" else value
