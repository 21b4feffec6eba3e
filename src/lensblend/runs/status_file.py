"""What a training's ``status.json`` says, or that it is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lensblend.errors import DataError
from lensblend.runs.documents import read_json
from lensblend.runs.files import is_name

# The states of a phase after which the next one begins: all its epochs trained, or stopped by a callback before.
FINISHED = ("done", "stopped")
# The types of what a training writes of itself and of each phase; null stands for nothing.
_OF_A_TRAINING: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("state", "error", "label", "sweep", "overrides_hash", "config_hash", "phase", "updated"), str),
    **dict.fromkeys(("job", "exit_code", "step"), int),
    **dict.fromkeys(("phases", "choices", "ids", "earlier_configs", "test"), dict),
    "tags": (list, tuple),
}
_OF_A_PHASE: dict[str, type | tuple[type, ...]] = {
    "state": str,
    **dict.fromkeys(("step", "epochs"), int),
    **dict.fromkeys(("scores", "best", "parent", "left_out"), dict),
}


def read_status(file: Path) -> dict[str, Any]:
    """Return what a ``status.json`` holds.

    Raises:
        FileNotFoundError: There is none.
        DataError: It is damaged.
    """
    content = read_json(file)
    if not isinstance(content, dict) or not _is_status(content):
        raise DataError(f"{file} is damaged: it is not what a training writes.")
    return content


def _is_status(content: Mapping[str, Any]) -> bool:
    """Tell whether a file says of a training and its phases what `Status` writes, in values of the right types."""
    if not _has_types(content, _OF_A_TRAINING) or ("phases" in content and content["phases"] is None):
        return False
    texts = [*(content.get("tags") or ()), *(content.get("choices") or {}).values()]
    phases: Mapping[str, Any] = content.get("phases") or {}
    ids: Mapping[str, Any] = content.get("ids") or {}
    return (
        all(isinstance(text, str) for text in texts)
        and all(is_name(name) for name in phases)
        and all(isinstance(split, dict) for split in ids.values())
        and all(isinstance(phase, dict) and _is_phase(phase) for phase in phases.values())
    )


def _is_phase(phase: Mapping[str, Any]) -> bool:
    if not _has_types(phase, _OF_A_PHASE) or phase.get("step", 0) is None or phase.get("step", 0) < 0:
        return False
    numbers = [value for key in ("scores", "best") for value in (phase.get(key) or {}).values()]
    # None stands for a score that is no number.
    return all(isinstance(number, int | float | None) for number in numbers)


def _has_types(node: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> bool:
    return all(node.get(key) is None or isinstance(node[key], kind) for key, kind in types.items())
