"""The door for users' own code: packages whose classes may stand in configurations and checkpoints beside ours.

Two words open it, both the user's own: installing a package that has an entry point in the group
``lensblend.extensions``, and ``--allow PACKAGE`` (or ``LENSBLEND_ALLOW``) in a command. No configuration and no
checkpoint can. Either way a package brings its classes, by their roles; and, where it has them, the configurations in
its folder ``conf``, and a verb for each module in its folder ``cli``. Nothing here imports it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path

from lensblend.errors import RequestError, short

GROUP = "lensblend.extensions"
# Inherited by the jobs of a sweep, the other processes of a training, and SLURM's tasks.
VARIABLE = "LENSBLEND_ALLOW"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")
# Of these, roles.py says class by class what may be named: in the rest lie classes that start processes or write files.
_OURS = {"lensblend", "hydra_plugins", "hydra", "omegaconf", "torch", "pytorch_lightning", "lightning_fabric", "wandb"}


def admit(names: Iterable[str]) -> None:
    """Let packages in, for this process and those that it starts.

    Args:
        names: Dotted names of packages, each also several, separated by commas.

    Raises:
        RequestError: One of all that are let in is none, cannot be found, or is no user's own.
    """
    asked = [name.strip() for text in (os.environ.get(VARIABLE, ""), *names) for name in text.split(",")]
    if given := list(dict.fromkeys(filter(None, asked))):
        os.environ[VARIABLE] = ",".join(given)
    for name in packages():
        if not _NAME.fullmatch(name):
            raise RequestError(
                f"`--allow`, {VARIABLE} and entry points name a package, such as `my_project`, but got {short(name)}."
            )
        if not could_be_own(name):
            raise RequestError(
                f"`--allow {name}`: which classes of it a configuration may name is decided already, since others of "
                "them write files or start processes; allow the package that holds your own."
            )
        if _folder(name) is None:
            raise RequestError(
                f"`--allow {name}` (or {VARIABLE}, or an entry point of an installed package): there is no package "
                f"{name}; install it (pip install -e FOLDER), or start from the folder that it lies in."
            )


def packages() -> tuple[str, ...]:
    """Return the packages that are let in: those installed for it, then those of this command."""
    return (*_installed(), *filter(None, os.environ.get(VARIABLE, "").split(",")))


def could_be_own(name: str) -> bool:
    """Tell whether a dotted name may be of a user's own package: neither Python's, nor ours, nor of a library below us.

    Example:
        >>> could_be_own("my_project.networks"), could_be_own("os"), could_be_own("torch.hub")
        (True, False, False)
    """
    return name.partition(".")[0] not in _OURS | sys.stdlib_module_names


def config_folders() -> list[Path]:
    """Return the folders of configurations that the packages bring."""
    folders = (folder / "conf" for name in packages() if (folder := _folder(name)))
    return [folder for folder in folders if folder.is_dir()]


def verbs() -> dict[str, str]:
    """Return the module of each verb that the packages bring, by the verb."""
    return {
        file.stem: f"{name}.cli.{file.stem}"
        for name in packages()
        if (folder := _folder(name))
        for file in sorted((folder / "cli").glob("[!_]*.py"))
    }


@functools.cache
def _installed() -> tuple[str, ...]:
    return tuple(dict.fromkeys(point.value for point in entry_points(group=GROUP)))


def _folder(name: str) -> Path | None:
    """Return where a package lies, without importing it or what it lies in; None where there is none."""
    top, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(top) or _find_here(top)
    except ValueError:  # a module made by hand, such as a test's
        return None
    for part in below:
        spec = PathFinder.find_spec(part, list((spec and spec.submodule_search_locations) or []))
    places = list((spec and spec.submodule_search_locations) or [])
    return Path(places[0]) if places else None


def _find_here(name: str) -> ModuleSpec | None:
    """Find a package that has been let in in the current folder, which is then looked in after all other places."""
    try:
        here = os.getcwd()
    except OSError:
        return None
    spec = PathFinder.find_spec(name, [here])
    if spec is not None and here not in sys.path:
        sys.path.append(here)
    return spec
