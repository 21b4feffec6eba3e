"""``status.json``: where a training stands, for people, for sweeps and for a restart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Status:
    """The state of a training, written to its folder at every change.

    Args:
        run_dir: The training's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "status.json"
        self.content: dict[str, Any] = {"state": "new", "phases": {}}
        if self._path.exists():
            self.content = json.loads(self._path.read_text(encoding="utf-8"))

    def update(self, **values: Any) -> None:
        """Set values of the training and write the file atomically."""
        self.content.update(values)
        self._write()

    def update_phase(self, phase: str, **values: Any) -> None:
        """Set values of one phase; the training's current phase becomes this one."""
        phases = self.content["phases"]
        entry = phases.pop(phase, {})
        phases[phase] = {**entry, **values}
        self.update(phase=phase)

    def is_done(self, phase: str) -> bool:
        """Tell whether a phase has been trained to its end."""
        return self.content["phases"].get(phase, {}).get("state") == "done"

    def last_done(self) -> str | None:
        """Return the phase that was finished last."""
        done = [name for name in self.content["phases"] if self.is_done(name)]
        return done[-1] if done else None

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(".status.json.tmp")
        temporary.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self._path)


def overrides_hash(overrides: Sequence[str]) -> str:
    """Return a short hash of a command's overrides, independent of their order.

    Example:
        >>> overrides_hash(["a=1", "b=2"]) == overrides_hash(["b=2", "a=1"])
        True
    """
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:12]
