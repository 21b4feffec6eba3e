"""Build objects from plain dicts, each of a class that may stand where its node stands.

Configurations and checkpoints name classes by a ``_target_``. Nothing in a node is ever resolved or called by name but
these classes, which `lensblend.runs.roles` finds; that is what keeps a foreign checkpoint from running commands.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lensblend.errors import DataError, LensblendError, RequestError, nearest, short
from lensblend.runs.documents import check_plain
from lensblend.runs.roles import Role, find_class

# What a node may say besides its class's arguments.
_SPECIAL = ("_target_", "_args_", "_partial_")
# Arguments that open a file or a connection. A checkpoint holds all weights itself, and leaves them unset.
OPENING = ("weights", "download")
_SCALARS = (int, float, str, bool)
Roles = Sequence[Role]


def build(node: Mapping[str, Any], where: str, *roles: Role, **arguments: Any) -> Any:
    """Build the object that a node describes, and everything in it.

    Args:
        node: A mapping with a ``_target_``; further keys are the class's arguments, ``_args_`` those by position. Plain
            dicts and lists only; mappings and lists in it may hold further nodes.
        where: The node's place in the configuration, for messages.
        roles: What may stand there.
        arguments: Further arguments of the outermost object, handed over as they are.

    Returns:
        The object, or a ``functools.partial`` where the node says ``_partial_: true``.

    Raises:
        RequestError: A ``_target_`` may not stand where it does, or does not exist; or its constructor refuses an
            argument.
    """
    _check(node, where, roles, arguments)
    return _make(node, where, roles, arguments)


def build_recorded(node: Any, where: str, *roles: Role) -> Any:
    """Build what a checkpoint's record describes, which may be of unknown origin: it opens no files.

    Raises:
        RequestError: As `build`; or an argument would open a file or fetch one.
    """
    _check(node, where, roles, {})
    for place, part, definition, _ in _nodes(node, where, roles):
        given = _given(part, definition)
        opened = [key for key in OPENING if given.get(key)]
        if opened:
            raise RequestError(
                f"`{place}.{opened[0]}` is {short(given[opened[0]])}, but a checkpoint holds its weights itself and "
                "names no files; it is damaged or of other origin."
            )
    return _make(node, where, roles, {})


def classes_in(node: Any, where: str, *roles: Role) -> Iterator[type]:
    """Yield the classes that a node and those within it name, without building them.

    Raises:
        RequestError: As `build`.
    """
    _check(node, where, roles, None)
    for _, _, definition, _ in _nodes(node, where, roles):
        yield definition


def check_node(node: Any, where: str, *roles: Role, arguments: Collection[str] = ()) -> None:
    """Refuse, without building anything, a node that `build` would refuse before it calls a constructor.

    Args:
        node: See `build`.
        where: See `build`.
        roles: See `build`.
        arguments: Names of those that the outermost object will be given further.

    Raises:
        RequestError: As `build`.
    """
    _check(node, where, roles, dict.fromkeys(arguments))


def check_arguments(given: Mapping[str, Any], where: str, definition: type) -> None:
    """Refuse keys that a class does not take as arguments, and values of other types than it says.

    Raises:
        RequestError: There are some.
    """
    _check_arguments({"_target_": definition.__name__, **given}, where, definition, None, _types(definition))


def given_arguments(node: Mapping[str, Any], where: str, *roles: Role) -> dict[str, Any]:
    """Return the arguments of a node's outermost object by their names.

    Raises:
        RequestError: As `build`.
    """
    return _given(node, next(classes_in(node, where, *roles)))


def refuse_positional(node: Any, where: str) -> None:
    """Refuse arguments by position in what a file describes, where those by name are looked at one by one.

    Raises:
        RequestError: There are some.
    """
    if isinstance(node, Mapping):
        if node.get("_args_"):
            raise RequestError(f"`{where}._args_` is {short(node['_args_'])}; write these arguments by their names.")
        for key, value in node.items():
            refuse_positional(value, f"{where}.{key}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            refuse_positional(value, f"{where}[{index}]")


def _check(node: Any, where: str, roles: Roles, arguments: Mapping[str, Any] | None) -> None:
    """Refuse classes that may not stand there, and arguments that they do not take, before anything is built."""
    try:
        check_plain(node, where)
    except DataError as error:
        raise RequestError(str(error)) from None
    if not isinstance(node, Mapping) or "_target_" not in node:
        titles = " or ".join(role.title for role in roles)
        raise RequestError(f"`{where}` describes {titles} by its `_target_`, but got {short(node)}.")
    for place, part, definition, role in _nodes(node, where, roles):
        _check_arguments(part, place, definition, arguments if part is node else None, _hints(definition))
        if part.get("_partial_", False) and not role.waits:
            raise RequestError(f"`{place}._partial_` is true, but {role.title} is built at once; leave it out.")


def _nodes(node: Any, where: str, roles: Roles) -> Iterator[tuple[str, Mapping[str, Any], type, Role]]:
    """Yield each node: its place, itself, its class and the role that it plays."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            definition, role = find_class(node["_target_"], f"{where}._target_", roles)
            roles = role.within
            yield where, node, definition, role
        elif stray := [key for key in _SPECIAL if key in node]:
            raise RequestError(f"`{where}.{stray[0]}` belongs beside a `_target_`, but there is none.")
        for key, value in node.items():
            yield from _nodes(value, f"{where}.{key}", roles)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _nodes(value, f"{where}[{index}]", roles)


def _check_arguments(
    node: Mapping[str, Any],
    where: str,
    definition: type,
    arguments: Mapping[str, Any] | None,
    hints: Mapping[str, Any],
) -> None:
    named = [key for key in node if key not in _SPECIAL]
    unknown = [key for key in named if key.startswith("_")]
    if unknown:
        raise RequestError(f"`{where}.{unknown[0]}` is none of {', '.join(_SPECIAL)}, which a node may say.")
    if not isinstance(node.get("_args_", []), list | tuple):
        raise RequestError(f"`{where}._args_` is a list of arguments, but got {short(node['_args_'])}.")
    if not isinstance(node.get("_partial_", False), bool):
        raise RequestError(f"`{where}._partial_` is true or false, but got {short(node['_partial_'])}.")
    parameters, takes_any = _parameters(definition)
    for key in named:
        if arguments and key in arguments:
            raise RequestError(f"`{where}.{key}` is set by the training itself; leave it out.")
        if key not in parameters and not takes_any:
            raise RequestError(
                f"`{where}.{key}` is not an argument of {node['_target_']}{nearest(key, list(parameters))}"
            )
    for key, value in _given(node, definition).items():
        if key in hints and not _fits(value, hints[key]):
            kind = str(parameters[key].annotation).replace("typing.", "")
            raise RequestError(f"`{where}.{key}` is {short(value)}, but it is of type {kind}.")


def _parameters(definition: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments of a class, and whether it takes any others.

    One of ours that takes any hands them to the class from which it derives; PyTorch's `Module` takes none.
    """
    found = dict(inspect.signature(definition).parameters)
    for kind in definition.__mro__:
        if not any(p.kind is p.VAR_KEYWORD for p in found.values()):
            return found, False
        ours = kind.__module__.startswith("lensblend.")
        if not ours and kind.__module__ not in ("torch.nn.modules.module", "builtins"):
            return found, True
        if "__init__" in vars(kind):
            inherited = inspect.signature(vars(kind)["__init__"]).parameters
            closed = {n: p for n, p in found.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
            found = closed | {n: p for n, p in inherited.items() if n != "self"}
            if not ours:
                return closed, False
    return found, True


def _given(node: Mapping[str, Any], definition: type) -> dict[str, Any]:
    """Return a node's arguments by their names, those given by position as well."""
    placed = zip(inspect.signature(definition).parameters, node.get("_args_", []), strict=False)
    return {**dict(placed), **{key: value for key, value in node.items() if key not in _SPECIAL}}


def _hints(definition: type) -> dict[str, Any]:
    """Return the types of the arguments of one of our own classes, or of Lightning's.

    Those of others are not written to be checked.
    """
    return _types(definition) if definition.__module__.startswith(("lensblend.", "pytorch_lightning.")) else {}


def _types(definition: type) -> dict[str, Any]:
    makers = (vars(kind)[name] for kind in definition.__mro__ for name in ("__init__", "__new__") if name in vars(kind))
    maker: Any = next(makers)
    try:
        return get_type_hints(maker.__func__ if isinstance(maker, staticmethod) else maker)
    except (NameError, TypeError):  # names that only type checkers import
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a plain value is of a type made of numbers, texts, lists and mappings; of any other, it is."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if isinstance(value, Mapping):
        return hint not in _SCALARS and origin is not Sequence
    if hint in _SCALARS:
        numbers = (int, float) if hint is float else hint
        return isinstance(value, numbers) and isinstance(value, bool) == (hint is bool)
    if origin in (Sequence, list, tuple):
        return isinstance(value, list | tuple) and (not inner or all(_fits(item, inner[0]) for item in value))
    return hint is not type(None) or value is None


def _make(node: Any, where: str, roles: Roles, arguments: Mapping[str, Any]) -> Any:
    if isinstance(node, list | tuple):
        return [_make(value, f"{where}[{index}]", roles, {}) for index, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {key: _make(value, f"{where}.{key}", roles, {}) for key, value in node.items()}
    definition, role = find_class(node["_target_"], f"{where}._target_", roles)
    placed = _make(node.get("_args_", []), f"{where}._args_", role.within, {})
    named = {key: _make(value, f"{where}.{key}", role.within, {}) for key, value in node.items() if key not in _SPECIAL}
    if node.get("_partial_", False):
        return functools.partial(definition, *placed, **named, **arguments)
    try:
        return definition(*placed, **named, **arguments)
    except LensblendError:
        raise
    except Exception as error:  # constructors of PyTorch and Lightning raise whatever a value leads to
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise RequestError(f"`{where}` could not be built from {node['_target_']}: {reason}") from error
