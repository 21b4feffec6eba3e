"""Where a phase begins: with another's weights, at random, or exactly where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lensblend.errors import DataError
from lensblend.runs.checkpoint_files import (
    BEST,
    LAST,
    copy_checkpoint,
    read_newest_valid,
    set_aside,
)
from lensblend.runs.checkpoints import parse_config
from lensblend.runs.commands import typed
from lensblend.runs.configuration import config_hash
from lensblend.runs.contents import RECORD, require
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.places import placed, started_in
from lensblend.training.changes import Consent, check_changes


@dataclass(frozen=True)
class Stopped:
    """A phase's unfinished training.

    Attributes:
        path: The checkpoint to go on from.
        step: Optimizer steps done.
        position: The epoch, the batches of it that are done, and how many it had.
        parent: What the phase started from, as its checkpoint says.
        content: All that it holds.
    """

    path: Path
    step: int
    position: tuple[int, int, int]
    parent: dict[str, str] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def state(self) -> Mapping[str, Any]:
        """The network's weights, to see early whether they fit."""
        weights: Mapping[str, Any] = self.content["state_dict"]
        return weights


def find_stopped(folder: Path, config: Mapping[str, Any], steps_saved: int, consent: Consent) -> Stopped | None:
    """Return where a phase stopped, or None if it has not saved anything yet.

    Damaged checkpoints are set aside, said, and replaced by the newest valid one.

    Args:
        folder: The phase's folder.
        config: The configuration asked for.
        steps_saved: The steps that ``status.json`` says were saved.
        consent: What of the configuration may differ.

    Raises:
        DataError: Checkpoints are there, or were, but none can be used: training does not start over by itself.
        RequestError: The checkpoint was trained with another configuration.
    """
    if not folder.exists():
        if steps_saved > 0:
            say(f"{folder} is gone, and with it {steps_saved} steps: {folder.name} is trained from its start.")
        return None
    path, content, damaged = read_newest_valid(folder)
    if path is None and (damaged or steps_saved > 0):
        found = " ".join(str(error) for _, error in damaged) or f"status.json says that {steps_saved} steps were saved."
        raise DataError(
            f"{folder} has no valid checkpoint to go on from. {found} Put a copy of last.ckpt back, or remove {folder} "
            "to train this phase from its start."
        )
    for file, error in damaged:
        where = set_aside(file) if is_first_process() else file
        say(f"{error} It is now {where}.")
    if path is None:
        return None
    record = content[RECORD]
    require(record, path, "phase", "config")
    if record["phase"] != folder.name:
        raise DataError(f"{path} is a checkpoint of {record['phase']}, not of {folder.name}; move it away.")
    if "position" not in record:
        raise DataError(
            f"{path} is of an older format ({record.get('format')}) without a position; its weights can "
            f"start another run: {typed('init_from', path)}"
        )
    trained = placed(parse_config(record["config"], path), started_in(folder.parent))
    if config_hash(trained) not in consent.earlier:
        check_changes(trained, config, path, consent.keys, {folder.name: "begun"})
    if path.name == BEST and is_first_process():
        # A crash came between the two: `last` is the last one again.
        copy_checkpoint(path, folder / LAST)
    position = record["position"]
    return Stopped(
        path=path,
        step=int(content["global_step"]),
        position=(position["epoch"], position["batch"], position["batches"]),
        parent=dict(record.get("parent", {})),
        content=content,
    )
