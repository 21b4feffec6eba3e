"""How many processes and machines a configuration's ``trainer`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lensblend.errors import RequestError, short


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


def machines(trainer: Mapping[str, Any]) -> int:
    """Return on how many machines a ``trainer`` node trains.

    Raises:
        RequestError: ``num_nodes`` is no number of machines.

    Example:
        >>> machines({"num_nodes": 2}), machines({"num_nodes": None})
        (2, 1)
    """
    given = trainer.get("num_nodes")
    if given is None:
        return 1
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise RequestError(
            f"`trainer.num_nodes` is how many machines train together, at least 1, but got {short(given)}; leave it "
            "out to train on one."
        )
    return given
