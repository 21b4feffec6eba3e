"""What every training of a network has: loss, optimizer, scores, and what a checkpoint says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lensblend.errors import RequestError, one_of
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.per_image import PerImageMetric
from lensblend.nn.checkpointing import checkpoint_activations as checkpoint_blocks
from lensblend.nn.rendering import Network
from lensblend.runs.contents import RECORD
from lensblend.runs.messages import say
from lensblend.training.epoch_means import STATE, EpochMeans
from lensblend.training.learning_rate import LearningRate
from lensblend.training.logged import EPOCH, LOSS, TRAIN, VAL, rates, val_loss
from lensblend.training.network_state import network_alone, network_within
from lensblend.training.parameter_groups import parameter_groups
from lensblend.training.rates import Rates, is_whole_epoch, steps_per_epoch
from lensblend.training.truths import truths

Pictures = dict[str, NDArray[np.uint8]]
ON_THE_HOST = ("f_number",)


class Fit(pl.LightningModule, ABC):
    """Fit a network with one loss and one optimizer; each kind of fit says what the network answers to a batch.

    The state dict is the network's alone: losses and metrics may hold third-party weights that do not belong there.

    Args:
        network: What is trained.
        loss: Named, weighted terms.
        metrics: Scores of one validation pass by name; each a mean of per-image values.
        optimizer: Builds the optimizer from parameters.
        learning_rate: Its way through the phase.
        groups: Which of the network's parameters are trained otherwise, by name; see
            `lensblend.training.parameter_groups`.
        record: What a checkpoint says of itself, primitives only; see `lensblend.runs.checkpoints`.
        channels_last: Keep convolutions in the channels-last memory format.
        compile: Backend of `torch.compile` for the network, e.g. ``inductor``; None runs it as it is. Checkpoints are
            the same either way.
        checkpoint_activations: Let blocks of the network compute their activations again for the gradients instead of
            keeping them, see `lensblend.nn.checkpointing`: less memory, more time, the same numbers.

    Attributes:
        reads: Maps of the data set, ``mask`` or ``disparity``, that it takes from a batch itself: those that neither
            the network nor a loss or metric asks for do not reach a batch otherwise.
        renders: Whether its network renders bokeh, or else estimates maps; None where it may be either.
        own_terms: Names of what it adds to the terms of ``loss``.

    Raises:
        RequestError: There is no such backend, or there are no such blocks, or a compiled network would have both.
    """

    network: Network
    reads: ClassVar[tuple[str, ...]] = ()
    renders: ClassVar[bool | None] = None
    # What a training gives to its module; the rest is its configuration's.
    given: ClassVar[tuple[str, ...]] = ("network", "loss", "metrics", "optimizer", "learning_rate", "groups", "record")
    own_terms: ClassVar[Sequence[str]] = ()
    # Names of what else it logs as ``train/NAME`` beside the terms of the loss.
    further_losses: ClassVar[Sequence[str]] = ()
    # What its optimizers train, where there are several.
    trained: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        network: Network,
        loss: WeightedSum,
        metrics: Mapping[str, PerImageMetric],
        optimizer: Callable[[Any], torch.optim.Optimizer],
        learning_rate: LearningRate | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        record: Mapping[str, Any] | None = None,
        channels_last: bool = False,
        compile: str | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        if channels_last:
            for parameter in network.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
        if checkpoint_activations:
            _checkpoint(network, compile)
        if compile is not None:
            one_of("module.compile", compile, torch.compiler.list_backends(exclude_tags=None))
            # In place: `torch.compile(network)` would rename every weight in the checkpoint.
            network.compile(backend=compile)
        self.loss = loss
        self._scores = nn.ModuleDict(dict(metrics))
        self._optimizer = optimizer
        self._learning_rate, self._groups = learning_rate or LearningRate(), dict(groups or {})
        self.record = dict(record or {})
        self._rates: Rates | None = None
        self._means, self._is_short = EpochMeans(), False
        self._val_losses, self._no_val_loss = EpochMeans((*loss.weights, *self.own_terms, LOSS)), False
        # As hooks they also take part where a wrapper, such as an average of the weights, asks its parts.
        self.register_state_dict_post_hook(network_alone)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(network_within)  # type: ignore[no-untyped-call]

    @classmethod
    def steps_by_itself(cls, arguments: Mapping[str, Any]) -> bool:
        """Tell whether it takes its optimizers' steps itself, where Lightning can neither clip nor accumulate.

        Args:
            arguments: Those of the configuration.
        """
        return False

    @abstractmethod
    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that the network makes of a batch, by name."""

    @abstractmethod
    def pictures(self, batch: Mapping[str, Any], answer: Mapping[str, Any]) -> Pictures:
        """Return the pictures of a batch of one, by caption."""

    def train(self, mode: bool = True) -> Fit:
        """Switch between training and evaluation; parts of which nothing is trained stay in evaluation."""
        super().train(mode)
        for part in self.network.modules():
            parameters = list(part.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                part.eval()
        return self

    def on_train_start(self) -> None:
        """Put what is frozen in evaluation (a new module is all in training), take up rates, log in every epoch."""
        self.train()
        # Else an epoch of fewer steps than the interval might log no training loss at all; it logs its mean.
        steps = max(steps_per_epoch(self.trainer), 1)
        self._is_short = steps < self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        self.trainer.log_every_n_steps = min(self.trainer.log_every_n_steps, steps)  # type: ignore[attr-defined]
        if self._rates is not None:
            self._rates.begin()

    @property
    def scores(self) -> dict[str, PerImageMetric]:
        """The metrics by name."""
        return {name: metric for name, metric in self._scores.items() if isinstance(metric, PerImageMetric)}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave f-numbers where they are: the host makes kernels of them, and would wait for the device."""
        stays = {name: batch[name] for name in ON_THE_HOST if name in batch}
        return {**super().transfer_batch_to_device(batch, device, dataloader_idx), **stays}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Turn 8-bit images, which travel as they are stored, into [0, 1] on the device."""
        as_float = {k: v.float() / 255 for k, v in batch.items() if k in ("photo", "target")}
        return {**batch, **as_float}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the weighted sum of the loss terms and log each; nothing where nothing is trained."""
        total, parts = self.loss(self.answer(batch), truths(batch, self.loss.compares.values()))
        return self.logged(total, parts, batch)

    def logged(self, total: Tensor, parts: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor | None:
        """Log what a step found and the learning rates; return the total, or None where nothing is trained.

        Where an epoch has fewer steps than are between two that are logged, it is the mean since the epoch's begin.
        """
        size = len(batch["photo"])
        found = {name: value.detach() for name, value in {**parts, LOSS: total}.items()}
        self._means.add(found, size)
        found = self._means.means() if self._is_short else found
        # Neither in Lightning's bar nor as a plain number, for which it would wait for the device in every step.
        self.log_dict({f"{TRAIN}/{name}": found[name] for name in (LOSS, *parts)}, batch_size=size)
        if not total.requires_grad:
            return None
        now = rates(self.trainer.optimizers, self.trained)
        self.log_dict({name: torch.tensor(rate) for name, rate in now.items()}, batch_size=size)
        return total

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean of each loss, of this process's batches, and let learning rates end the epoch."""
        means = {f"{EPOCH}/{name}": value for name, value in self._means.means().items()}
        self.log_dict(means, logger=False)
        # Not by Lightning, which logs only after the epoch's checkpoint is written: a restart from it would not.
        told = {**{name: float(value) for name, value in means.items()}, "epoch": self.trainer.current_epoch}
        for logger in self.trainer.loggers if means else ():
            logger.log_metrics(told, max(self.trainer.global_step - 1, 0))
        if is_whole_epoch(self.trainer):
            self._means.begin()
        # A scheduler that follows the epochs takes its step before the epoch is saved.
        if self._rates is not None:
            self._rates.end_epoch()

    def on_validation_epoch_start(self) -> None:
        """Begin the means of a validation's losses."""
        self._val_losses.begin()

    def validation_losses(
        self, batch: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a validation batch and its terms, as training computes them."""
        return self.loss(answer, truths(batch, self.loss.compares.values()))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score a batch of validation pairs at the phase's size, and find its loss."""
        answer = self.answer(batch)
        known = truths(batch, [metric.compares for metric in self.scores.values()])
        for metric in self.scores.values():
            maps = {name: batch[name] for name in metric.beside}
            metric.update(answer[metric.compares].float(), known[metric.compares], **maps)
        if self._no_val_loss:
            return
        try:
            total, parts = self.validation_losses(batch, answer)
        except RequestError as error:
            # Such as maps that only the training pairs have.
            self._no_val_loss = True
            say(f"{val_loss()} is not logged: {error}")
        else:
            self._val_losses.add({**parts, LOSS: total}, len(batch["photo"]))

    def picture(self, batch: Mapping[str, Any]) -> tuple[Pictures, dict[str, float]]:
        """Return the pictures of a batch of one, by caption, and its scores: those whose maps it has."""
        answer = self.answer(batch)
        scores = {name: metric for name, metric in self.scores.items() if all(key in batch for key in metric.beside)}
        known = truths(batch, [metric.compares for metric in scores.values()])
        each = {
            name: m.per_image(answer[m.compares].float(), known[m.compares], **{key: batch[key] for key in m.beside})
            for name, m in scores.items()
        }
        return self.pictures(batch, answer), {name: float(values[0]) for name, values in each.items()}

    def on_validation_epoch_end(self) -> None:
        """Log every score and loss; the metrics add up over processes by themselves."""
        for name, metric in self.scores.items():
            self.log(f"{VAL}/{name}", metric.compute().float(), prog_bar=True, rank_zero_only=False)
            metric.reset()
        losses = self._val_losses.over_processes(self.trainer.world_size, self.device)
        if not self._no_val_loss:
            self.log_dict({val_loss(None if name == LOSS else name): value for name, value in losses.items()})

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its learning rate; nothing where nothing is trained."""
        optimizer = self.network_optimizer()
        if optimizer is None:
            return None
        rates = self.paths([optimizer])
        return {"optimizer": optimizer, "lr_scheduler": rates.for_lightning(rates.schedules[0])}

    def network_optimizer(self) -> torch.optim.Optimizer | None:
        """Build the optimizer of what is trained of the network, in its groups."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        if not trained:
            return None
        if not self._groups:
            return self._optimizer(trained)
        optimizer = self._optimizer(parameter_groups(self.network, self._groups))
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1.0)
        return optimizer

    def paths(self, optimizers: Sequence[torch.optim.Optimizer]) -> Rates:
        """Return the learning rates of all optimizers, which take the phase's way."""
        self._rates = Rates(self._learning_rate, optimizers, self.trainer)
        return self._rates

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates by the place in the phase's epochs, and begin an epoch's means."""
        if batch_idx == 0:
            self._means.begin()
        if self._rates is not None:
            self._rates.follow(self.trainer.current_epoch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network from this file alone."""
        checkpoint[RECORD] = {**self.record, **checkpoint.get(RECORD, {})}
        checkpoint[STATE] = self._means.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the means of the epoch that a checkpoint was saved in."""
        self._means.restore(checkpoint.get(STATE))


def _checkpoint(network: Network, compile: str | None) -> None:
    """Let a network compute activations again.

    Raises:
        RequestError: It has none of the blocks that do, or is compiled as well.
    """
    if compile is not None:
        raise RequestError(
            f"`module.checkpoint_activations=true` and `module.compile={compile}` do not go together: a compiled "
            "network decides itself what to keep; leave one of them out."
        )
    has_weights = any(parameter.requires_grad for parameter in network.parameters())
    if not checkpoint_blocks(network) and has_weights:
        raise RequestError(
            f"`module.checkpoint_activations=true` would have no effect on {type(network).__name__}, which has no "
            "blocks that occur more than once; leave it out."
        )
