"""What happens when a loss or a gradient is not a number: stop, leave the step out, or go back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lensblend.errors import RequestError, TrainingError, one_of
from lensblend.runs.checkpoint_files import LAST, read_checkpoint
from lensblend.runs.messages import say

POLICIES = ("stop", "skip", "roll_back")


class FiniteGuard(pl.Callback):
    """Check every step's loss and gradient before the optimizer uses them.

    - ``stop`` ends the training with a message that says what was not finite and in which pairs.
    - ``skip`` leaves the step out: weights, the optimizer's moments and running statistics stay as they were. The
      learning rate goes on, and the step counts.
    - ``roll_back`` also takes network and optimizer back to the phase's last checkpoint and goes on with the next
      batch. A training that was interrupted since then has another last checkpoint, so only here a restart may differ
      from an uninterrupted run.

    Both log ``train/not_finite``, the number so far, and stop after ``limit`` in one phase. Under ``16-mixed`` a
    gradient that overflows is the gradient scaler's affair; the loss is checked all the same.

    Args:
        folder: The phase's folder.
        policy: One of the three.
        limit: At most so many steps of a phase are left out.
    """

    def __init__(self, folder: Path, policy: str = "stop", limit: int = 10) -> None:
        if limit < 1:
            raise RequestError(f"`not_finite.limit` is at least 1, but got {limit}.")
        self.folder = folder
        self.policy = one_of("not_finite.policy", policy, POLICIES)
        self.limit = limit
        self.count = 0
        self._batches: list[Mapping[str, Any]] = []
        self._losses: list[Tensor] = []
        self._statistics: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the pairs of this optimizer step and, for ``skip``, the running statistics before it."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._batches, self._losses = [], []
            if self.policy == "skip":
                self._statistics = [b.clone() for b in pl_module.buffers()]
        self._batches.append(batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the loss."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check loss and gradient, once for all, and answer what is wrong."""
        if not self._losses:
            return  # nothing is trained
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        gradients = [] if scaled else [p.grad for p in pl_module.parameters() if p.grad is not None]
        losses = torch.stack(self._losses).float()
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros_like(losses[0])
        values = torch.cat([losses, norm[None].to(losses)])
        wrong = ~values.isfinite().all()
        if trainer.world_size > 1:
            shared = wrong.int()
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
            wrong = shared > 0
        if wrong:
            self._answer(trainer, pl_module)
        self._losses = []  # a batch may have further steps

    def _answer(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        phase, step = self.folder.name, trainer.global_step
        text = f"{phase}, step {step}: {self._reason(module)} (pairs: {', '.join(self._pairs())})"
        self.count += 1
        if self.policy == "stop" or self.count > self.limit:
            so_far = "" if self.policy == "stop" else f" This is number {self.count}, the limit is {self.limit}."
            kept = f" {self.folder / LAST} holds the state before." if (self.folder / LAST).exists() else ""
            raise TrainingError(
                f"{text}.{so_far}{kept} Lower the learning rate, train with trainer.precision=32-true, look at these "
                "pairs, or leave such steps out with not_finite.policy=skip."
            )
        for logger in trainer.loggers:
            logger.log_metrics({"train/not_finite": float(self.count), "epoch": trainer.current_epoch}, step)
        if self.policy == "roll_back":
            self._roll_back(trainer, module, text)
        else:
            for buffer, before in zip(module.buffers(), self._statistics, strict=True):
                buffer.copy_(before)
            say(f"{text}; the step is left out.")
        # Without gradients an optimizer changes neither weights nor moments; all of them, where there are two.
        module.zero_grad(set_to_none=True)

    def _roll_back(self, trainer: pl.Trainer, module: pl.LightningModule, text: str) -> None:
        last = self.folder / LAST
        if not last.exists():
            raise TrainingError(f"{text}; there is no checkpoint yet to go back to.")
        content = read_checkpoint(last)
        module.load_state_dict(content["state_dict"])
        module.on_load_checkpoint(content)
        for optimizer, state in zip(trainer.optimizers, content["optimizer_states"], strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        say(f"{text}; back to the weights of step {content['global_step']}, on with the next batch.")

    def _pairs(self) -> list[str]:
        return [str(name) for batch in self._batches for name in batch.get("id", [])]

    def _reason(self, module: pl.LightningModule) -> str:
        """Name the first thing that is not finite, from the input on."""
        for batch in self._batches:
            for name, value in batch.items():
                if isinstance(value, Tensor) and not value.isfinite().all():
                    return f"`{name}` of the batch is not finite"
        for name, parameter in module.network.named_parameters():  # type: ignore[union-attr]
            if not parameter.isfinite().all():
                return f"the weights `{name}` are not finite"
        for loss in self._losses:
            if not loss.isfinite():
                return f"the loss is {float(loss)}"
        return "the gradient is not finite"

    @property
    def state_key(self) -> str:
        """The name under which checkpoints hold the count: what this class was called when the first were written."""
        return "Finite"

    def state_dict(self) -> dict[str, Any]:
        """Remember the count over a restart."""
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.count = state_dict["count"]
