"""Where the time of a training goes: data, transfer, forward, backward, optimizer, logging, validation."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import Profiler

from lensblend.storage import json_text, write_atomically

FILE = "parts.json"
STEP, VALIDATION = "step", "validation"
# By what the names of Lightning's actions end with; the first that fits counts.
_ENDS = {
    "data": ("train_dataloader_next",),
    "transfer": ("batch_to_device", "transfer_batch_to_device", "on_after_batch_transfer", "on_before_batch_transfer"),
    "forward": ("training_step",),
    "backward": (".backward", ".on_before_backward", ".on_after_backward"),
    "optimizer": (".optimizer_step", ".optimizer_zero_grad", ".configure_gradient_clipping", ".lr_scheduler_step"),
}
PARTS = (*_ENDS, "logging")
"""Parts of a step; ``logging`` is all that is left: loggers, callbacks, and Lightning's own loop."""


class Parts(pl.Callback):
    """Write ``parts.json`` into each phase's folder: seconds of each part of a step, as medians after the first step.

    On a GPU each part ends only when the device has done it, so that a step is a little slower than without this.

    Args:
        batches: How many batches the loader alone gives once the phase has trained; that is timed as well.
    """

    def __init__(self, batches: int = 20) -> None:
        self.batches = batches
        self._clock: StepClock | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the place of the trainer's profiler."""
        self._clock = StepClock(trainer.strategy.root_device)
        trainer.profiler = self._clock  # type: ignore[attr-defined]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time the loader alone, and write the file."""
        if self._clock is None or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        found = self._clock.found()
        found |= {"batch": data.batch_size, "loader": loader_seconds(data.train_dataloader(), self.batches)}
        write_atomically(Path(trainer.default_root_dir) / FILE, json_text(found))


def loader_seconds(loader: Any, batches: int) -> float | None:
    """Return the median seconds in which a loader gives a batch after its first; of one batch, that one's.

    Args:
        loader: Gives batches.
        batches: At most so many after the first.
    """
    seconds, before = [], time.perf_counter()
    for _, _ in zip(range(1 + batches), loader, strict=False):
        now = time.perf_counter()
        seconds.append(now - before)
        before = now
    return median(seconds[1:] or seconds) if seconds else None


class StepClock(Profiler):
    """Split the time of each step, and of each validation, among what Lightning does in it.

    An action within another is not counted as the other's: of the optimizer's step, what is left without forward and
    backward.

    Args:
        device: That is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._open: list[tuple[str, float, float]] = []  # action, start, seconds of those within
        self._segment: tuple[str, float] | None = None
        self._seconds = dict.fromkeys(_ENDS, 0.0)
        self.steps: list[dict[str, float]] = []
        self.validations: list[float] = []

    def start(self, action_name: str) -> None:
        """Begin an action, and with it a step or a validation where it is the first of one."""
        now = self._now()
        kind = self._segment[0] if self._segment else None
        if action_name.endswith("train_dataloader_next"):
            self._begin(STEP, now)
        elif kind == STEP and "valid" in action_name:
            self._begin(VALIDATION, now)
        elif kind and action_name.endswith("on_train_epoch_end"):
            self._begin(None, now)
        self._open.append((action_name, now, 0.0))

    def stop(self, action_name: str) -> None:
        """End an action."""
        if not self._open or self._open[-1][0] != action_name:
            return
        _, began, within = self._open.pop()
        took = self._now() - began
        if self._open:
            outer, start, others = self._open[-1]
            self._open[-1] = outer, start, others + took
        part = next((part for part, ends in _ENDS.items() if action_name.endswith(ends)), None)
        if part is not None:
            self._seconds[part] += took - within

    def _begin(self, kind: str | None, now: float) -> None:
        """End the step or validation that is under way, and begin another."""
        if self._segment is not None:
            before, began = self._segment
            took = now - began
            if before == STEP:
                rest = took - sum(self._seconds.values())
                self.steps.append({**self._seconds, "logging": max(rest, 0.0), STEP: took})
            else:
                self.validations.append(took)
        self._seconds = dict.fromkeys(_ENDS, 0.0)
        self._segment = None if kind is None else (kind, now)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def found(self) -> dict[str, Any]:
        """Return seconds: of the first step, then medians of whole steps and of each part; of the first validation.

        Of a training of one step, that one counts.
        """
        warm = self.steps[1:] or self.steps
        return {
            "steps": len(warm),
            "first": self.steps[0][STEP] if self.steps else None,
            STEP: _of(warm, STEP),
            **{part: _of(warm, part) for part in PARTS},
            VALIDATION: self.validations[0] if self.validations else None,
        }


def _of(steps: list[dict[str, float]], part: str) -> float | None:
    return median(step[part] for step in steps) if steps else None
