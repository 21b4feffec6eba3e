"""Networks that render bokeh."""

import torch
from torch import Tensor, nn

from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.ops.blending import blend


class TinyBlend(BokehNetwork):
    """Blend a photo and its blurred copies by weights that a few dilated convolutions see.

    Args:
        bank: The blurs.
        width: Channels of each layer.

    Example:
        >>> bokeh, aux = TinyBlend(KernelBank(sizes=[3, 5]))(torch.rand(1, 3, 32, 48))
        >>> bokeh.shape, aux["weights"].shape
        (torch.Size([1, 3, 32, 48]), torch.Size([1, 3, 32, 48]))
    """

    def __init__(self, bank: KernelBank, width: int = 12) -> None:
        super().__init__()
        self.bank = bank
        layers, channels = [], 3
        for dilation in (1, 2, 4):
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.GELU()]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, len(bank) + 1, 3, padding=1))

    @property
    def reference_bank(self) -> KernelBank:
        """The blurs: pictures of the weight maps are named after them, and `evaluate` scores them by themselves."""
        return self.bank

    def forward(self, photo: Tensor) -> Rendering:
        """Render bokeh from a photo in [0, 1]."""
        weights = torch.softmax(self.layers(2 * photo - 1), dim=1)
        stack = self.bank(photo)
        return Rendering(blend(stack, weights), {"weights": weights, "stack": stack})
