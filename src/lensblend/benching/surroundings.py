"""Where, when and with what something was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version

import lensblend
from lensblend.runs.machine import processor
from lensblend.runs.repositories import package_folder, repository


def surroundings(command: str) -> dict[str, str]:
    """Return the machine, its load at this moment, versions, the date and the command.

    Of a checkout also its commit, with a mark where files differ from it.

    Args:
        command: As it was typed.
    """
    python = platform.python_version()
    about = {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "load before": f"{os.getloadavg()[0]:.1f} (1-minute average)",
        "software": f"lensblend {lensblend.__version__}, PyTorch {version('torch')}, Python {python}",
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }
    folder = package_folder()
    checkout = repository(folder) if folder else None
    commit = {"commit": checkout.name} if checkout and checkout.name else {}
    return {**about, **commit, "command": command}


def as_table(about: Mapping[str, str]) -> str:
    """Return them as a Markdown table."""
    cells = [f"| {name} | {_cell(name, value)} |" for name, value in about.items()]
    return "\n".join(["| | |", "|---|---|", *cells])


def _cell(name: str, value: str) -> str:
    value = value.replace("|", "\\|").replace("\n", " ")
    return f"`{value}`" if name == "command" else value
