"""One message for what Hydra or the schema refuses: the value, what is wrong with it, and the nearest valid one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from re import Match
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from lensblend.cli.config import config_folder
from lensblend.errors import LensblendError, closest
from lensblend.runs.earlier import TERM_KEYS


def explain(error: Exception, config_name: str) -> str:
    """Return one message for what a user can correct.

    Args:
        error: What was raised.
        config_name: The top-level file, whose keys are searched for the nearest to a misspelt one.
    """
    if isinstance(error, LensblendError):
        return str(error)
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OverrideParseException):
            return _unreadable(link)
    text = "\n".join(dict.fromkeys(filter(None, (str(link).strip() for link in chain))))
    unknown = re.search(r"(?:Could not override '|Key ')([\w./@]+)'", text)
    if unknown and "not in" in text:
        # In a value that is a group of keys, the one that is wrong may be further down.
        below = re.findall(r"full_key: ([\w.]+)", text)
        full = next((key for key in below if key.startswith(f"{unknown.group(1)}.")), unknown.group(1))
        return unknown_key(full, *_known_keys(config_name))
    # Where Hydra looked is no help to who asked.
    return answered(text) or text.partition("Config search path:")[0].strip()


def answered(text: str) -> str | None:
    """Return what is said instead of what Hydra or OmegaConf say; None for what is not known here."""
    for pattern, answer in ANSWERS:
        found = re.search(pattern, text)
        if found:
            return answer(found)
    return None


def unknown_key(key: str, known: Sequence[str], free: Sequence[str] = ()) -> str:
    """Say that a key does not exist, and which does: the nearest beside it or as a whole, or one that ends alike.

    Args:
        key: The wrong one, dotted; if ``known`` has it all the same, it is free text that something refused.
        known: All keys there are.
        free: Those that take further keys: the arguments of something.

    Example:
        >>> unknown_key("batchsize", ["seed", "schedule.every_phase.batch_size", "batch_size"])
        '`batchsize` is not a key of the configuration; did you mean `batch_size`?'
        >>> unknown_key("batch_size", ["seed", "schedule.every_phase.batch_size"])
        '`batch_size` is not a key of the configuration; did you mean `schedule.every_phase.batch_size`?'
        >>> unknown_key("optimizer.momentum", ["optimizer", "optimizer.lr"], free=["optimizer"])
        '`optimizer.momentum` is not a key of the configuration; to add it, write +optimizer.momentum=VALUE.'
        >>> unknown_key("model.compile", ["model", "model.bank", "module", "module.compile"])
        '`model.compile` is not a key of the configuration; did you mean `module.compile`?'
        >>> unknown_key("loader.pin", ["loader", "loader.flips", "seed"])
        '`loader.pin` is not a key of the configuration. In `loader` there are: flips.'
    """
    place, _, last = key.rpartition(".")
    others = [k for k in known if k != key and not key.startswith(f"{k}.")]
    beside = [k for k in others if k.rpartition(".")[0] == place] if place in known else []
    alike = [k for k in others if k.rpartition(".")[2] == last]
    # What holds for all phases comes before what holds for one.
    alike.sort(key=lambda k: "every_phase" not in k)
    near = f"{place}.{TERM_KEYS[last]}" if last in TERM_KEYS else None
    if near is None and place in known:
        near = next((k for k in beside if k.rpartition(".")[2] == closest(last, [_last(k) for k in beside])), None)
        near = near or (alike[0] if len(alike) == 1 else None)
    elif near is None:
        near = closest(key, others, least=0.65) or next(iter(alike), None)
    said = f"`{key}` is not a key of the configuration"
    if near:
        return f"{said}; did you mean `{near}`?"
    if place in free:
        return f"{said}; to add it, write +{key}=VALUE."
    listed = ", ".join(_last(k) for k in beside)
    return f"{said}. In `{place}` there are: {listed}." if listed else f"{said}; `--cfg job` prints the keys there are."


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _unreadable(error: OverrideParseException) -> str:
    given = error.override or ""
    reason = str(error).strip().splitlines()
    said = f" ({reason[0]})" if reason and given not in reason[0] else ""
    return (
        f"`{given}` cannot be read as KEY=VALUE{said}. A list is key=[a,b]; a value with = , [ or a space "
        "is quoted twice: 'key=\"a=b\"'."
    )


def _wrong_type(found: Match[str]) -> str:
    said, key = found.group(1), found.group(2)
    return f"`{key}` has the wrong type: {said[0].lower()}{said[1:]}."


def _no_option(found: Match[str]) -> str:
    group, value, listed = found.groups()
    names = re.findall(r"^\s+(\w+)$", listed, flags=re.MULTILINE)
    if (group, value) == ("hydra/sweeper", "optuna"):
        return "`hydra/sweeper=optuna` needs Optuna, which is not installed: pip install 'lensblend[optuna]'."
    # A group without a default is added, not changed.
    plus = "+" if any(argument.startswith(f"+{group}=") for argument in sys.argv) else ""
    near = closest(value, names)
    guess = f"; did you mean `{plus}{group}={near}`?" if near else "."
    return f"`{plus}{group}={value}` is not an option{guess} There are: {', '.join(names)}."


def _several(found: Match[str]) -> str:
    key, _, values = found.group(1).partition("=")
    return f"`{key}={values}` is several values: add --multirun to run each, or write {key}=[{values}] for a list."


def _typed(pattern: str) -> str:
    """Return the argument of the command line in which something is written, or what was looked for."""
    return next((argument for argument in sys.argv[1:] if re.search(pattern, argument)), pattern)


def _no_choice(found: Match[str]) -> str:
    options = {folder.name: folder for folder in config_folder().iterdir() if folder.is_dir()}
    for argument in sys.argv[1:]:
        group, _, value = argument.lstrip("+").partition("=")
        if group in options and (not value.isidentifier() or value.lower() in ("null", "true", "false")):
            names = ", ".join(sorted(file.stem for file in options[group].glob("*.yaml")))
            return f"`{argument}` is not an option; leave it out, or choose one. There are: {names}."
    return f"`{_typed('^=')}` names no key: write KEY=VALUE, or GROUP=NAME."


def _no_key(found: Match[str]) -> str:
    said = f"`${{{found.group(1)}}}` stands for a key of the configuration, but there is none"
    return f"`{_typed(re.escape(found.group(1)))}`: {said}; a text that begins so is written \\${{...}}."


_KINDS = {"dict": "a group of keys", "list": "a list"}
# What Hydra and OmegaConf say, and what is said instead; the first that fits.
ANSWERS: tuple[tuple[str, Callable[[Match[str]], str]], ...] = (
    # What this project's own resolvers say.
    (r"(?:Request|Storage)Error raised while resolving interpolation: (.+)", lambda m: m.group(1)),
    (
        r"Missing mandatory value: [\s\S]*full_key: ([\w.]+)",
        lambda m: f"`{m.group(1)}` is not set; give it on the command line: {m.group(1)}=VALUE.",
    ),
    (r"(Value .* could not be converted to \w+)[\s\S]*full_key: (\S+)", _wrong_type),
    (r"(Value .* is not a valid \w+)[\s\S]*full_key: (\S+)", _wrong_type),
    (
        r"Cannot convert '(\w+)' to (?:string|\w+): (.*)\s+full_key: (\S+)",
        lambda m: f"`{m.group(3)}` is a text, but got {_KINDS.get(m.group(1), m.group(1))}: {m.group(2)}",
    ),
    (
        r"Cannot merge DictConfig with ListConfig\s+full_key: (\S+)",
        lambda m: f"`{m.group(1)}` is a list, but got a group of keys: write {m.group(1)}=[a,b].",
    ),
    (
        r"Index '(\S+)' \(str\) is not an int\s+full_key: (\S+)\.\S+",
        lambda m: f"`{m.group(2)}` is a list and has no key `{m.group(1)}`: write {m.group(2)}=[a,b].",
    ),
    (
        r"Invalid value assigned: \w+ is not a ListConfig[\s\S]*full_key: (\S+)",
        lambda m: f"`{m.group(1)}` is a list: write {m.group(1)}=[a,b], or [a] for a single one.",
    ),
    (
        r"Invalid \w+ assigned: \w+ is not a (?:subclass of \w+|\w*[Dd]ict\w*)[\s\S]*full_key: (\S+)",
        lambda m: f"`{m.group(1)}` is a group of keys; set one of them: {m.group(1)}.KEY=VALUE.",
    ),
    (
        r"field '[\w.]+' is not Optional\s+full_key: (\S+)",
        lambda m: f"`{m.group(1)}` is never null; leave it out to keep its default, or set another value.",
    ),
    (r"Could not load '[\w/]+/(\w*)'", _no_choice),
    (r"Config group override must be a string or a list\. Got (\w+)", _no_choice),
    (r"Interpolation key '(.+?)' not found", _no_key),
    (
        r"Recursive interpolation detected",
        lambda m: f"`{_typed(re.escape('${'))}` stands for a key that leads back to itself; write its value.",
    ),
    (r"Could not find '([\w/]+)/([^'\n]*)'[\s\S]*Available options in '[\w/]+':([\s\S]*)", _no_option),
    (r"Ambiguous value for argument '(.+)'", _several),
    (
        r"Could not override '([\w/]+)'\. No match in the defaults list\.\s*To append .* use (\+\S+)",
        lambda m: f"`{m.group(1)}` has no default to change; did you mean `{m.group(2)}`?",
    ),
    (
        r"Multiple values for ([\w/]+)\. To override a value use 'override [\w/]+: (\w+)'",
        lambda m: f"`{m.group(1)}` is chosen already; to change it, leave out the +: {m.group(1)}={m.group(2)}.",
    ),
    (
        r"BasicSweeper does not support sweep type : (\w+)_SWEEP",
        lambda m: f"`{m.group(1).lower()}(…)` leaves open which values; a multirun needs each: KEY=A,B,C.",
    ),
)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _known_keys(config_name: str) -> tuple[list[str], list[str]]:
    """Return every key of the default configuration, dotted, and those among them that take further ones."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = hydra.compose(config_name)
    found = dict(dotted(config))
    groups = {path: node for path, node in found.items() if isinstance(node, DictConfig)}
    return list(found), [path for path, node in groups.items() if OmegaConf.get_type(node) is dict]


def dotted(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key below a node of a configuration, dotted, and what stands there."""
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for key in node:
            path = f"{prefix}.{key!s}" if prefix else str(key)
            below = node._get_node(key)
            yield path, below
            if not OmegaConf.is_missing(node, key):
                yield from dotted(below, path)
