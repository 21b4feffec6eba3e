"""Sweep presets: a grid that a W&B sweep file in sweeps/ spans is also Hydra's ``+sweep=NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import lensblend


def sweeps_folder() -> Path:
    """Return the folder of the shipped sweeps: beside src/ in a checkout, inside the package in a wheel."""
    package = Path(lensblend.__file__).resolve().parent
    inside = package / "sweeps"
    return inside if inside.is_dir() else package.parents[1] / "sweeps"


def sweeper_params(sweep: dict[str, Any]) -> dict[str, str]:
    """Translate a W&B sweep's parameters to those of Hydra's sweeper.

    Each value is written as W&B's agent writes it on a command line, so that both start the same trainings.

    Args:
        sweep: Content of a W&B sweep file with ``method: grid``.

    Example:
        >>> sweeper_params({"parameters": {"seed": {"values": [0, 1]}, "schedule.run": {"value": ["phase1"]}}})
        {'seed': '0,1', 'schedule.run': "['phase1']"}
    """
    spans = {key: span.get("values", [span.get("value")]) for key, span in sweep["parameters"].items()}
    return {key: ",".join(map(str, values)) for key, values in spans.items()}


def presets() -> dict[str, dict[str, Any]]:
    """Return the configuration that each preset adds, by name; W&B's random and Bayesian sweeps are W&B's alone."""
    sweeps = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in sorted(sweeps_folder().glob("*.yaml"))}
    grids = {name: sweep for name, sweep in sweeps.items() if sweep["method"] == "grid"}
    return {name: {"hydra": {"sweeper": {"params": sweeper_params(sweep)}}} for name, sweep in grids.items()}
