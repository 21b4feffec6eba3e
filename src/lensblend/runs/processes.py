"""How many processes a configuration's ``trainer`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def processes(trainer: Mapping[str, Any]) -> int | None:
    """Return how many processes a ``trainer`` node starts on each machine; None: one for each GPU there is.

    Example:
        >>> processes({"accelerator": "cpu", "devices": 2}), processes({"accelerator": "gpu", "devices": [0, 1]})
        (2, 2)
        >>> processes({"accelerator": "gpu", "devices": -1})
    """
    devices = trainer.get("devices", "auto")
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return 1 if trainer.get("accelerator") == "cpu" else None
    return int(devices)
