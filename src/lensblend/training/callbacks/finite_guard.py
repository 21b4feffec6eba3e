"""What happens when a loss or a gradient is not a number: stop, leave the step out, or go back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lensblend.errors import RequestError, TrainingError, one_of
from lensblend.runs.checkpoint_files import LAST, read_checkpoint
from lensblend.runs.messages import say
from lensblend.training.callbacks.weight_average import WeightAverage, trained_state
from lensblend.training.late import Late, reads_late
from lensblend.training.logged import GRADIENT

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
    gradient that overflows is the gradient scaler's affair; the loss is checked all the same. Otherwise the norm of the
    network's gradient, which is at hand, is logged as ``train/grad_norm``, as it is before it is clipped.

    On the CPU the answer precedes the optimizer's step, whatever the policy, and so it does on a GPU with ``skip`` and
    ``roll_back``, which wait for the GPU in each step. With ``stop`` on a GPU nobody waits: the verdict on a step is
    read at the next one, while the GPU computes that, and the message is the same, but that it does not look for
    weights that were not finite before. By then the weights in memory are spoilt. Those on disk are not: the verdict is
    also read before every validation and before anything is saved (`settle`), and a training that it ends saves
    nothing more.

    Args:
        folder: The phase's folder.
        policy: One of the three.
        limit: At most so many steps of a phase are left out.
        before_reading: Called before the phase's checkpoints are looked at, which may be on their way to the disk.
        average: Goes back with the weights that it is of.
    """

    def __init__(
        self,
        folder: Path,
        policy: str = "stop",
        limit: int = 10,
        before_reading: Callable[[], None] = lambda: None,
        average: WeightAverage | None = None,
    ) -> None:
        if limit < 1:
            raise RequestError(f"`not_finite.limit` is at least 1, but got {limit}.")
        self.folder = folder
        self.policy = one_of("not_finite.policy", policy, POLICIES)
        self.limit = limit
        self.count = 0
        self._before_reading, self._average = before_reading, average
        self._batches: list[Mapping[str, Any]] = []
        self._losses: list[Tensor] = []
        self._statistics: list[Tensor] = []
        self._awaited: tuple[_Step, Late] | None = None

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
        if not scaled:
            # Of a network and its discriminator, the network's alone.
            own = [p.grad for p in pl_module.network.parameters() if p.grad is not None]  # type: ignore[union-attr]
            whole = norm if len(own) == len(gradients) else torch.nn.utils.get_total_norm(own)
            pl_module.log(GRADIENT, whole.detach(), batch_size=1)
        wrong = ~values.isfinite().all()
        if trainer.world_size > 1:
            shared = wrong.int()
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
            wrong = shared > 0
        step = _Step(trainer.global_step, self._batches, self._losses)
        self._losses = []  # a batch may have further steps
        if self.policy == "stop" and reads_late(wrong.device):
            self.settle()
            self._awaited = step, Late(wrong)
        elif wrong:
            self._answer(trainer, pl_module, step)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let no spoilt weights be scored."""
        self.settle()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let no epoch end with spoilt weights."""
        self.settle()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let no spoilt weights be saved, whoever saves."""
        self.settle()

    def settle(self) -> None:
        """Read the verdict that is still on its way, if there is one.

        Raises:
            TrainingError: That step was not finite.
        """
        awaited, self._awaited = self._awaited, None
        if awaited is not None and awaited[1].read():
            raise self._end(self._text(awaited[0]))

    def _answer(self, trainer: pl.Trainer, module: pl.LightningModule, step: _Step) -> None:
        text = self._text(step, module)
        self.count += 1
        if self.policy == "stop" or self.count > self.limit:
            raise self._end(text)
        for logger in trainer.loggers:
            logger.log_metrics({"train/not_finite": float(self.count), "epoch": trainer.current_epoch}, step.number)
        if self.policy == "roll_back":
            self._roll_back(trainer, module, text)
        else:
            for buffer, before in zip(module.buffers(), self._statistics, strict=True):
                buffer.copy_(before)
            say(f"{text}; the step is left out.")
        # Without gradients an optimizer changes neither weights nor moments; all of them, where there are two.
        module.zero_grad(set_to_none=True)

    def _end(self, text: str) -> TrainingError:
        self._before_reading()
        so_far = "" if self.policy == "stop" else f" This is number {self.count}, the limit is {self.limit}."
        kept = f" {self.folder / LAST} holds the state before." if (self.folder / LAST).exists() else ""
        return TrainingError(
            f"{text}.{so_far}{kept} Lower the learning rate, train with trainer.precision=32-true, look at these "
            "pairs, or leave such steps out with not_finite.policy=skip."
        )

    def _text(self, step: _Step, module: pl.LightningModule | None = None) -> str:
        pairs = [str(name) for batch in step.batches for name in batch.get("id", [])]
        return f"{self.folder.name}, step {step.number}: {_reason(step, module)} (pairs: {', '.join(pairs)})"

    def _roll_back(self, trainer: pl.Trainer, module: pl.LightningModule, text: str) -> None:
        self._before_reading()
        last = self.folder / LAST
        if not last.exists():
            raise TrainingError(f"{text}; there is no checkpoint yet to go back to.")
        content = read_checkpoint(last)
        if self._average is None:
            module.load_state_dict(trained_state(content))
        else:
            self._average.restore(module, content)
        module.on_load_checkpoint(content)
        for optimizer, state in zip(trainer.optimizers, content["optimizer_states"], strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        say(f"{text}; back to the weights of step {content['global_step']}, on with the next batch.")

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


@dataclass(frozen=True)
class _Step:
    """What is remembered of an optimizer step until it is known to be finite."""

    number: int
    batches: Sequence[Mapping[str, Any]]
    losses: Sequence[Tensor]


def _reason(step: _Step, module: pl.LightningModule | None) -> str:
    """Name the first thing that is not finite, from the input on; weights where the step has not changed them yet."""
    for batch in step.batches:
        for name, value in batch.items():
            if isinstance(value, Tensor) and not value.isfinite().all():
                return f"`{name}` of the batch is not finite"
    for name, parameter in [] if module is None else module.network.named_parameters():  # type: ignore[union-attr]
        if not parameter.isfinite().all():
            return f"the weights `{name}` are not finite"
    for loss in step.losses:
        if not loss.isfinite():
            return f"the loss is {float(loss)}"
    return "the gradient is not finite"
