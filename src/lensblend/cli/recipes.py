"""What the published methods' configurations say, and how a training carries its own out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra

from lensblend.cli.config import config_folder, register
from lensblend.cli.hydra_app import plain
from lensblend.errors import LensblendError
from lensblend.runs.extensions import config_folders


def baselines() -> list[str]:
    """Return the names of the published methods, those of users' own packages included.

    Example:
        >>> "dbsi" in baselines()
        True
    """
    folders = [config_folder(), *config_folders()]
    return sorted({file.stem for folder in folders for file in (folder / "baseline").glob("*.yaml")})


@cache
def recipe(baseline: str, *overrides: str) -> dict[str, Any]:
    """Return the configuration of a published method, its schedule as it is carried out.

    Args:
        baseline: Its name in conf/baseline.
        overrides: As on the command line, of what it says.

    Example:
        >>> recipe("dbsi")["schedule"]["phases"]["phase1"]["image_size"]
        [384, 512]
    """
    return carried_out(_composed(f"baseline={baseline}", *overrides))


def configuration(*overrides: str) -> dict[str, Any]:
    """Return the configuration of a training, composed and checked as by `lensblend train`, for use from Python.

    Args:
        overrides: As on the command line.

    Raises:
        RequestError: No training can carry it out.
    """
    from lensblend.runs.places import placed
    from lensblend.training.request import check_request

    config: dict[str, Any] = placed(_composed(*overrides), Path.cwd())
    check_request(config)
    return config


def _composed(*overrides: str) -> dict[str, Any]:
    register()
    GlobalHydra.instance().clear()  # within a verb of Hydra's, whose own configuration is composed by now
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("train", overrides=list(overrides))
    return plain(composed, leave_out=("resume", "run_dir"))


def carried_out(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose phases have what `every_phase` and `total_epochs` make of them.

    One of an earlier version whose schedule is not valid today stays as it is.
    """
    from lensblend.training.phases import Schedule

    try:
        schedule = Schedule.from_config(config["schedule"])
    except (LensblendError, KeyError, TypeError, AttributeError):
        return dict(config)
    phases = {name: asdict(phase) for name, phase in schedule.phases.items()}
    return {**config, "schedule": {"run": schedule.run, "phases": phases}}
