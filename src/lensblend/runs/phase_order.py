"""Which of a run's phases was trained last: its record says so; the times of its files do not, a copy has others."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lensblend.errors import DataError, RequestError
from lensblend.runs.configuration import read_config
from lensblend.runs.status_file import read_status


def phases_in_order(run_dir: Path) -> list[str]:
    """Return a run's phases in the order in which they were trained.

    ``status.json`` knows it; where that is missing or damaged, ``config.yaml`` says in which order they were to be.

    Args:
        run_dir: The run's folder.
    """
    try:
        if trained := list(read_status(run_dir / "status.json").get("phases") or ()):
            return trained
    except (FileNotFoundError, DataError):
        pass
    try:
        schedule = read_config(run_dir).get("schedule") or {}
    except (RequestError, DataError):
        return []
    return list(schedule.get("run") or ())


def last_phase(run_dir: Path, having: Collection[str]) -> str | None:
    """Return the phase that was trained last, of those that have something; None if there is none.

    Args:
        run_dir: The run's folder.
        having: Names of phases.

    Raises:
        RequestError: There are several, and nothing says in which order they were trained.
    """
    known = [name for name in phases_in_order(run_dir) if name in having]
    if len(having) > 1 and not known:
        names = ", ".join(sorted(having))
        raise RequestError(
            f"`checkpoint` {run_dir} holds the phases {names}, but no status.json or config.yaml that says which was "
            f"trained last; name one of them, such as {run_dir / sorted(having)[0]}."
        )
    return known[-1] if known else next(iter(having), None)
