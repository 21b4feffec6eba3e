"""The average of a network's weights over a phase's steps or epochs: what is validated, pictured, kept and shipped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from lensblend.errors import RequestError

# Where a checkpoint holds the weights that are trained, beside their average: Lightning's own name for it.
TRAINED = "current_model_state"


class WeightAverage(pl.Callback):
    r"""Average a network's weights and floating-point buffers, BatchNorm's running statistics included.

    With ``ema`` the average follows every optimizer step. It begins as the phase's first weights, and step ``t`` of the
    phase, from 1 on, lets it keep the share :math:`d_t = \min(d, (1 + t) / (10 + t))` of itself, so that they are soon
    forgotten. With ``swa`` it is the mean of the weights at the ends of epochs, the same for each: of every epoch at
    whose end at least that share of the phase is done. Counters take the network's own value.

    Validations and pictures see the average, checkpoints hold it as the network's state and the trained weights beside
    it, so that a training goes on exactly, also from within a validation. Before the first end that ``swa`` averages
    there is nothing but the weights themselves. Another network that is trained beside, a discriminator, has no part.

    Args:
        epochs: Of the phase.
        ema: Largest share, between 0 and 1, of itself that an exponential moving average keeps in a step.
        swa: Share of the phase, from 0 to below 1, from which on ends of epochs are averaged.

    References:
        B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992; P. Izmailov et al.,
        "Averaging weights leads to wider optima and better generalization", UAI 2018. The warm-up is TensorFlow's
        ``ExponentialMovingAverage(num_updates)``.
    """

    def __init__(self, epochs: int, ema: float | None = None, swa: float | None = None) -> None:
        self._ema = ema
        self._first_end = None if swa is None else first_end(swa, epochs)
        # The average; while the network lends itself to it, the weights that are trained.
        self._aside: dict[str, Tensor] | None = None
        self._is_lent = False
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin an exponential average, or take what a checkpoint held to the device."""
        self._step = trainer.global_step
        if self._aside is None and self._ema is not None:
            self._aside = _copy(_state(pl_module))
        elif self._aside is not None:
            self._aside = {name: value.to(pl_module.device) for name, value in self._aside.items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the average follow an optimizer step, or take in an epoch's end, before anything is validated."""
        if self._ema is not None and trainer.global_step > self._step:
            self._step = trainer.global_step
            self._follow(pl_module, ema_share(self._ema, trainer.global_step))
        elif self._first_end is not None and trainer.is_last_batch:
            self._take_in(pl_module, trainer.current_epoch + 1 - self._first_end)

    def _follow(self, module: pl.LightningModule, share: float) -> None:
        averages, own = self._floating(module)
        get_ema_multi_avg_fn(share)(averages, own, 0)  # type: ignore[no-untyped-call]

    def _take_in(self, module: pl.LightningModule, taken: int) -> None:
        if taken == 0:
            self._aside = _copy(_state(module))
        elif taken > 0:
            averages, own = self._floating(module)
            get_swa_multi_avg_fn()(averages, own, taken)  # type: ignore[no-untyped-call]

    def _floating(self, module: pl.LightningModule) -> tuple[list[Tensor], list[Tensor]]:
        """Return averages, and what they are of; counters are copied."""
        averages, own = [], []
        for name, value in _state(module).items():
            average = self._average[name]
            if value.is_floating_point():
                averages.append(average)
                own.append(value)
            else:
                average.copy_(value)
        return averages, own

    @property
    def _average(self) -> dict[str, Tensor]:
        if self._aside is None:
            raise RuntimeError("no average has begun")
        return self._aside

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in the network's place."""
        if self._aside is not None and not self._is_lent:
            self._exchange(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the trained weights back."""
        if self._is_lent:
            self._exchange(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the network's place, for what is pictured and timed of a finished phase."""
        self.on_validation_start(trainer, pl_module)

    @torch.no_grad()
    def _exchange(self, module: pl.LightningModule) -> None:
        # In place: an optimizer, a compiled network and other processes' gradients know these very tensors.
        state = _state(module)
        before = _copy(state)
        for name, value in state.items():
            value.copy_(self._average[name])
        self._aside, self._is_lent = before, not self._is_lent

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the average be the network's state, and keep the trained weights beside it."""
        if self._aside is not None:
            here = checkpoint["state_dict"]
            average, trained = (here, self._aside) if self._is_lent else (self._aside, here)
            checkpoint["state_dict"], checkpoint[TRAINED] = average, trained

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with a checkpoint's trained weights, and with its average where that has begun."""
        self.restore(pl_module, checkpoint)

    def restore(self, module: pl.LightningModule, checkpoint: Mapping[str, Any]) -> None:
        """Bring network and average to where a checkpoint was saved, between two steps.

        Args:
            module: Has the network.
            checkpoint: Its content.
        """
        module.load_state_dict(trained_state(checkpoint))
        if TRAINED in checkpoint:
            self._aside = {name: value.to(module.device, copy=True) for name, value in checkpoint["state_dict"].items()}


def trained_state(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the weights that a checkpoint's optimizer has trained; its ``state_dict`` may be their average."""
    state: Mapping[str, Tensor] = checkpoint.get(TRAINED, checkpoint["state_dict"])
    return state


def ema_share(ema: float, step: int) -> float:
    """Return which share of itself an exponential moving average keeps in a step, counted from 1.

    Example:
        >>> ema_share(0.999, 1), ema_share(0.999, 8990), ema_share(0.5, 100)
        (0.18181818181818182, 0.999, 0.5)
    """
    return min(ema, (1 + step) / (10 + step))


def first_end(swa: float, epochs: int) -> int:
    """Return the first epoch, counted from 1, whose end is averaged.

    Example:
        >>> first_end(0.75, 40), first_end(0.75, 2), first_end(0.0, 3), first_end(0.55, 100)
        (30, 2, 1, 55)
    """
    return max(math.ceil(round(swa * epochs, 9)), 1)


def average_words(epochs: int, ema: float | None, swa: float | None) -> str:
    """Say what is averaged in a phase; nothing where nothing is.

    Example:
        >>> average_words(40, None, 0.75)
        ', mean of the weights at the ends of epochs 30 to 40'
    """
    if ema is not None:
        return f", moving average of the weights ({ema:g})"
    if swa is None or first_end(swa, epochs) == epochs:
        return ""
    return f", mean of the weights at the ends of epochs {first_end(swa, epochs)} to {epochs}"


def check_average(ema: float | None, swa: float | None, epochs: Mapping[str, int | None]) -> None:
    """Refuse averages of weights that there are not.

    Args:
        ema: The configuration's.
        swa: The configuration's.
        epochs: Of each phase that is trained.

    Raises:
        RequestError: A value is out of range, both are given, or no phase has two epochs' ends to average.
    """
    if ema is not None and swa is not None:
        raise RequestError(f"`ema={ema:g}` and `swa={swa:g}` are two averages of the weights; give one.")
    if ema is not None and not 0 < ema < 1:
        raise RequestError(f"`ema` is between 0 and 1, such as 0.999, or null for none, but got {ema:g}.")
    if swa is not None and not 0 <= swa < 1:
        raise RequestError(f"`swa` is a share of a phase from 0 to below 1, or null for none, but got {swa:g}.")
    counts = [count for count in epochs.values() if count is not None]
    if swa is not None and len(counts) < len(epochs):
        raise RequestError(f"`swa={swa:g}` is a share of a phase's epochs, but one ends by `max_steps` alone; use ema.")
    if swa is not None and all(first_end(swa, count) == count for count in counts):
        longest = max(counts, default=0)
        raise RequestError(
            f"`swa={swa:g}` averages the ends of epochs, but leaves one of {longest}; lower it, train longer, or use "
            "ema=0.999."
        )


def refuse_two_averages(kind: type, where: str, ema: float | None, swa: float | None) -> None:
    """Refuse a callback of the user's that averages weights beside this one.

    Raises:
        RequestError: It does.
    """
    if issubclass(kind, WeightAveraging) and (ema is not None or swa is not None):
        key = "ema" if ema is not None else "swa"
        raise RequestError(f"`{where}` is {kind.__name__}, and `{key}` averages the weights as well; leave one out.")


def _state(module: pl.LightningModule) -> dict[str, Tensor]:
    network: Any = module.network
    state: dict[str, Tensor] = network.state_dict()
    return state


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
