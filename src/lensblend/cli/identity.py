"""What tells a training from the others of a sweep, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lensblend.cli.config import Train, config_folder
from lensblend.cli.hydra_app import choices
from lensblend.cli.restored import OF_THE_COMMAND
from lensblend.errors import DataError
from lensblend.runs.configuration import flat, is_free
from lensblend.runs.documents import read_yaml
from lensblend.runs.redaction import redact
from lensblend.training.phase_run import Identity

TAGGED = ("kernels", "backbone", "model", "schedule", "data", "baseline", "experiment")
# Besides what may change when a run goes on: the machine, how much is trained for a check, what is scored.
NOT_IN_LABEL = ("name", "print_config", "trainer", "debug", "metrics", "not_finite")
LONGEST_LABEL, LONGEST_TAG = 100, 64


def identify(name: str | None, overrides: Sequence[str]) -> Identity:
    """Describe the training that Hydra has just composed.

    Args:
        name: The configuration's ``name``.
        overrides: The command line, as Hydra takes it.
    """
    chosen = choices()
    tags = [chosen[group] for group in TAGGED if group in chosen]
    # Those of a phase's loss would be columns with dots in their names, and the configuration holds the losses.
    columns = {group: option for group, option in chosen.items() if "@" not in group}
    hydra_config = HydraConfig.get()
    # A job of a sweep has a number, whether Hydra runs it in its own process or a launcher starts it in a new one.
    if OmegaConf.is_missing(hydra_config.job, "num"):
        return Identity(label(chosen, name, overrides), tags, columns)
    folder = Path(hydra_config.sweep.dir).absolute()
    sweep = "/".join(folder.parts[-2:])
    tags.append(f"sweep {sweep}"[:LONGEST_TAG])
    return Identity(label(chosen, name, _varied(overrides, folder)), tags, columns, sweep, int(hydra_config.job.num))


def _varied(overrides: Sequence[str], sweep: Path) -> list[str]:
    """Leave out what every job of a sweep was given: Hydra notes the sweep's own command line in its folder."""
    file = sweep / "multirun.yaml"
    try:
        common = read_yaml(file, as_typed=True)["hydra"]["overrides"]["task"]
    except (FileNotFoundError, DataError, KeyError, TypeError):
        common = None
    return [override for override in overrides if override not in (common or [])]


def label(chosen: Mapping[str, str], name: str | None, overrides: Sequence[str]) -> str:
    """Say what was combined: kernel set, backbone, name, and what else the command line set that changes the result.

    Args:
        chosen: The chosen option of each config group.
        name: The configuration's ``name``.
        overrides: The command line, as Hydra takes it.

    Example:
        >>> label({"kernels": "gaussian_75", "backbone": "resnet18"}, None, ["backbone=resnet18", "seed=1"])
        'gaussian_75 · resnet18 · seed=1'
    """
    heads = [chosen["baseline"]] if "baseline" in chosen else [chosen.get("kernels"), chosen.get("backbone")]
    parts = [part for part in (*heads, name) if part]
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if override.is_delete() or is_free(key) or key in NOT_IN_LABEL or key.startswith(("metrics.", "not_finite.")):
            continue
        value = override.get_value_element_as_str().strip("'\"").rsplit("/", 1)[-1]
        where = ".".join((override.package or key).split(".")[-2:])
        parts.append(value if key in chosen else f"{where}={value}")
    # Before it is cut: half a secret would not be found any more.
    text: str = redact(" · ".join(dict.fromkeys(parts)))
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def differences(overrides: Sequence[str]) -> list[str]:
    """Return what a command line sets that decides what is trained, as ``KEY=VALUE``; what is usual is left out.

    Args:
        overrides: The command line, as Hydra takes it.

    Example:
        >>> differences(["kernels=gaussian_75", "backbone=hourglass", "seed=1", "logger=wandb", "data.token=hunter2"])
        ['kernels=gaussian_75', 'seed=1', 'data.token=(redacted)']
    """
    composed: Any = OmegaConf.load(config_folder() / "train.yaml")
    usual: dict[str, Any] = flat(OmegaConf.to_container(OmegaConf.structured(Train), throw_on_missing=False))
    usual |= {
        str(group): option
        for entry in composed.defaults
        if not isinstance(entry, str)
        for group, option in entry.items()
    }
    found = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = str(override.key_or_group)
        if key in OF_THE_COMMAND or key.startswith("hydra") or (is_free(key) and key != "schedule.run"):
            continue
        if override.is_delete():
            found.append(str(override.get_key_element()))
            continue
        if override.package or key not in usual or override.value() != usual[key]:
            value = redact({key: override.get_value_element_as_str()})[key]
            found.append(f"{override.get_key_element()}={value}")
    return found
