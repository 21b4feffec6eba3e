"""The configuration that a run's folder holds, taken up again: checked as a new one is, and kept within its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lensblend.cli.config import Train
from lensblend.cli.explanations import explain
from lensblend.cli.hydra_app import choices, plain
from lensblend.errors import DataError, RequestError, short
from lensblend.runs.commands import typed
from lensblend.runs.configuration import read_config
from lensblend.runs.instantiate import refuse_positional
from lensblend.runs.messages import say
from lensblend.storage import real

# Keys that say what a command does, and are no part of what is trained.
OF_THE_COMMAND = ("resume", "run_dir", "print_config")
# Arguments by which callbacks and loggers are told where to write.
PLACES = ("dirpath", "save_dir", "exclude_batches_path", "tracking_uri", "artifact_location")
# Names of folders below such a place.
PARTS = ("name", "version", "sub_dir")


def restored(run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that a run's folder holds, with the values given beside ``resume=`` set in it.

    Args:
        run_dir: The run's folder.
        overrides: The command line, as Hydra takes it.

    Raises:
        RequestError: The folder is no run's, an override is more than ``key=value``, or something would be written
            outside the folder.
        DataError: What the folder holds is no configuration of a training.
    """
    # What an earlier command allowed to change, this one does not.
    config = OmegaConf.create({**read_config(run_dir), "resume_overrides": []})
    groups, known = choices(), {field.name for field in fields(Train)}
    given = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if key in OF_THE_COMMAND:
            continue
        if override.is_delete() or key in groups:
            raise RequestError(
                f"`{override.input_line}` beside `{typed('resume', run_dir)}`: that run's configuration is restored "
                "as it was; only single values can be set, such as loader.num_workers=0."
            )
        is_there = key in known or OmegaConf.select(config, key, throw_on_missing=False, default=MISSING) is not MISSING
        if not override.is_add() and not is_there:
            raise RequestError(f"`{key}` is not a key of the configuration in {run_dir / 'config.yaml'}.")
        OmegaConf.update(config, key, override.value(), force_add=True)
        given.append(str(key))
    content = plain(config)
    content |= {key: value for key, value in _defaults().items() if key not in content}
    _check_types(content, run_dir / "config.yaml")
    return _within(run_dir, content, given)


def _defaults() -> dict[str, Any]:
    """Return what stands for keys that earlier versions did not write."""
    schema: Any = OmegaConf.to_container(OmegaConf.structured(Train), throw_on_missing=False)
    return {
        key: value
        for key, value in schema.items()
        if value not in (None, "???") and key not in ("schedule", *OF_THE_COMMAND)
    }


def _check_types(content: Mapping[str, Any], file: Path) -> None:
    """Refuse keys that there are not, and values of the wrong types, as composing does for a new training."""
    schema = OmegaConf.structured(Train)
    known = [field.name for field in fields(Train)]
    unknown = [key for key in content if key not in known]
    if unknown:
        raise DataError(f"{file} is damaged: `{unknown[0]}` is not a key of a training's configuration; remove it.")
    missing = [key for key in known if OmegaConf.is_missing(schema, key) and key not in (*content, "run_dir")]
    if missing:
        raise DataError(f"{file} is damaged: it has no `{missing[0]}`; repeat the run's own command.")
    for key, kinds in (("init_from", (str, dict)), ("name", (str,))):
        # The schema would make a text of a number.
        if not isinstance(content.get(key) or "", kinds):
            raise DataError(f"{file} is damaged: its `{key}` is {short(content[key])}, not a text.")
    try:
        OmegaConf.to_object(OmegaConf.merge(schema, dict(content), {"run_dir": str(file.parent)}))
    except OmegaConfBaseException as error:
        raise DataError(f"{file}: {explain(error, 'train')}") from None


def _within(run_dir: Path, content: dict[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """Keep a training that goes on in a folder from writing outside it, unless the command itself says where.

    Args:
        run_dir: The run's folder.
        content: Its configuration.
        given: The keys that the command set.
    """
    for group in ("data", "callbacks", "logger"):
        refuse_positional(content[group], group)
    content = {**content, "data": _uncached(content["data"], "data", run_dir, given)}
    nodes = {f"{group}.{name}": node for group in ("callbacks", "logger") for name, node in content[group].items()}
    for where, node in nodes.items():
        for key in (*PLACES, *PARTS) if isinstance(node, dict) else ():
            place, full = node.get(key), f"{where}.{key}"
            if place and full not in given and _leads_out(key, str(place), run_dir):
                raise RequestError(
                    f"`{full}` in {run_dir / 'config.yaml'} is {place!r}, outside the run's folder; to write there, "
                    f"add {typed(full, place)}"
                )
    return content


def _leads_out(key: str, place: str, run_dir: Path) -> bool:
    """Tell whether what a callback or logger is given names a place on this machine outside the run's folder."""
    path = Path(place.removeprefix("file:"))
    if key in PARTS:
        return path.is_absolute() or ".." in path.parts
    return not place.startswith(("http://", "https://")) and not real(path).is_relative_to(real(run_dir))


def _uncached(node: Any, where: str, run_dir: Path, given: Sequence[str]) -> Any:
    """Return a data set's node, and those of the data sets in it, keeping pairs only where the command says so."""
    if isinstance(node, list):
        return [_uncached(value, f"{where}[{index}]", run_dir, given) for index, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    cache, place = node.get("cache"), f"{where}.cache"
    if cache and place not in given:
        say(f"Pairs are not kept in {cache}, as {run_dir / 'config.yaml'} says; for that, add {typed(place, cache)}")
        node = {**node, "cache": None}
    return {key: _uncached(value, f"{where}.{key}", run_dir, given) for key, value in node.items()}
