"""Depth-aware blending whose blur follows the f-number that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, Rendering, check_photo

HIDDEN = 32


class ApertureBlend(DepthBlend):
    r"""Render bokeh as `DepthBlend` does, as a lens at a given f-number would.

    Two things follow the f-number ``N``. The kernels are as wide as the bank says at the least f-number ``L`` and
    ``L / N`` times as wide otherwise, as the discs of a lens are. And the head sees the backbone's features ``F``
    scaled and shifted channel by channel,

    .. math:: (1 + \gamma(N)) \odot F + \beta(N),

    where a perceptron with one hidden layer of 32 finds γ and β from the stops between ``L`` and ``N``, as a share of
    the range. Its last layer begins at zero: at first the network is the `DepthBlend` of the same tensors with blurs
    ``L / N`` times as wide.

    Args:
        backbone: Gives ``backbone.out_channels`` features per pixel, at the photo's size or a part of it.
        bank: The ``n`` blurs at the least f-number.
        f_numbers: The least and the largest full-frame f-number of its training, in order; it renders at the least
            unless it is told another.
        linear_light: As in `DepthBlend`.
        enlarge: As in `DepthBlend`.
        bleeding: As in `DepthBlend`.
        coarse_share: As in `DepthBlend`.

    Example:
        >>> from lensblend.backbones.hourglass import Hourglass
        >>> network = ApertureBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9]), f_numbers=[2, 16]).eval()
        >>> network(torch.rand(2, 3, 40, 33), f_number=torch.tensor([2.0, 5.6])).bokeh.shape
        torch.Size([2, 3, 40, 33])

    References:
        E. Perez et al., "FiLM: Visual reasoning with a general conditioning layer", AAAI 2018, equation 2, for the
        scale and shift. That features before the head are changed by them, and by the f-number, is ours.
    """

    def __init__(
        self,
        backbone: Backbone,
        bank: KernelBank,
        f_numbers: Sequence[float | int] = (2.0, 16.0),
        linear_light: bool = False,
        enlarge: str = "bilinear",
        bleeding: bool = True,
        coarse_share: float | int = 0,
    ) -> None:
        super().__init__(backbone, bank, linear_light, enlarge, bleeding, coarse_share)
        if len(f_numbers) != 2 or not 0 < f_numbers[0] < f_numbers[1] < math.inf:
            raise RequestError(
                "`f_numbers` is the least and the largest f-number of the training, in order and above 0, but got "
                f"{list(f_numbers)}; use [2, 16]."
            )
        self._least, self._largest = float(f_numbers[0]), float(f_numbers[1])
        self._rendered: float | None = None  # what it renders at and takes no other beside
        self.modulation = nn.Sequential(nn.Linear(1, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 2 * backbone.out_channels))
        for parameter in self.modulation[-1].parameters():
            nn.init.zeros_(parameter)

    @property
    def f_numbers(self) -> tuple[float, float] | None:
        """The range of its training; None of a network that renders at one."""
        return (self._least, self._largest) if self._rendered is None else None

    def at_f_number(self, f_number: float | int) -> ApertureBlend:
        """Return the network as it renders at an f-number; its parameters are shared, not copied."""
        if self._rendered is not None:
            super().at_f_number(f_number)
        if not 0 < f_number < math.inf:
            raise RequestError(f"`f_number` is positive and finite, but got {f_number}; use {self._least:g}.")
        network = cast("ApertureBlend", self._with_bank(self.bank.scaled(self._least / f_number)))
        network._rendered = f_number
        return network

    def forward(
        self,
        photo: Float[Tensor, "b 3 h w"],
        full_photo: Float[Tensor, "b 3 h_full w_full"] | None = None,
        f_number: Float[Tensor, " b"] | None = None,
    ) -> Rendering:
        """Render bokeh from a photo in [0, 1], or into a larger version of it.

        Args:
            photo: What the weights are predicted from; sides of 32 pixels or more.
            full_photo: The same scene at another size; see `DepthBlend.forward`.
            f_number: Of each photo, full-frame; without, all are rendered at the least of the training.

        Returns:
            As `DepthBlend.forward`.
        """
        if f_number is None:
            return super().forward(photo, full_photo)
        check_photo(photo)
        features = self.features(photo)
        renderings = []
        for index, number in enumerate(f_number.tolist()):
            one, network = slice(index, index + 1), self.at_f_number(number)
            full = None if full_photo is None else full_photo[one]
            renderings.append(network._blend(photo[one], network._modulated(features[one]), full))
        aux = {name: torch.cat([rendering.aux[name] for rendering in renderings]) for name in renderings[0].aux}
        return Rendering(torch.cat([rendering.bokeh for rendering in renderings]), aux)

    def logits(self, photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n h2 w2"]:
        """Return the maps whose softmax are the weights, at the size of the backbone's features."""
        return self._modulated(self.features(photo))

    def _modulated(self, features: Tensor) -> Tensor:
        """Return what the head makes of features that are scaled and shifted for the f-number that it renders at."""
        place = math.log2((self._rendered or self._least) / self._least) / math.log2(self._largest / self._least)
        given = torch.full((1, 1), place, device=features.device)
        scale, shift = self.modulation(given)[..., None, None].chunk(2, dim=1)
        return self.head((1 + scale) * features + shift)
