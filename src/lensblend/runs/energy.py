"""How much energy a machine has used, where it tells: of processors and memory (RAPL), of NVIDIA's GPUs (NVML)."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

RAPL = Path("/sys/class/powercap")
# Seconds; counters of processors begin anew after a quarter of a megajoule: after 7 minutes at 600 W.
_EVERY = 60.0
_ZONES = {"package": "processors", "dram": "memory"}


class Energy:
    """Add up what a machine's own counters say, between two moments.

    They count whatever the machine does, for other processes too; a counter that this user may not read is left out.

    Args:
        gpus: Numbers of the GPUs that are counted, as PyTorch counts them.
        folder: Where the system shows the counters of processors.
    """

    def __init__(self, gpus: Sequence[int] = (), folder: Path = RAPL) -> None:
        self._zones = [zone for zone in _zones(folder) if _number(zone / "energy_uj") is not None]
        self._before = {zone: _number(zone / "energy_uj") or 0 for zone in self._zones}
        self._used = dict.fromkeys(self._zones, 0)
        self._gpus = _counters(gpus)
        self._first = [counter() for counter in self._gpus]
        self._over, self._lock = threading.Event(), threading.Lock()
        if self._zones:
            threading.Thread(target=self._watch, name="energy", daemon=True).start()

    def stop(self) -> dict[str, float] | None:
        """Return joules of ``processors``, ``memory`` and ``gpus`` since the beginning; None without a counter."""
        self._over.set()
        self._add()
        joules: dict[str, float] = {}
        for zone, used in self._used.items():
            kind = _ZONES[_kind(zone)]
            joules[kind] = round(joules.get(kind, 0.0) + used / 1e6, 3)
        used_by_gpus = [
            (now - then) / 1e3
            for counter, then in zip(self._gpus, self._first, strict=True)
            if then is not None and (now := counter()) is not None
        ]
        if used_by_gpus:
            joules["gpus"] = round(sum(used_by_gpus), 3)
        return joules or None

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._add()

    def _add(self) -> None:
        with self._lock:
            for zone in self._zones:
                now = _number(zone / "energy_uj")
                if now is None:
                    continue
                more = now - self._before[zone]
                if more < 0:
                    more += _number(zone / "max_energy_range_uj") or -more
                self._used[zone] += more
                self._before[zone] = now


def _zones(folder: Path) -> list[Path]:
    """Return whole processors and their memory: cores within them, and the platform around them, count twice."""
    return sorted(zone for zone in folder.glob("intel-rapl:*") if _kind(zone) in _ZONES)


def _kind(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip().partition("-")[0]
    except (OSError, ValueError):
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _counters(gpus: Sequence[int]) -> list[Any]:
    """Return, of each GPU that counts its millijoules, what reads them; none without NVIDIA's package ``pynvml``."""
    if not gpus:
        return []
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        # By their ids: PyTorch counts those that CUDA_VISIBLE_DEVICES leaves.
        ids = [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in gpus]
        handles = [nvml.nvmlDeviceGetHandleByUUID(name.encode()) for name in ids]
    except Exception:  # not installed, or a driver that does not fit; energy is a courtesy
        return []

    def reader(handle: Any) -> Any:
        def read() -> int | None:
            try:
                return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            except nvml.NVMLError:
                return None

        return read

    return [reader(handle) for handle in handles]
