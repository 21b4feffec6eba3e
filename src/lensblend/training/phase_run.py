"""What loggers and callbacks need to know of the phase they accompany."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PhaseRun:
    """One phase of one training.

    Attributes:
        run_dir: The training's folder.
        phase: The phase's name; its checkpoints lie in ``run_dir/phase``.
        group: The training's name, by which W&B groups its phases.
        tags: Kernel set, backbone, schedule and the like.
        config: The whole configuration as plain dicts.
        first_step: Steps of this phase that an earlier process has done.
    """

    run_dir: Path
    phase: str
    group: str
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0

    @property
    def folder(self) -> Path:
        """The phase's folder."""
        return self.run_dir / self.phase
