"""The configuration a run's folder belongs to: kept, compared when the run goes on, and restored from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensblend.errors import DataError, RequestError
from lensblend.runs.commands import typed
from lensblend.runs.documents import read_yaml
from lensblend.runs.earlier import config_today
from lensblend.runs.places import placed, started_in

# Keys below which there are others.
GROUPS = (
    "data",
    "kernels",
    "backbone",
    "model",
    "saliency",
    "disparity",
    "focus",
    "module",
    "schedule",
    "metrics",
    "trainer",
    "callbacks",
    "logger",
    "loader",
    "checkpoint",
    "not_finite",
)
# Keys that may differ when a run is continued: they change what is watched or how fast, not what is learned.
FREE_KEYS = (
    "run_dir",
    "resume_overrides",
    "logger",
    "callbacks",
    "checkpoint",
    "deterministic",
    "schedule.run",
    "loader.num_workers",
    "loader.val_batch_size",
    "loader.cache",
    "module.compile",
    "module.checkpoint_activations",
    "data.cache",
    "data.root",
    "trainer.accelerator",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.strategy",
)


def read_config(run_dir: Path) -> dict[str, Any]:
    """Return the configuration that a run's folder holds, in the words of this version and with its paths whole.

    Raises:
        RequestError: There is no such folder, or it is no run's.
        DataError: Its ``config.yaml`` cannot be read.
    """
    file = run_dir / "config.yaml"
    if re.match(r"\w{2,}:/", str(run_dir)):
        raise RequestError(f"`resume` is a run's folder on this machine, but got {run_dir}.")
    if not file.is_file():
        holder = next(
            (p for p in run_dir.parents if (p / "config.yaml").is_file() and (p / "status.json").exists()), None
        )
        hint = f"; did you mean `{typed('resume', holder)}`?" if holder else "; give the folder that a training made."
        raise RequestError(f"`{typed('resume', run_dir)}` is not a run's folder: it has no config.yaml{hint}")
    try:
        content = read_yaml(file)
    except DataError as error:
        raise DataError(f"{error} Or repeat the run's own command.") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is damaged: it holds no configuration; repeat the run's own command.")
    _check_shape(content, file)
    today: dict[str, Any] = placed(config_today(content), started_in(run_dir))
    return today


def _check_shape(content: Mapping[str, Any], file: Path) -> None:
    """Refuse a configuration in which a group of keys is something else."""
    wrong = [key for key in GROUPS if not isinstance(_or(content, key, {}), dict)]
    if not wrong:
        schedule = _or(content, "schedule", {})
        phases, run = _or(schedule, "phases", {}), _or(schedule, "run", [])
        if not isinstance(phases, dict) or not all(isinstance(phase, dict) for phase in phases.values()):
            wrong = ["schedule.phases"]
        elif not isinstance(run, list) or not all(isinstance(name, str) for name in run):
            wrong = ["schedule.run"]
    if wrong:
        raise DataError(f"{file} is damaged: its `{wrong[0]}` is of the wrong type; repeat the run's own command.")


def _or(node: Mapping[str, Any], key: str, default: Any) -> Any:
    value = node.get(key)
    return default if value is None else value


def differing(trained: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values that two configurations give to keys that decide the result, where they differ.

    A key that is not there is as one that is null: earlier versions had fewer.

    Example:
        >>> differing({"seed": 0, "logger": {"csv": 1}}, {"seed": 1, "logger": {}})
        {'seed': (0, 1)}
    """
    old, new = flat(trained), flat(requested)
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    return {k: (old.get(k), new.get(k)) for k in changed if not is_below(k, FREE_KEYS)}


def config_hash(config: Mapping[str, Any]) -> str:
    """Return a short hash of what decides the result: every key but the free ones.

    Example:
        >>> config_hash({"seed": 0, "logger": "csv"}) == config_hash({"logger": "wandb", "seed": 0})
        True
    """
    decisive = {k: v for k, v in flat(config).items() if not is_below(k, FREE_KEYS)}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


def overrides_hash(overrides: Sequence[str]) -> str:
    """Return a short hash of a command's overrides, independent of their order.

    Example:
        >>> overrides_hash(["a=1", "b=2"]) == overrides_hash(["b=2", "a=1"])
        True
    """
    return hashlib.sha256("\n".join(sorted(overrides)).encode(errors="surrogateescape")).hexdigest()[:12]


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return ``{"a.b": value}`` for a nested mapping.

    Example:
        >>> flat({"a": {"b": 1}, "c": [2]})
        {'a.b': 1, 'c': [2]}
    """
    if not isinstance(node, Mapping):
        return {prefix: node}
    flattened: dict[str, Any] = {}
    for key, value in node.items():
        flattened.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return flattened


def is_free(key: str) -> bool:
    """Return whether a key may differ when a run is continued.

    Example:
        >>> is_free("logger.wandb.project"), is_free("seed")
        (True, False)
    """
    return is_below(key, FREE_KEYS)


def is_below(key: str, keys: Sequence[str]) -> bool:
    """Return whether a key is one of some keys, or below one.

    Example:
        >>> is_below("data.root", ["data"]), is_below("data.root", ["data.roo"])
        (True, False)
    """
    return any(key == other or key.startswith(f"{other}.") for other in keys)
