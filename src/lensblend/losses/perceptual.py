"""Losses that compare what a pretrained network sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.priors.vgg import TAPS, Vgg19Features

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


class VggFeatures(nn.Module):
    r"""Average, at five depths of VGG-19, the absolute difference of features: :math:`\sum_l w_l \, |F_l - T_l|`.

    Each depth's mean is over all its values, so that the weights :math:`w_l` alone decide how much it counts. Computed
    in float32, also under autocast. The weights of VGG-19 are neither in a state dict nor seen by an optimizer.

    Args:
        weights: Local path of torchvision's ``vgg19-dcbb9e9d.pth``, or nothing to look into the cache.
        layer_weights: Of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1; none is negative.
        download: Fetch the file once where it is missing, and check its SHA-256.
        normalisation: ``imagenet`` or, as SPADE, ``symmetric``; see `lensblend.priors.vgg.Vgg19Features`.

    Raises:
        WeightsMissingError: The file is not on this machine; the message says how to get it.
        RequestError: ``weights`` is no file, or ``layer_weights`` or ``normalisation`` are not as said.
        DataError: The file is damaged or holds another network.

    Example:
        >>> try:
        ...     VggFeatures(layer_weights=[1.0])
        ... except RequestError as error:
        ...     print(error)
        `layer_weights` are five numbers, none negative, but got [1.0]; SPADE's are 1/32, 1/16, 1/8, 1/4 and 1.

    References:
        J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution",
        ECCV 2016. T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019 (the
        depths and their weights).
    """

    def __init__(
        self,
        weights: str | None = None,
        layer_weights: Sequence[float | int] = LAYER_WEIGHTS,
        download: bool = False,
        normalisation: str = "imagenet",
    ) -> None:
        super().__init__()
        if len(layer_weights) != len(TAPS) or min(layer_weights) < 0:
            raise RequestError(
                f"`layer_weights` are five numbers, none negative, but got {list(layer_weights)}; "
                "SPADE's are 1/32, 1/16, 1/8, 1/4 and 1."
            )
        self.layer_weights = tuple(layer_weights)
        # A tuple hides the network from state dicts and optimizers: a checkpoint must neither carry nor need VGG-19.
        self._hidden = (Vgg19Features(weights, download, normalisation),)

    def forward(self, predicted: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Return the distance of photos in [0, 1], which a rendering may leave; sides of 16 pixels or more."""
        network = self._hidden[0].to(predicted.device)
        with torch.autocast(predicted.device.type, enabled=False):
            with torch.no_grad():
                wanted = network(truth.float())
            seen = network(predicted.float())
            depths = [
                weight * (a - b).abs().mean() for weight, a, b in zip(self.layer_weights, seen, wanted, strict=True)
            ]
        return torch.stack(depths).sum()
