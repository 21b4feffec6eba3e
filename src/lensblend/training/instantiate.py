"""Build objects from plain dicts, and only objects that a training may need.

Hydra runs whatever a ``_target_`` names, also ``builtins.open``; a configuration or a checkpoint of unknown origin
would thereby write files. Every ``instantiate`` of the project goes through :func:`build`, whose allowlist is fixed in
code.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import hydra.utils

from lensblend.errors import LensblendError, RequestError
from lensblend.training.phases import nearest

ALLOWED = (
    "lensblend.backbones.",
    "lensblend.data.",
    "lensblend.losses.",
    "lensblend.metrics.",
    "lensblend.networks.",
    "lensblend.nn.",
    "lensblend.priors.",
    "lensblend.training.",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "pytorch_lightning.strategies.",
    "torch.nn.",
    "torch.optim.",
)
# Hydra logs what it cannot import before it raises it; the error alone is what a user needs.
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)

# The only functions among the targets.
FACTORIES = ("lensblend.training.callbacks.progress.progress",)


def build(node: Mapping[str, Any], where: str, **arguments: Any) -> Any:
    """Instantiate a node and everything in it.

    Args:
        node: A mapping with a ``_target_``; plain dicts and lists only.
        where: The node's path in the configuration, for messages.
        arguments: Further arguments of the outermost object.

    Returns:
        The object, or a ``functools.partial`` where the node says ``_partial_: true``.

    Raises:
        RequestError: A ``_target_`` is not allowed or does not exist, or its constructor refuses an argument.
    """
    _check(node, where)
    try:
        if not arguments:
            return hydra.utils.instantiate(node, _convert_="all")
        # Handed over by a call, not through Hydra, which would take dicts among them for further nodes.
        return hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all")(**arguments)
    except Exception as error:
        # Hydra wraps what a constructor raised; the constructor's own message is the one that helps.
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, LensblendError):
            cause = cause.__cause__
        if isinstance(cause, LensblendError):
            raise cause from None
        raise RequestError(f"`{where}` could not be built from {node.get('_target_')}: {cause}") from error


def get_target(node: Mapping[str, Any], where: str) -> Any:
    """Return the class that a node names, without building it.

    Raises:
        RequestError: As `build`.
    """
    _check_target(node, where)
    return hydra.utils.get_object(node["_target_"])


def _check(node: Any, where: str) -> None:
    """Refuse targets off the allowlist and arguments that the target does not take, before anything is built."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_target(node, where)
        for key, value in node.items():
            _check(value, f"{where}.{key}")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            _check(value, f"{where}[{index}]")


def _check_target(node: Mapping[str, Any], where: str) -> None:
    target = node["_target_"]
    refusal = RequestError(
        f"`{where}._target_` is {target!r}, which may not be built; allowed are classes of "
        f"{', '.join(prefix.rstrip('.') for prefix in ALLOWED)}."
    )
    if not isinstance(target, str) or not target.startswith(ALLOWED):
        raise refusal
    try:
        definition = hydra.utils.get_object(target)
        parameters = inspect.signature(definition).parameters
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise RequestError(f"`{where}._target_` is {target!r}, which cannot be found: {error}") from None
    # A path through an allowed module can end anywhere (`lensblend.x.os.mkdir`): what counts is where it is defined.
    defined = f"{getattr(definition, '__module__', '')}."
    if target not in FACTORIES and not (inspect.isclass(definition) and defined.startswith(ALLOWED)):
        raise refusal
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in node:
        if not str(key).startswith("_") and key not in parameters:
            raise RequestError(f"`{where}.{key}` is not an argument of {target}{nearest(str(key), list(parameters))}")
