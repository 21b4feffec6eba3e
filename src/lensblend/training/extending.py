"""A phase that goes on beyond the length that it had: what its run keeps of it, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lensblend.errors import RequestError
from lensblend.runs.messages import say
from lensblend.training.introduction import length_words
from lensblend.training.learning_rate import EXTEND
from lensblend.training.phases import Schedule
from lensblend.training.resume import Stopped


def with_record(config: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with a run's own record of phases that were made longer, whoever composed it.

    Args:
        config: The configuration to go on with.
        trained: The run's own.
    """
    known = (trained.get("schedule") or {}).get("extended")
    if not known or config["schedule"].get("extended"):
        return dict(config)
    return {**config, "schedule": {**config["schedule"], "extended": known}}


def refuse_nothing_longer(config: Mapping[str, Any], run_dir: Path) -> None:
    """Refuse to say of a training that begins how its phases are made longer.

    Raises:
        RequestError: It does.
    """
    for key in ("extend", "extended"):
        if value := config["schedule"].get(key):
            raise RequestError(
                f"`schedule.{key}={value}` would have no effect: nothing was trained in {run_dir} that could be made "
                "longer; leave it out."
            )


def extended(
    config: Mapping[str, Any], trained: Mapping[str, Any], phase: str, stopped: Stopped
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Note that a phase is made longer.

    Args:
        config: The configuration to go on with.
        trained: The run's own so far.
        phase: The phase's name.
        stopped: Where it was.

    Returns:
        The configuration with the note in its ``schedule.extended``, and what ``status.json`` keeps, with the time.
    """
    schedule = Schedule.from_config(config["schedule"])
    before, (epoch, batch, batches) = Schedule.from_config(trained["schedule"]).phases[phase], stopped.position
    note = {
        "max_epochs": before.max_epochs,
        "max_steps": before.max_steps,
        "epoch": epoch,
        "batch": batch,
        "batches": batches,
        "step": stopped.step,
        "extend": schedule.extend or EXTEND[0],
    }
    notes = {**schedule.extended, phase: [*schedule.extended.get(phase, []), note]}
    now = schedule.phases[phase]
    lengths = f"from {length_words(before.length)} to {length_words(now.length)}"
    rule = "is held at its last value" if note["extend"] == "hold" else "takes its path through the new length up here"
    say(
        f"{phase}: made longer after step {stopped.step}, {lengths}; "
        f"the learning rate {'of its scheduler goes on' if now.scheduler else rule}"
    )
    kept = {**config, "schedule": {**config["schedule"], "extended": notes}}
    return kept, {**note, "at": datetime.now(UTC).isoformat(timespec="seconds")}
