"""What a first phase starts from: another's weights, whole or those that fit and are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lensblend.errors import DataError, RequestError, nearest, short
from lensblend.runs.messages import say
from lensblend.runs.weights import WHOLE, alike, refuse_earlier, refuse_infinite

_NAMED = 3  # weights, in a message


@dataclass(frozen=True)
class Start:
    """The configuration's ``init_from``.

    Attributes:
        path: A checkpoint, a run's or a phase's folder, an exported network, an address or a published file.
        strict: Whether all weights that are wanted have to be there, and to fit.
        only: Names, beginnings of names (whole between dots) or patterns such as ``head.*`` of the wanted weights; None
            wants all.
        without: The same of those that are not wanted.
    """

    path: str
    strict: bool = True
    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, value: Any) -> Start | None:
        """Read ``init_from``: a path, a mapping of the attributes, or null for none.

        Raises:
            RequestError: A key is not known, or a value of another kind.
        """
        if value is None or isinstance(value, str):
            return None if value is None else cls(value)
        if not isinstance(value, Mapping):
            raise RequestError(f"`init_from` is a path, or {{path, strict, only, without}}, but got {short(value)}.")
        given = {str(key): part for key, part in value.items() if part is not None}
        known = [field.name for field in fields(cls)]
        for key in given:
            if key not in known:
                raise RequestError(f"`init_from.{key}` is not a key{nearest(key, known)}")
        for key in ("only", "without"):
            if key in given:
                given[key] = _names(key, given[key])
        if given and not isinstance(given.get("path"), str):
            raise RequestError(f"`init_from.path` is a path, but got {short(given.get('path'))}: init_from=PATH.")
        if not isinstance(given.get("strict", True), bool):
            raise RequestError(f"`init_from.strict` is true or false, but got {short(given['strict'])}.")
        return cls(**given) if given else None

    @property
    def is_whole(self) -> bool:
        """Whether every weight is wanted, and has to fit."""
        return self == Start(self.path)

    def as_config(self) -> str | dict[str, Any]:
        """Return the shortest ``init_from`` that means the same.

        Example:
            >>> Start("a").as_config(), Start("a", only=("backbone",)).as_config()
            ('a', {'path': 'a', 'only': ['backbone']})
        """
        if self.is_whole:
            return self.path
        standard = asdict(Start(self.path))
        given = {key: value for key, value in asdict(self).items() if value != standard[key] or key == "path"}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}

    def wanted(self, names: Collection[str]) -> list[str]:
        """Return which of a network's weights are wanted.

        Args:
            names: Of all.

        Raises:
            RequestError: Something names no weight, or nothing is left.
        """
        chosen = list(names) if self.only is None else _named("only", self.only, names)
        left_out = set(_named("without", self.without, names))
        if left_out.issuperset(chosen):
            raise RequestError(f"`init_from.without` = {list(self.without)} leaves no weight to start from.")
        return [name for name in chosen if name not in left_out]


def load_part(network: nn.Module, state: Mapping[str, Tensor], file: Path, start: Start) -> str:
    """Copy the weights that are wanted, and unless all have to fit those that do, into a network; say what is left.

    Args:
        network: The others of its weights stay as they are.
        state: The file's weights.
        file: Where they come from, for messages.
        start: What is wanted.

    Returns:
        How many are taken, in words.

    Raises:
        RequestError: Something names no weight of the network.
        DataError: Wanted weights are missing or of another shape, or nothing fits; or what is taken is not finite.
    """
    own = network.state_dict()
    wanted = start.wanted(own)
    missing = [name for name in wanted if name not in state]
    refuse_earlier(missing, state, file)
    others = [name for name in wanted if name in state and not alike(own[name], state[name])]
    left = [*missing, *others]
    if start.strict and left:
        raise DataError(
            f"{file} does not hold all that `init_from` wants of it: {len(missing)} weights are missing, {len(others)} "
            f"have another shape ({_listed(left, own, state)}); take those that fit: init_from.strict=false."
        )
    taken = [name for name in wanted if name not in set(left)]
    # Counters of another network's layers would fit as well.
    if not set(taken).intersection(name for name, _ in network.named_parameters()):
        raise DataError(
            f"{file} holds no weight that fits ({_listed(left, own, state)}); {WHOLE}, or leave `init_from` out."
        )
    network.load_state_dict({**own, **{name: state[name] for name in taken}})
    refuse_infinite(network, file)
    kept = [name for name in own if name not in set(taken)]
    unused = sorted(set(state).difference(taken))
    if kept:
        say(f"Not from {file}: {len(kept)} of {len(own)} weights ({_listed(kept, own, state)}).")
    if unused:
        say(f"Not used of {file}: {len(unused)} of {len(state)} weights ({_some(unused)}).")
    return f"{len(taken)} of {len(own)} weights of "


def _names(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise RequestError(f"`init_from.{key}` is a list of names, such as [backbone], but got {short(value)}.")
    return tuple(value)


def _named(key: str, patterns: Sequence[str], names: Collection[str]) -> list[str]:
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            parts = sorted({".".join(name.split(".")[: pattern.count(".") + 1]) for name in names})
            raise RequestError(
                f"`init_from.{key}` names {pattern!r}, which no weight is called{nearest(pattern, parts)}"
            )
    return [name for name in names if any(matches(name, pattern) for pattern in patterns)]


def matches(name: str, pattern: str) -> bool:
    """Tell whether a weight's name is one, begins with one (whole between dots), or has a pattern's form.

    Example:
        >>> [matches("head.0.bias", pattern) for pattern in ("head", "hea", "*.bias", "head.0.bias")]
        [True, False, True, True]
    """
    return f"{name}.".startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def _listed(names: Sequence[str], own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return the first of some weights, each with its shapes where these differ."""
    written = []
    for name in names[:_NAMED]:
        shapes = [list(side[name].shape) for side in (own, state) if name in side]
        differ = len(shapes) == 2 and shapes[0] != shapes[1]
        written.append(f"{name}: {shapes[0]} here, {shapes[1]} there" if differ else name)
    return _some([*written, *names[_NAMED:]])


def _some(names: Sequence[str]) -> str:
    more = f", … {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(short(name)[1:-1] for name in names[:_NAMED])}{more}"
