"""What loggers and callbacks need to know of the phase they accompany."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Identity:
    """What tells a training from the others that it is compared with.

    Attributes:
        label: What was combined, in a few words: ``gaussian_75 · resnet18``.
        tags: The same as words to filter by.
        choices: The chosen option of each config group.
        sweep: The sweep's folder, where the training is a job of one.
        job: Its number there.
    """

    label: str = ""
    tags: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    sweep: str | None = None
    job: int | None = None


@dataclass(frozen=True)
class PhaseRun:
    """One phase of one training.

    Attributes:
        run_dir: The training's folder.
        phase: The phase's name; its checkpoints lie in ``run_dir/phase``.
        group: The training's name, by which W&B groups its phases.
        identity: What tells the training from others.
        config: The whole configuration as plain dicts.
        first_step: Steps of this phase that an earlier process has done.
        commits: Of the code that trains, by its name.
    """

    run_dir: Path
    phase: str
    group: str
    identity: Identity = field(default_factory=Identity)
    config: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0
    commits: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The phase's folder."""
        return self.run_dir / self.phase
