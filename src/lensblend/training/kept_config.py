"""The configuration that a run's folder keeps: compared when its training goes on, and written once it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lensblend.runs.configuration import config_hash, read_config
from lensblend.runs.files import clear_temporaries
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.status import Status
from lensblend.storage import write_atomically
from lensblend.training.changes import Consent, Standing, check_changes, lengthened
from lensblend.training.extending import extended, refuse_nothing_longer, with_record
from lensblend.training.resume import Stopped


class KeptConfig:
    """``config.yaml`` of one training, and what this start changes of it.

    Args:
        config: What is asked for, as plain dicts.
        run_dir: The training's folder.

    Attributes:
        content: The configuration that is trained with.
        allowed: What of it this start allows to be other than before. That is the command's, and no part of what the
            folder keeps: it holds for this start alone.
        longer: The phases that are made longer.
    """

    def __init__(self, config: Mapping[str, Any], run_dir: Path) -> None:
        self.allowed: Sequence[str] = config.get("resume_overrides") or []
        self.content: dict[str, Any] = {**config, "resume_overrides": []}
        self.longer: Sequence[str] = ()
        self._run_dir = run_dir
        self._trained: dict[str, Any] | None = None
        self._changes: list[str] = []

    def check(self, status: Status) -> None:
        """Compare the configuration with what was trained so far, if anything; a new one is kept at once.

        Args:
            status: Of the training; told of what is kept.

        Raises:
            RequestError: Something differs that may not, or could not act.
        """
        self._status = status
        begun = {path.parent.name for path in self._run_dir.glob("*/*.ckpt")}
        if is_first_process():
            clear_temporaries(self._run_dir)
        if not (self._run_dir / "config.yaml").exists() or not begun:
            refuse_nothing_longer(self.content, self._run_dir)
            self.keep()
            return
        standing: dict[str, Standing] = {name: "finished" if status.is_finished(name) else "begun" for name in begun}
        self._trained = read_config(self._run_dir)
        self.content = with_record(self.content, self._trained)
        self.longer = lengthened(self._trained, self.content, standing)
        self._changes = check_changes(self._trained, self.content, self._run_dir, self.allowed, standing)
        for line in self._changes:
            say(f"Changed, as allowed: {line}")

    def keep(self) -> None:
        """Write config.yaml: at a start; of a training that goes on, once it does, with what is changed by that."""
        if self._trained is not None and self._changes:
            self._status.update(earlier_configs={**self._earlier(), config_hash(self._trained): self._changes})
        self._trained, self._changes = None, []
        if is_first_process():
            write_atomically(self._run_dir / "config.yaml", yaml.safe_dump(self.content, sort_keys=False))
        self._status.update(config_hash=config_hash(self.content))

    def extend(self, phase: str, stopped: Stopped) -> None:
        """Note where a phase was that is made longer, if it is.

        Args:
            phase: Its name.
            stopped: Where it was.
        """
        if phase in self.longer and self._trained is not None:
            self.content, record = extended(self.content, self._trained, phase, stopped)
            self._status.note(phase, "extended", record)

    @property
    def consent(self) -> Consent:
        """What may differ from what a checkpoint was trained with."""
        now = [config_hash(self._trained)] if self._trained is not None else []
        return Consent(self.allowed, [*self._earlier(), *now])

    def _earlier(self) -> dict[str, Any]:
        """Return what was changed in earlier configurations, by their hashes."""
        return dict(self._status.content.get("earlier_configs") or {})
