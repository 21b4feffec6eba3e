"""Parameters that are trained otherwise than the rest: another learning rate, no weight decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from lensblend.errors import RequestError, nearest, one_of, short
from lensblend.runs.starts import matches

LR_FACTOR = "lr_factor"
KINDS = ("bias", "norm")
REST = "rest"
_WHICH = ("names", "kinds")
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def parameter_groups(network: nn.Module, groups: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what is trained of a network as an optimizer takes it: parameters together that are trained alike.

    All groups that a parameter is in act on it; where two say the same key, the later one does.

    Args:
        network: Frozen where it is.
        groups: By name, each with what belongs to it (``names``: beginnings of parameters' names, whole parts of them,
            or patterns such as ``*.attention.*``; ``kinds``: `KINDS`) and what holds for it (``lr_factor``, times the
            learning rate; arguments of the optimizer).

    Returns:
        Dicts with ``params``, their groups as ``name`` and what holds for them; what no group says anything of comes
        first, as ``rest``.

    Raises:
        RequestError: A group names no parameter of the network.
    """
    members = {name: _members(network, name, group) for name, group in groups.items()}
    alike: dict[tuple[Any, ...], dict[str, Any]] = {(): {"params": [], "name": REST}}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        its = [group for group, names in members.items() if name in names]
        options: dict[str, Any] = {}
        for group in its:
            options |= {key: value for key, value in groups[group].items() if key not in _WHICH}
        alike.setdefault(tuple(its), {"params": [], "name": "+".join(its), **options})["params"].append(parameter)
    return [group for group in alike.values() if group["params"]]


def check_group(name: str, group: Any, options: Mapping[str, Any]) -> None:
    """Refuse a group that says nothing, or what its optimizer does not take.

    Args:
        name: Its name, for messages.
        group: As the configuration holds it.
        options: What the optimizer takes of a group, with the values that the others have.

    Raises:
        RequestError: It is.
    """
    if not isinstance(group, Mapping):
        raise RequestError(f"`groups.{name}` is a group of keys, {{names, kinds, ...}}, but got {short(group)}.")
    _check_which(name, group)
    known = [LR_FACTOR, *(key for key in options if key != "lr")]
    said = [key for key in group if key not in _WHICH]
    for key in said:
        if key == "lr":
            raise RequestError(f"`groups.{name}.lr` is set by the phase's `lr`; give `{LR_FACTOR}`, times it.")
        if key not in known:
            raise RequestError(f"`groups.{name}.{key}` is nothing that the optimizer takes{nearest(key, known)}")
    if not said:
        raise RequestError(f"`groups.{name}` would have no effect: give {LR_FACTOR}, weight_decay or the like.")
    factor = group.get(LR_FACTOR, 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
        raise RequestError(
            f"`groups.{name}.{LR_FACTOR}` is positive, but got {short(factor)}; what is not to be trained is left out "
            "of `trainable`."
        )


def _check_which(name: str, group: Mapping[str, Any]) -> None:
    """Refuse a group that no parameter could be in."""
    for key in _WHICH:
        listed = group.get(key) or []
        if not (isinstance(listed, list | tuple) and all(isinstance(one, str) for one in listed)):
            raise RequestError(f"`groups.{name}.{key}` is a list of words, but got {short(listed)}.")
    for kind in group.get("kinds") or []:
        one_of(f"groups.{name}.kinds", kind, KINDS)
    if not any(group.get(key) for key in _WHICH):
        raise RequestError(f"`groups.{name}` says of no parameter that it is in it; give `names` or `kinds`.")


def _members(network: nn.Module, group: str, node: Mapping[str, Any]) -> set[str]:
    """Return the names of the parameters that are in a group, frozen ones too."""
    kinds = dict(_by_kind(network))
    found = {name for name, kind in kinds.items() if kind in (node.get("kinds") or [])}
    for pattern in node.get("names") or []:
        matching = [name for name in kinds if matches(name, pattern)]
        if not matching:
            parts = sorted({name.rpartition(".")[0] for name in kinds} | {name.partition(".")[0] for name in kinds})
            raise RequestError(
                f"`groups.{group}.names` has {pattern!r}, which no parameter of {type(network).__name__} is called"
                f"{nearest(pattern, parts)}"
            )
        found.update(matching)
    if not found:
        raise RequestError(f"`groups.{group}` is in {type(network).__name__} no parameter at all; leave it out.")
    return found


def _by_kind(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each parameter's name and what it is in its layer: of a norm, a bias, or a weight."""
    seen = set()
    for prefix, layer in network.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                kind = "norm" if isinstance(layer, _NORMS) else "bias" if name == "bias" else "weight"
                yield f"{prefix}.{name}" if prefix else name, kind
