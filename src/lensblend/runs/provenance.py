"""``provenance.json``: of each start of a training the code, the command, the machine, and how it ended."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lensblend
from lensblend.errors import DataError, Interrupted, LensblendError
from lensblend.runs.commands import shell_word
from lensblend.runs.documents import read_json
from lensblend.runs.energy import Energy
from lensblend.runs.files import below
from lensblend.runs.log import kept_log
from lensblend.runs.machine import machine, packages, slurm
from lensblend.runs.messages import is_first_process, note, say
from lensblend.runs.redaction import redact, redact_arguments, redact_text
from lensblend.runs.repositories import Repository, package_folder, repository
from lensblend.storage import json_text, write_atomically

NAME = "provenance.json"
FOLDER = "provenance"  # diffs, by their hashes
FORMAT = 1


@contextmanager
def provenance(
    run_dir: Path, command: Sequence[str], gpus: Callable[[], Sequence[int]] = tuple
) -> Iterator[dict[str, str]]:
    """Record a start of a training while the block runs, and how it ends; keep its log.

    Only the first of several processes does. Whatever keeps it from being recorded is said, and stops no training.

    Args:
        run_dir: The run's folder, in which no other process trains.
        command: As it was typed.
        gpus: Returns the numbers of the GPUs that this machine's share of the training uses.

    Yields:
        The commits of what runs: ``lensblend``, and ``project`` where the current folder is another checkout; each
        marked by ``-dirty`` where files differ. Of an installed package, and outside of any checkout, none.
    """
    if not is_first_process():
        yield {}
        return
    with kept_log(run_dir):
        start = _Start(run_dir, command, gpus)
        code: int | None = 1
        try:
            yield start.commits
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            raise
        except (LensblendError, Interrupted) as error:
            code = error.exit_code
            raise
        finally:
            start.end(code)


class _Start:
    """One entry of the file: written when it begins, and again when it ends."""

    def __init__(self, run_dir: Path, command: Sequence[str], gpus: Callable[[], Sequence[int]]) -> None:
        self.commits: dict[str, str] = {}
        self._run_dir, self._began = run_dir, time.monotonic()
        self._energy: Energy | None = None
        self._entry: dict[str, Any] = {}
        used: Sequence[int] = ()
        with contextlib.suppress(LensblendError):  # the training itself says so
            used = gpus()
        try:
            self._begin(command, used)
        except Exception as error:  # of git, a driver, a disk; the training itself has lost nothing
            self._say_why(error)

    def _begin(self, command: Sequence[str], gpus: Sequence[int]) -> None:
        self._content = _content(self._run_dir)
        typed = " ".join(shell_word(word) for word in redact_arguments(command))
        note(f"Started: {typed}")
        code = self._code()
        about = {"machine": machine(gpus), "packages": packages()}
        key = hashlib.sha256(json_text(about, indent=None).encode()).hexdigest()[:12]
        self._content["environments"][key] = about
        self._entry = {
            "command": typed,
            "folder": redact(str(Path.cwd())),
            "code": code,
            "environment": key,
            "slurm": slurm(),
            "started": _now(),
            "ended": None,
            "seconds": None,
            "energy_joules": None,
            "exit_code": None,
        }
        starts = self._content["starts"]
        if starts and starts[-1].get("ended") is None:
            starts[-1]["was_killed"] = True
            say(
                f"The start of {starts[-1].get('started', 'an unknown time')} did not come to an end: it was killed, "
                "or the machine went down."
            )
        starts.append(self._entry)
        self._write()
        self._energy = Energy(gpus)

    def _code(self) -> dict[str, Any]:
        """Return what runs: this package, and the project that the training was started in."""
        own, here = package_folder(), Path.cwd().resolve()
        ours = repository(own) if own else None
        code = {"lensblend": {"version": lensblend.__version__, **self._checkout("lensblend", ours)}}
        theirs = repository(here)
        if theirs is not None and (ours is None or theirs.folder.resolve() != ours.folder.resolve()):
            code["project"] = {"folder": redact(str(theirs.folder)), **self._checkout("project", theirs)}
        return code

    def _checkout(self, name: str, found: Repository | None) -> dict[str, Any]:
        if found is None:
            return {}
        if found.name:
            self.commits[name] = found.name
        about: dict[str, Any] = {"commit": found.commit or None, "dirty": found.is_dirty}
        if found.untracked:
            about["untracked"] = redact(list(found.untracked))
        if found.diff:
            text = redact_text(found.diff)
            file = f"{FOLDER}/{hashlib.sha256(text.encode()).hexdigest()[:12]}.diff"
            below(self._run_dir, FOLDER)
            write_atomically(self._run_dir / file, text)
            about["diff"] = file
        if found.is_cut:
            about["diff_is_cut"] = True
        return about

    def end(self, exit_code: int | None) -> None:
        """Write how the start ended."""
        energy = None if self._energy is None else self._energy.stop()
        if not self._entry:
            return
        seconds = round(time.monotonic() - self._began, 1)
        self._entry.update(ended=_now(), seconds=seconds, energy_joules=energy, exit_code=exit_code)
        try:
            self._write()
        except LensblendError as error:
            self._say_why(error)

    def _write(self) -> None:
        write_atomically(self._run_dir / NAME, json_text(self._content) + "\n")

    def _say_why(self, error: Exception) -> None:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        say(f"{self._run_dir / NAME} is not complete: {said}")


def read_provenance(file: Path) -> dict[str, Any]:
    """Return what a ``provenance.json`` holds: ``starts``, the first one first, and ``environments`` by their keys.

    Raises:
        FileNotFoundError: There is none.
        DataError: It is damaged.
    """
    content = read_json(file)
    starts, environments = (
        content.get(key) if isinstance(content, dict) else None for key in ("starts", "environments")
    )
    if (
        not isinstance(starts, list)
        or not all(isinstance(start, dict) for start in starts)
        or not isinstance(environments, Mapping)
    ):
        raise DataError(f"{file} is damaged: it is not what a training writes.")
    return dict(content)


def _content(run_dir: Path) -> dict[str, Any]:
    """Return what is known of earlier starts; a damaged file is kept beside, and a new one begun."""
    file = run_dir / NAME
    try:
        return read_provenance(file)
    except FileNotFoundError:
        pass
    except DataError as error:
        aside = file.with_name(f"{NAME}.damaged")
        with contextlib.suppress(OSError):
            file.replace(aside)
        say(f"{error} It is kept as {aside}, and a new one begun.")
    return {"format": FORMAT, "starts": [], "environments": {}}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
