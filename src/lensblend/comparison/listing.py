"""What lies below a folder: each run's state, scores, age and size, and what tells it from the others."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from lensblend.comparison.labels import differences, short_name, short_value
from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError, nearest
from lensblend.runs.configuration import flat
from lensblend.runs.documents import parse_yaml
from lensblend.runs.earlier import config_today
from lensblend.runs.folders import natural, run_folders, shown, size_of
from lensblend.runs.status import held_by, last_host
from lensblend.runs.status_file import read_status

# `killed`: it says that it is running, and its process is gone. `elsewhere`: it says so of another machine, whose locks
# are not seen here. `new`: it has not begun. `damaged`: what it says of itself cannot be read.
STATES = ("running", "done", "stopped", "pruned", "failed", "interrupted", "killed", "elsewhere", "new", "damaged")
# Scores that runs are sorted by, and whether the larger one is the better one.
SCORES = {"psnr": True, "ssim": True, "lpips": False}
_TOP = re.compile(r"[A-Za-z_]\w*:(?:[ \n]|$)")


@dataclass(frozen=True)
class Listed:
    """One run of a list.

    Attributes:
        folder: Its own, from the current folder where it lies below.
        state: One of ``STATES``.
        fault: What is wrong with its files, or why it failed; empty where nothing is.
        phase: The phase that it is in, or was last.
        number: That phase's place in the run, from 1; 0 where that is not known.
        phases: How many phases there are; 0 where that is not known.
        step: Optimizer steps of the phase that are saved.
        epochs: Epochs of it that were trained; None before its end.
        max_epochs: Epochs that it is to be trained.
        scores: By name without ``val/``: the best of what its last finished phase is chosen by, the others at its end.
        updated: When it last said something of itself.
        size: Bytes of all its files.
        config: Its configuration by dotted keys, and the options of its groups by their names.
        differs: What tells it from the others, see `set_apart`: of keys in which they differ, its values.
    """

    folder: Path
    state: str
    fault: str = ""
    phase: str = ""
    number: int = 0
    phases: int = 0
    step: int = 0
    epochs: int | None = None
    max_epochs: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    updated: datetime | None = None
    size: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    differs: Mapping[str, Any] = field(default_factory=dict)


def list_runs(folder: Path) -> list[Listed]:
    """Return the runs in and below a folder, in natural order, the damaged ones among them.

    Args:
        folder: Nothing in it is changed, and no link in it is followed.

    Raises:
        RequestError: It is no folder.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder; give one below which runs lie.")
    known: dict[str, Any] = {}
    return [_listed(run_dir, known) for run_dir in run_folders(folder)]


def chosen(
    runs: Sequence[Listed], states: Sequence[str] = (), where: Sequence[str] = (), sort: str = "name"
) -> list[Listed]:
    """Return those of a list that are asked for.

    Args:
        runs: The list.
        states: States, one of which they have; none: any.
        where: ``KEY=VALUE`` each: what their configuration says, or the option chosen in a group.
        sort: ``name``; ``age``, the newest first; ``size``, the largest first; or one of ``SCORES``, the best first.

    Raises:
        RequestError: A ``where`` is no such pair, or no run has its key.
    """
    kept = [run for run in runs if not states or run.state in states]
    for text in where:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise RequestError(f"`--where` is KEY=VALUE, such as seed=1 or kernels=gaussian_75, but got {text!r}.")
        names = {name for run in runs for name in run.config}
        if runs and key not in names:
            raise RequestError(f"`--where {text}`: no run here has the key {key}{_nearest(key, names)}")
        wanted = parse_yaml(value, "`--where`", as_typed=True)
        kept = [run for run in kept if key in run.config and _says(run.config[key], value, wanted)]
    return sorted(kept, key=_order(sort))


def _nearest(key: str, names: Iterable[str]) -> str:
    ends = {name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]}
    return nearest(key, sorted(ends or {name for name in names if "." not in name}))


def _says(value: Any, typed: str, wanted: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(typed) == value  # YAML takes 1e-3 for a text
    return value == wanted or str(value) == typed or short_value(value) == typed


def _order(sort: str) -> Callable[[Listed], Any]:
    if sort == "age":
        oldest = datetime.fromtimestamp(0, UTC)
        return lambda run: -(run.updated or oldest).timestamp()
    if sort == "size":
        return lambda run: -run.size
    if sort in SCORES:
        sign = -1 if SCORES[sort] else 1
        return lambda run: (sort not in run.scores, sign * run.scores.get(sort, 0.0))
    return lambda run: natural(run.folder)


def _listed(run_dir: Path, known: dict[str, Any]) -> Listed:
    """Read what a run says of itself; what cannot be read is its fault."""
    place, faults = shown(run_dir), []
    run = partial(Listed, place, size=size_of(run_dir))
    config: dict[str, Any] = {}
    try:
        config = _read_config(run_dir / "config.yaml", known)
    except FileNotFoundError:
        faults.append("config.yaml is missing")
    except DataError as error:
        faults.append(str(error))
    updated = _changed(run_dir)
    try:
        status = read_status(run_dir / "status.json")
    except FileNotFoundError:
        has_begun = any(run_dir.glob("*/*.ckpt"))
        fault = "status.json is missing" if has_begun else ""
        return run("damaged" if has_begun else "new", fault, updated=updated, config=_keys(config, {}))
    except DataError as error:
        return run("damaged", str(error), updated=updated, config=_keys(config, {}))
    state = _state(run_dir, str(status.get("state", "new")))
    if status.get("error") and state in ("failed", "interrupted"):
        faults.append(str(status["error"]))
    phases: Mapping[str, Mapping[str, Any]] = status.get("phases") or {}
    phase = str(status.get("phase") or "")
    entry = phases.get(phase) or {}
    schedule = config.get("schedule")
    schedule = schedule if isinstance(schedule, Mapping) else {}
    order = schedule.get("run")
    order = [str(name) for name in order] if isinstance(order, list) else []
    return run(
        state if state in STATES else "damaged",
        "; ".join(faults),
        phase,
        order.index(phase) + 1 if phase in order else 0,
        len(order),
        int(entry.get("step") or 0),
        entry.get("epochs"),
        _max_epochs(schedule, phase),
        _scores(phases),
        updated=_time(status.get("updated")) or updated,
        config=_keys(config, status.get("choices") or {}),
    )


def _state(run_dir: Path, said: str) -> str:
    """Return how a run stands, which is not what it said last where its process is gone."""
    if held_by(run_dir):
        return "running"
    if said != "running":
        return said
    return "killed" if last_host(run_dir) in (None, socket.gethostname()) else "elsewhere"


def _scores(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of the last phase that has any."""
    for phase in reversed(list(phases.values())):
        found = {**(phase.get("scores") or {}), **(phase.get("best") or {})}
        if found:
            return {str(name).removeprefix("val/"): value for name, value in found.items() if value is not None}
    return {}


def _max_epochs(schedule: Mapping[str, Any], phase: str) -> int | None:
    phases, everywhere = schedule.get("phases"), schedule.get("every_phase")
    own = phases.get(phase) if isinstance(phases, Mapping) else None
    found = [node.get("max_epochs") for node in (everywhere, own) if isinstance(node, Mapping)]
    counts = [count for count in found if isinstance(count, int)]
    return counts[0] if counts and schedule.get("total_epochs") is None else None


def _keys(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any]:
    return {**choices, **flat(config)}


def set_apart(runs: Sequence[Listed]) -> list[Listed]:
    """Return the runs, each with what tells it from the others whose configuration can be read."""
    readable = [run for run in runs if run.config]
    if len(readable) < 2:
        return list(runs)
    varying = differences([run.config for run in readable])
    names = {key: short_name(key, list(varying)) for key in varying}
    at = {id(run): index for index, run in enumerate(readable)}
    return [
        replace(run, differs={names[key]: values[at[id(run)]] for key, values in varying.items()})
        if id(run) in at
        else run
        for run in runs
    ]


def _read_config(file: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Read a configuration, of which parts that many runs share are parsed once.

    Args:
        file: As a training writes it.
        known: What was parsed so far, by its text.
    """
    text = read_text(file)
    try:
        parts = [_parsed(part, file, known) for part in _parts(text)]
    except DataError:  # of a part only: a text that begins a line like a key, or what stands for another part
        parts = [_parsed(text, file, {})]
    if not all(isinstance(part, dict) for part in parts):
        raise DataError(f"{file} is damaged: it holds no configuration.")
    return {key: value for part in parts for key, value in part.items()}


def _parsed(text: str, file: Path, known: dict[str, Any]) -> Any:
    if text not in known:
        known[text] = config_today(parse_yaml(text, file))
    return known[text]


def _parts(text: str) -> list[str]:
    """Return the text of each key of a mapping; the whole text where it is no mapping, or more than one document."""
    if re.search(r"^(?:%|---|\.\.\.)", text, re.M) or not _TOP.match(text):
        return [text]
    lines = text.splitlines(keepends=True)
    begins = [number for number, line in enumerate(lines) if _TOP.match(line)]
    ends = [*begins[1:], len(lines)]
    return ["".join(lines[begin:end]) for begin, end in zip(begins, ends, strict=True)]


def _changed(run_dir: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(os.lstat(run_dir).st_mtime, UTC)
    except OSError:
        return None


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
