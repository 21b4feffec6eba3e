"""Build what a phase trains and scores with, leaving out, loudly, what has no weights here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from lensblend.errors import RequestError, WeightsMissingError, nearest
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.runs.instantiate import build, check_node, classes_in
from lensblend.runs.messages import say
from lensblend.runs.roles import BACKBONE, BANK, DATA, LOGGER, LOSS, MAP_SOURCE, METRIC, MODELS, Role

if TYPE_CHECKING:
    from lensblend.metrics.per_image import PerImageMetric


# What may stand in each group of a configuration, and which arguments it is given further.
_PARTS: dict[str, tuple[Role, ...]] = {
    "kernels": (BANK,),
    "backbone": (BACKBONE,),
    "model": MODELS,
    **dict.fromkeys(("saliency", "disparity", "focus"), (MAP_SOURCE,)),
    "data": (DATA,),
}
_NAMED_PARTS: dict[str, tuple[Role, ...]] = {"metrics": (METRIC,), "logger": (LOGGER,)}


def check_parts(config: Mapping[str, Any], *groups: str) -> None:
    """Refuse groups of a configuration that could not be built, without building anything; null is nothing.

    Args:
        config: Plain dicts.
        groups: Keys of it, as in conf/.

    Raises:
        RequestError: A class may not stand where it does, does not take an argument, or not of that type.
    """
    for group in groups:
        node = config.get(group)
        if group in _NAMED_PARTS:
            for name, part in (node or {}).items():
                if part is not None:
                    check_node(part, f"{group}.{name}", *_NAMED_PARTS[group])
        elif node is not None:
            check_node(node, group, *_PARTS[group], arguments=("name",) if _PARTS[group] == (MAP_SOURCE,) else ())


def build_metrics(nodes: Mapping[str, Any]) -> tuple[dict[str, PerImageMetric], dict[str, str]]:
    """Build the metrics, leaving out those set to null and, with one sentence, those whose weights are not here.

    Returns:
        The metrics by name, and why each is left out that was asked for.
    """
    metrics, left_out = {}, {}
    for name, node in nodes.items():
        try:
            if node:
                metrics[name] = build(node, f"metrics.{name}", METRIC)
        except WeightsMissingError as error:
            left_out[name] = str(error)
            why = str(error).partition(":")[0].rstrip(".")
            say(f"`{name}` is left out: {why}; give `metrics.{name}.weights`, or see docs/conventions.md.")
    return metrics, left_out


def metric_classes(nodes: Mapping[str, Any]) -> dict[str, type[PerImageMetric]]:
    """Return the classes of the metrics that a configuration names, also of those that could not be built here."""
    return {name: next(classes_in(node, f"metrics.{name}", METRIC)) for name, node in nodes.items() if node}


def build_loss(nodes: Mapping[str, Any]) -> tuple[WeightedSum, dict[str, str]]:
    """Build the loss, leaving out terms set to null and, with one sentence, those whose weights are not here.

    Returns:
        The loss, and why each term is left out that was asked for.
    """
    terms, left_out = {}, {}
    for name, node in nodes.items():
        try:
            if node:
                terms[name] = _term(node, f"loss.{name}")
        except WeightsMissingError as error:
            left_out[name] = str(error)
            say(f"\nThe loss term `{name}` IS OFF in this training: {error}")
    return WeightedSum(terms), left_out


def _term(node: Any, where: str) -> dict[str, Any]:
    """Build the loss of a term; what else the term says, `WeightedSum` checks."""
    if not isinstance(node, Mapping) or "loss" not in node:
        raise RequestError(f"`{where}` is a term {{weight, compares, loss}} with a `loss`, but got {node!r}.")
    return {**node, "loss": build(node["loss"], f"{where}.loss", LOSS)}


def freeze_all_but(network: nn.Module, trainable: Sequence[str] | None) -> None:
    """Leave only some parameters of a network to be trained.

    Args:
        network: Its other parameters will require no gradient.
        trainable: Beginnings of names, whole between dots: ``fusion`` names ``fusion.0.weight``. None trains all.

    Raises:
        RequestError: A beginning names no parameter.
    """
    if trainable is None:
        return
    names = [name for name, _ in network.named_parameters()]
    for prefix in trainable:
        if not any(_begins(name, prefix) for name in names):
            parts = sorted({".".join(n.split(".")[: prefix.count(".") + 1]) for n in names})
            raise RequestError(f"`trainable` names {prefix!r}, which no parameter begins with{nearest(prefix, parts)}")
    for name, parameter in network.named_parameters():
        if not any(_begins(name, prefix) for prefix in trainable):
            parameter.requires_grad_(False)


def _begins(name: str, prefix: str) -> bool:
    return f"{name}.".startswith(f"{prefix}.")
