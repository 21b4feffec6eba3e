"""Names of earlier versions, in whose runs, checkpoints and configurations they still stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lensblend.errors import RequestError

# Modules and classes that have moved.
MOVED = {
    "lensblend.training.callbacks.progress.progress": "lensblend.training.callbacks.progress.Progress",
    "lensblend.training.guidance": "lensblend.inference.guidance",
    "lensblend.training.history": "lensblend.training.loggers.metrics_csv",
    "lensblend.training.prior_maps": "lensblend.inference.prior_maps",
    "lensblend.training.wandb_run": "lensblend.training.loggers.wandb_run",
}
# Networks that compute something else today than under the same name before: a weight that an earlier one lacks, one
# by which it is known, and what has changed.
CHANGED = (
    (
        "global_net.enlarge.0.bias",
        "global_net.enlarge.0.weight",
        "a DualBokehNet with biases in its transitions, none before its pixel shuffles, and one tanh instead of two",
    ),
    (
        "attention.expand.bias",
        "attention.output.bias",
        "an EdgeGuidedResidual whose attention had queries at full size, and not all at a quarter of it",
    ),
)
# Keys of a loss term. `on` was quoted: YAML reads a bare one as true.
TERM_KEYS = {"on": "compares"}


def class_today(target: str) -> str:
    """Return what the class is called today that an earlier version called so.

    Example:
        >>> class_today("lensblend.training.history.MetricsCsv")
        'lensblend.training.loggers.metrics_csv.MetricsCsv'
    """
    module, dot, name = target.rpartition(".")
    return MOVED.get(target) or f"{MOVED.get(module, module)}{dot}{name}"


def changed_since(missing: Collection[str], given: Collection[str]) -> str | None:
    """Return what the network of a file was in an earlier version, if it is one that has changed since.

    Args:
        missing: The weights that today's network has and the file has not.
        given: Those of the file.

    Example:
        >>> changed_since(["attention.expand.bias"], ["attention.output.bias"])[:25]
        'an EdgeGuidedResidual who'
    """
    for lacking, known_by, was in CHANGED:
        if any(name.endswith(lacking) for name in missing) and any(name.endswith(known_by) for name in given):
            return was
    return None


def config_today(node: Any) -> Any:
    """Return a configuration of an earlier version, or a part of one, as this version writes it.

    Example:
        >>> config_today({"l1": {"weight": 1.0, "on": "bokeh", "loss": {"_target_": "lensblend.losses.pixel.L1"}}})
        {'l1': {'weight': 1.0, 'compares': 'bokeh', 'loss': {'_target_': 'lensblend.losses.pixel.L1'}}}
    """
    if isinstance(node, Mapping):
        keys = TERM_KEYS if "loss" in node else {}
        today = {keys.get(key, key): config_today(value) for key, value in node.items()}
        target = today.get("_target_")
        return {**today, "_target_": class_today(target)} if isinstance(target, str) else today
    return [config_today(value) for value in node] if isinstance(node, list) else node


def refuse_earlier_keys(node: Any, where: str = "") -> None:
    """Refuse a new configuration in which a loss term has a key of an earlier version.

    Raises:
        RequestError: It has; the message names the key of today.

    Example:
        >>> refuse_earlier_keys({"l1": {"weight": 1.0, True: "bokeh", "loss": {}}})
        Traceback (most recent call last):
        lensblend.errors.RequestError: `l1.on` is called `compares` today: write `compares: bokeh`.
    """
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        name = "on" if key is True else str(key)
        path = f"{where}.{name}" if where else name
        if "loss" in node and name in TERM_KEYS:
            today = TERM_KEYS[name]
            raise RequestError(f"`{path}` is called `{today}` today: write `{today}: {value}`.")
        refuse_earlier_keys(value, path)
