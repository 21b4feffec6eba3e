"""The command line before Hydra reads it: paths are taken as they are, whatever Hydra's grammar makes of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from lensblend.runs.commands import override
from lensblend.runs.places import NAMES

# Keys at the top, and Hydra's own, that are one path each.
ONE_PATH = (
    *("resume", "run_dir", "init_from", "output", "predictions", "targets", "photos"),
    *("hydra.run.dir", "hydra.sweep.dir"),
)
# Keys that may also be a list.
PATHS = ("checkpoint", "data.exclude")
# What Hydra answers instead of running.
_SHOWN = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--info", "-i", "--package", "-p")
_MULTIRUN = ("--multirun", "-m")
# Flags that the next argument is the value of.
_VALUED = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--experimental-rerun", "--allow"),
)


def as_meant(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which paths that Hydra would read as something else stand in quotes, and flags first.

    ``run_dir=a, b`` is a folder, and so is ``resume=lr=1e-3``. What Hydra reads as a text, as a list where there may be
    one, or as several values of a multirun is left alone, unless a file of just that name exists.

    Example:
        >>> as_meant(["resume=runs/lr=1e-3, a b", "seed=1", "checkpoint=[a,b]", "run_dir='a b'"])
        ['resume="runs/lr=1e-3, a b"', 'seed=1', 'checkpoint=[a,b]', "run_dir='a b'"]
        >>> as_meant(["seed=1,2", "--config-dir", "a=b", "data=ebb", "--multirun", "~debug"])
        ['--config-dir', 'a=b', '--multirun', 'seed=1,2', 'data=ebb', '~debug']
        >>> as_meant([])
        []
    """
    multirun = any(argument in _MULTIRUN for argument in arguments)
    arguments = _start_in_parts(_lightnings_folder_last(list(arguments)))
    return _flags_first([_as_meant(argument, multirun) for argument in arguments])


def _flags_first(arguments: Sequence[str]) -> list[str]:
    """Put overrides after all flags: Python's argparse takes none that stand on both sides of one."""
    flags: list[str] = []
    overrides: list[str] = []
    for argument, before in zip(arguments, ["", *arguments], strict=False):
        is_override = before not in _VALUED and re.match(r"~|[+\w][^=]*=", argument)
        (overrides if is_override else flags).append(argument)
    return [*flags, *overrides]


def _lightnings_folder_last(arguments: list[str]) -> list[str]:
    """Write the folder anew that Lightning gives to the processes it starts: in quotes, whatever its name holds."""
    for at, argument in enumerate(arguments[:-1]):
        if argument.startswith('hydra.run.dir="') and arguments[at + 1].startswith("hydra.job.name=train_ddp_process_"):
            folder = argument.partition("=")[2][1:-1]
            # In this order, nothing is taken for Lightning's own when the command line is read once more.
            return [arguments[at + 1], *arguments[:at], *arguments[at + 2 :], override("hydra.run.dir", folder)]
    return arguments


def _start_in_parts(arguments: list[str]) -> list[str]:
    """Write ``init_from=PATH`` as ``init_from.path=PATH`` where the command says more of it.

    Example:
        >>> _start_in_parts(["init_from=a", "init_from.strict=false"]), _start_in_parts(["init_from=a"])
        (['++init_from.path=a', '++init_from.strict=false'], ['init_from=a'])
    """
    if not any(re.match(r"\+*init_from\.\w+=", argument) for argument in arguments):
        return arguments
    whole = [re.sub(r"^\+*init_from=(?!\{)", "++init_from.path=", argument) for argument in arguments]
    return [re.sub(r"^\+*init_from\.", "++init_from.", argument) for argument in whole]


def _as_meant(argument: str, multirun: bool) -> str:
    key, _, text = argument.partition("=")
    name = key.lstrip("+")
    if not text or text == "null" or not _is_path(name):
        return argument
    if os.path.lexists(text):
        return override(key, text)
    try:
        parsed = OverridesParser.create().parse_override(argument)
    except HydraException:
        return override(key, text)
    if parsed.is_sweep_override():
        return argument if multirun else override(key, text)
    value = parsed.value()
    if isinstance(value, str):
        return argument if text == text.strip() else override(key, text)
    may_be_list = name in PATHS and isinstance(value, list)
    return argument if may_be_list or value is None else override(key, text)


def _is_path(name: str) -> bool:
    return name in (*ONE_PATH, *PATHS) or ("." in name and name.rpartition(".")[2] in NAMES)


def given(arguments: Sequence[str], key: str) -> str | None:
    """Return the text that a command line sets a key to; None where it sets it to none, or to one that is looked up.

    Args:
        arguments: As `as_meant` returns them.
        key: The key.
    """
    texts = [argument for argument in arguments if argument.lstrip("+").startswith(f"{key}=")]
    if not texts:
        return None
    try:
        value = OverridesParser.create().parse_override(texts[-1]).value()
    except HydraException:
        return None
    if not isinstance(value, str) or re.search(r"(?<!\\)\$\{", value):
        return None
    return value.replace("\\${", "${")


def is_multirun(arguments: Sequence[str]) -> bool:
    """Tell whether a command line runs several jobs, and is not just answered by Hydra."""
    return not _is_shown(arguments) and any(argument in _MULTIRUN for argument in arguments)


def is_one_run(arguments: Sequence[str]) -> bool:
    """Tell whether a command line runs one job, and is not just answered by Hydra."""
    return not _is_shown(arguments) and not any(argument in _MULTIRUN for argument in arguments)


def _is_shown(arguments: Sequence[str]) -> bool:
    return any(argument.partition("=")[0] in _SHOWN for argument in arguments)
