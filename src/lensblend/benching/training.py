"""Where the time of a training goes, phase by phase: a real one, of which nothing is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensblend.benching.report import write
from lensblend.benching.tables import rounded
from lensblend.errors import DataError, RequestError
from lensblend.inference.evaluation import aligned

FILE = "parts.json"
PARTS = ("data", "transfer", "forward", "backward", "optimizer", "logging")
# Keys that the measurement sets itself, or that would keep what it does not.
OURS = (
    *("run_dir", "resume", "resume_overrides", "hydra", "trainer.profiler", "trainer.limit_train_batches"),
    *("trainer.limit_val_batches", "schedule.total_epochs", "schedule.every_phase.max_epochs", "callbacks.parts"),
)
_EXPLAINED = (
    "A real training: of each phase one epoch of at most {steps} steps, then a validation of at most {steps} batches. "
    "Seconds a step are medians after the first step (`first s`), split into data (waiting for the loader), transfer "
    "to the device, forward with the loss, backward, optimizer, and logging: what is left, of loggers, callbacks and "
    "Lightning's loop. On a GPU each part ends when the device has done it. `loader/s`: photos that the loader gives "
    "alone, once the phase has trained. `validation s`: all of it, with its callbacks and checkpoints."
)
_HEADS = (
    *("phase", "batch", "steps", "first s", "steps/s", "photos/s", *(f"{part} s" for part in PARTS)),
    *("loader/s", "validation s"),
)


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse overrides of what the measurement decides itself.

    Raises:
        RequestError: One of them is among ``OURS``.
    """
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if any(key == own or key.startswith(f"{own}.") for own in OURS):
            raise RequestError(
                f"`{override}` would have no effect: `lensblend bench training` sets it itself; leave it out, and say "
                "with `--rounds` how many steps are timed."
            )


def arguments_of(overrides: Sequence[str], rounds: int) -> list[str]:
    """Return the overrides of a short training that is timed, but for its folder.

    Args:
        overrides: Of the training that is meant.
        rounds: Steps that are timed after the first.
    """
    return [
        *overrides,
        "schedule.total_epochs=null",
        "schedule.every_phase.max_epochs=1",
        "schedule.every_phase.validate_every=1",
        "schedule.every_phase.lr_path=cosine",
        f"++trainer.limit_train_batches={rounds + 1}",
        f"++trainer.limit_val_batches={rounds + 1}",
        "+callbacks.parts._target_=lensblend.training.callbacks.parts.Parts",
        f"+callbacks.parts.batches={rounds}",
    ]


def phases_in(run_dir: Path) -> list[dict[str, Any]]:
    """Return what each phase of a timed training found, in the order in which they trained.

    Raises:
        DataError: There is none.
    """
    files = sorted(run_dir.glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        raise DataError("The training ended without a step, so that nothing is known of its time; see above.")
    return [{"phase": file.parent.name, **json.loads(file.read_text(encoding="utf-8"))} for file in files]


def write_training(phases: Sequence[Mapping[str, Any]], rounds: int, about: Mapping[str, str], output: Path) -> str:
    """Write what a training's time went into, and return the tables.

    Args:
        phases: As `phases_in` returns them.
        rounds: Steps that were timed at most.
        about: Where, when and with what.
        output: The folder; it is made.
    """
    rows = [{**phase, **_rates(phase)} for phase in phases]
    table = aligned([_HEADS, *map(_cells, rows)])
    return write(
        output, "# Where a training's time goes", table, _EXPLAINED.format(steps=rounds + 1), rows, about, None
    )


def _rates(phase: Mapping[str, Any]) -> dict[str, float | None]:
    step, loader, batch = phase["step"], phase["loader"], phase["batch"]
    return {
        "steps_per_second": 1 / step if step else None,
        "photos_per_second": batch / step if step else None,
        "loader_photos_per_second": batch / loader if loader else None,
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    keys = ("first", "steps_per_second", "photos_per_second", *PARTS, "loader_photos_per_second", "validation")
    numbers = ["–" if row[key] is None else rounded(row[key]) for key in keys]
    return [str(row["phase"]), str(row["batch"]), str(row["steps"]), *numbers]
