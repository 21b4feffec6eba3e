"""The LightningModule for networks that are trained against a discriminator, each with an optimizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from lensblend.backbones.tensor_files import not_finite
from lensblend.errors import DataError, RequestError
from lensblend.training.restoration import Restoration
from lensblend.training.truths import truths

DISCRIMINATOR = "discriminator"


class Adversarial(Restoration):
    """Fit a network that renders bokeh so that a discriminator takes it for the captured target.

    The discriminator sees what the network sees, the photo and its guidance, and beside it the rendering or the
    target. Both losses of a step are those of the weights before it; then the network's optimizer and the
    discriminator's take one step each. The discriminator is kept in checkpoints beside the network's state, so that a
    training goes on exactly; a trained network is rebuilt without it.

    Args:
        discriminator: Maps ``(b, 3 + guidance + 3, h, w)`` to a list of scales, each a list of features, logits last.
        discriminator_optimizer: Builds its optimizer from parameters.
        discriminator_loss: Of its answers to the target and to the rendering.
        generator_loss: Of its answers to the rendering; trains the network.
        feature_loss: Of its features of the rendering and of the target; trains the network.
        generator_weight: Of ``generator_loss``, beside the terms of ``loss``.
        feature_weight: Of ``feature_loss``.
        arguments: As of `Restoration`; its optimizer is the network's. Both learning rates take the same path.

    Raises:
        RequestError: A weight is negative.

    References:
        T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019, which team SLYYM
        builds on (A. Ignatov et al., AIM 2019, section 4.7).
    """

    own_terms: ClassVar[Sequence[str]] = ("generator", "features")
    further_losses: ClassVar[Sequence[str]] = ("discriminator",)
    trained: ClassVar[Sequence[str]] = ("network", "discriminator")

    def __init__(
        self,
        *,
        discriminator: nn.Module,
        discriminator_optimizer: Callable[[Any], torch.optim.Optimizer],
        discriminator_loss: nn.Module,
        generator_loss: nn.Module,
        feature_loss: nn.Module,
        generator_weight: float | int = 1.0,
        feature_weight: float | int = 10.0,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        for name, weight in {"generator_weight": generator_weight, "feature_weight": feature_weight}.items():
            if not weight >= 0:
                raise RequestError(f"`module.{name}` is 0 or more, but got {weight}.")
        self.automatic_optimization = False
        self.discriminator = discriminator
        self.discriminator_loss = discriminator_loss
        self.generator_loss = generator_loss
        self.feature_loss = feature_loss
        self._weights = {"generator": float(generator_weight), "features": float(feature_weight)}
        self._discriminator_optimizer = discriminator_optimizer

    def on_fit_start(self) -> None:
        """Refuse what two optimizers in one step cannot keep.

        Raises:
            RequestError: Gradients are scaled, or processes would wait for gradients that a step does not have.
        """
        if self.trainer.precision == "16-mixed":
            raise RequestError(
                "`trainer.precision` 16-mixed scales gradients for one optimizer, but there are two; use bf16-mixed."
            )
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
            raise RequestError(
                "Network and discriminator take turns, for which several processes need "
                "`trainer.strategy.find_unused_parameters=true` (of a strategy by its name: "
                "trainer.strategy=ddp_find_unused_parameters_true)."
            )

    @classmethod
    def steps_by_itself(cls, arguments: Mapping[str, Any]) -> bool:
        """Tell that it does: a step of each optimizer per batch."""
        return True

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Take one step with each optimizer, and log every term."""
        answer = self.answer(batch)
        total, parts = self.loss(answer, truths(batch, self.loss.compares.values()))
        condition = self._condition(batch)
        # Not through Lightning: its steps are the training's, and a batch is one step.
        network, discriminator = self.optimizers(use_pl_optimizer=False)  # type: ignore[misc]

        self.toggle_optimizer(discriminator)
        real = self._judge(condition, batch["target"])
        judged = self.discriminator_loss(real, self._judge(condition, answer["bokeh"].detach()))
        discriminator.zero_grad()
        self.manual_backward(judged)
        self.untoggle_optimizer(discriminator)

        self.toggle_optimizer(network)
        own = self._own(real, self._judge(condition, answer["bokeh"]))
        total = self._with(total, own)
        network.zero_grad()
        self.manual_backward(total)
        self.untoggle_optimizer(network)

        self.logged(total, {**parts, **own, "discriminator": judged}, batch)
        # This one counts, and what watches over steps sees both gradients before either is used.
        self.optimizers()[0].step()  # type: ignore[index]
        discriminator.step()
        if self._rates is not None:
            self._rates.step()

    def validation_losses(
        self, batch: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a validation batch and its terms, the discriminator's word on it among them."""
        total, parts = super().validation_losses(batch, answer)
        condition = self._condition(batch)
        own = self._own(self._judge(condition, batch["target"]), self._judge(condition, answer["bokeh"]))
        return self._with(total, own), {**parts, **own}

    def _condition(self, batch: Mapping[str, Any]) -> list[Tensor]:
        return [batch["photo"], *(batch[name] for name in self.network.guidance)]

    def _own(self, real: Any, fake: Any) -> dict[str, Tensor]:
        """Return the terms that train the network, of the discriminator's answers."""
        return {"generator": self.generator_loss(fake), "features": self.feature_loss(real, fake)}

    def _with(self, total: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        for name, value in own.items():
            total = total + self._weights[name] * value
        return total

    def _judge(self, condition: list[Tensor], image: Tensor) -> Any:
        return self.discriminator(torch.cat([*condition, image], dim=1))

    def configure_optimizers(self) -> Any:
        """Build both optimizers, and learning rates that take the same path."""
        network = self.network_optimizer()
        if network is None:
            raise RequestError("An adversarial training needs a network with weights; use `module=restoration`.")
        optimizers = [network, self._discriminator_optimizer(self.discriminator.parameters())]
        return optimizers, self.paths(optimizers).schedules

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the discriminator beside the network."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[DISCRIMINATOR] = self.discriminator.state_dict()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on with the discriminator of a checkpoint.

        Raises:
            DataError: It has none, another one, or one that is not finite.
        """
        super().on_load_checkpoint(dict(checkpoint))
        try:
            self.discriminator.load_state_dict(checkpoint[DISCRIMINATOR])
        except (KeyError, RuntimeError) as error:
            raise DataError(
                f"The checkpoint holds no discriminator like this module's ({str(error).splitlines()[0]}): it cannot "
                "go on from it; start anew with `init_from`, or restore `module`."
            ) from None
        wrong = not_finite(checkpoint[DISCRIMINATOR])
        if wrong:
            raise DataError(
                f"The checkpoint's discriminator holds NaN or infinity (first: {wrong[0]}): it cannot go on from it; "
                "take a checkpoint from before the training went wrong."
            )
