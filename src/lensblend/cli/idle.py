"""Choices on the command line that the work they stand beside has no use for: refused rather than ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from lensblend.cli.hydra_app import choices
from lensblend.errors import RequestError
from lensblend.runs.configuration import is_below

# Groups that others take up by `${…}`, and a choice that does.
FILL_IN = {"kernels": "model=depth_blend", "backbone": "model=depth_blend"}
# Sources of maps, and what asks for them.
SOURCES = {
    "saliency": "a network that takes it, such as model=saliency_blend, or a loss or metric that compares it",
    "disparity": "a network that takes it, such as model=dynamic_filter_dense, or a loss or metric that compares it",
    "focus": "a loss that compares a predicted `mask` with it, such as loss@schedule.phases.PHASE.loss=slyym, or "
    "metrics=focus",
}


def refuse_idle(overrides: Sequence[str], content: Mapping[str, Any], config: DictConfig | None = None) -> None:
    """Refuse what a command sets and its training would not look at; what presets bring along is not its doing.

    A job of a sweep is told instead: other jobs have a use for it, where this one is what they are compared with.

    Args:
        overrides: The command line, as Hydra takes it.
        content: The whole configuration as plain dicts, known to be valid.
        config: The same before anything is looked up; None where a run's own configuration is taken up again.

    Raises:
        RequestError: A setting would have no effect; the message says why, and what would use it.
    """
    from lensblend.runs.messages import say
    from lensblend.training.request import maps_asked_for

    parsed = _parsed(overrides)
    keys = [key for key, _ in parsed]
    asked = maps_asked_for(content)
    for key, one in parsed:
        group = key.partition(".")[0]
        if one.value() is None:
            continue
        if group in FILL_IN:
            why = _not_filled_in(group, keys, config)
        elif group in SOURCES and group not in asked:
            why = f"nothing here asks for {group}; leave it out, or choose {SOURCES[group]}"
        else:
            why = _replaced(key, one, content["schedule"])
        if why and _is_of_a_sweep():
            say(f"`{one.input_line}` has no effect in this job: {why}.")
        elif why:
            raise RequestError(f"`{one.input_line}` would have no effect: {why}.")


def refuse_set(overrides: Sequence[str], keys: Sequence[str], why: str) -> None:
    """Refuse what a command sets below keys that nothing would look at; null and false ask for nothing.

    Args:
        overrides: The command line, as Hydra takes it.
        keys: Keys, or groups of them.
        why: Nothing would, and what to do instead.

    Raises:
        RequestError: One of them is set.
    """
    for key, one in _parsed(overrides):
        if is_below(key, keys) and one.value() not in (None, False):
            raise RequestError(f"`{one.input_line}` would have no effect: {why}.")


def _parsed(overrides: Sequence[str]) -> list[tuple[str, Override]]:
    """Return what a command line sets, by the dotted key."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [(str(one.package or one.key_or_group), one) for one in parsed if not one.is_delete()]


def _not_filled_in(group: str, keys: Sequence[str], config: DictConfig | None) -> str | None:
    """Return why a group that only fills in others does not."""
    if config is None:
        if any(is_below(key, ["model"]) for key in keys):
            return None
        return f"`{group}` only fills in `model` when a run is composed; give the whole command, with run_dir"
    if any(_refers_to(group, node) for key, node in _unresolved(config).items() if key != group):
        return None
    model = choices().get("model")
    return f"model={model} has no {group}; leave it out, or choose a model that has, such as {FILL_IN[group]}"


def _unresolved(config: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(config, resolve=False)
    return {str(key): node for key, node in content.items()}


def _refers_to(group: str, node: Any) -> bool:
    """Tell whether a node, or one below it, takes up the values of a group."""
    return any(re.search(rf"\$\{{{group}\b", text) for text in _texts(node))


def _texts(node: Any) -> Iterator[str]:
    values = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    if isinstance(node, str):
        yield node
    for value in values:
        yield from _texts(value)


def _replaced(key: str, one: Override, schedule: Mapping[str, Any]) -> str | None:
    """Return why a value of one phase is not what is trained."""
    place = key.split(".")
    if place[:2] != ["schedule", "phases"] or len(place) < 4:
        return None
    name, field = place[2:4]
    if name not in schedule["run"]:
        return f"{name} is not in schedule.run, which is [{','.join(schedule['run'])}]"
    # What a check in seconds replaces is meant for the training that is checked.
    if (schedule.get("every_phase") or {}).get(field) is not None and "debug" not in choices():
        return f"schedule.every_phase.{field} decides for every phase; set that, or schedule.every_phase.{field}=null"
    return None


def _is_of_a_sweep() -> bool:
    """Tell whether this is a job of a multirun, or one that W&B's agent started."""
    return not OmegaConf.is_missing(HydraConfig.get().job, "num") or "WANDB_SWEEP_ID" in os.environ
