"""A bokeh image and a mask, both generated at a small size, blended with the photo at its own (SLYYM)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from lensblend.errors import RequestError, one_of
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.nn.spade import SLOPE, SpadeBlock
from lensblend.nn.spectral import XavierConv2d
from lensblend.ops.blending import blend
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resize import resize_bilinear
from lensblend.priors.published import load_exactly, published_tensors
from lensblend.priors.released import spade, with_right_vectors

DIVISOR = 32  # five doublings
PUBLISHED_SIZE = (256, 256)
CONDITION = 4  # a photo and its saliency
# Features in and out of each block as multiples of the width, and whether the size doubles before it.
BLOCKS = (
    (16, 16, False),
    (16, 16, True),
    (16, 16, False),
    (16, 8, True),
    (8, 4, True),
    (4, 2, True),
    (2, 1, True),
)
MASK_ACTIVATIONS = {"tanh01": lambda x: (torch.tanh(x) + 1) / 2, "sigmoid": torch.sigmoid, "raw": torch.tanh}


class SpadeBlend(BokehNetwork):
    r"""Generate a bokeh image and a mask of what stays sharp: :math:`\hat I = I \odot \hat m + G \odot (1 - \hat m)`.

    Photo and saliency are reduced to one working size, whatever their shape, and condition every normalisation of a
    SPADE generator, which starts from them at 1/32 of that size. Its image :math:`G` and mask :math:`\hat m` are
    enlarged to the photo's size and blended with the photo itself, so that what the mask keeps loses no detail.
    With 64 features it has 92,090,116 parameters.

    The blend is the same in [0, 1] and in the [−1, 1] of the network, because the two weights add up to one.

    Args:
        width: Features before the last convolution; up to sixteen times as many come before.
        mask_activation: ``tanh01`` brings a tanh into [0, 1]; ``sigmoid``; ``raw`` leaves the tanh in [−1, 1], as the
            released code does. Then the rendering may leave [0, 1]: it is clamped in evaluation mode only.
        norm: ``batch`` as published, for batches of four and more per device (Lightning's ``sync_batchnorm`` adds
            those of all devices); with smaller ones the statistics of training and of evaluation differ, and
            ``instance``, which knows no batch, is the choice.
        working_size: Height and width of what is generated, rounded up to multiples of 32, at least 64 each; None is
            the published 256×256.

    Attributes:
        guidance: What `forward` needs beside the photo.

    Raises:
        RequestError: An argument is not as said.

    Example:
        >>> network = SpadeBlend(width=2, working_size=(64, 64)).eval()
        >>> bokeh, aux = network(torch.rand(1, 3, 48, 100), saliency=torch.rand(1, 1, 48, 100))
        >>> bokeh.shape, aux["mask"].shape
        (torch.Size([1, 3, 48, 100]), torch.Size([1, 1, 48, 100]))

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.7. T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019.
    """

    guidance = ("saliency",)

    def __init__(
        self,
        width: int = 64,
        mask_activation: str = "tanh01",
        norm: str = "batch",
        working_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if width < 1:
            raise RequestError(f"`width` is a positive number of features, but got {width}; the published one is 64.")
        size = PUBLISHED_SIZE if working_size is None else working_size
        if len(size) != 2 or any(side < 1 for side in size):
            raise RequestError(
                f"`working_size` is (height, width), both positive, but got {list(size)}; the published one is "
                f"{list(PUBLISHED_SIZE)}."
            )
        self.mask_activation = one_of("mask_activation", mask_activation, MASK_ACTIVATIONS)
        # At 1/32 of the size, one pixel alone would have no variance.
        self.working_size = tuple(max(-(-side // DIVISOR), 2) * DIVISOR for side in size)
        self.first = XavierConv2d(CONDITION, BLOCKS[0][0] * width, 3, padding=1)
        self.blocks = nn.ModuleList(SpadeBlock(i * width, o * width, CONDITION, norm) for i, o, _ in BLOCKS)
        self.last = XavierConv2d(BLOCKS[-1][1] * width, 4, 3, padding=1)

    def load_published(self, path: str | Path) -> None:
        """Take over the team's file of the generator, see `lensblend.priors.published.load_exactly`."""
        layout = spade()
        load_exactly(self, path, layout, with_right_vectors(published_tensors(path, layout.expected)))

    def forward(self, photo: Float[Tensor, "b 3 h w"], saliency: Float[Tensor, "b 1 h w"]) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more, and its saliency in [0, 1].

        Returns:
            ``bokeh``; ``mask`` ``(b, 1, h, w)``, the weight of the photo, one where it stays sharp; and ``generated``
            ``(b, 3, h, w)``, the enlarged image that takes its place elsewhere. All are single precision, also under
            autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        photo = at_least_float32(photo)
        condition = torch.cat([2 * photo - 1, at_least_float32(saliency)], dim=1)
        # A photo smaller than the working size is enlarged; antialiasing then changes nothing.
        condition = interpolate(condition, self.working_size, mode="bilinear", align_corners=False, antialias=True)
        raw = at_least_float32(self._generate(condition))
        generated = resize_bilinear((torch.tanh(raw[:, :3]) + 1) / 2, (height, width))
        mask = resize_bilinear(MASK_ACTIVATIONS[self.mask_activation](raw[:, 3:]), (height, width))
        bokeh = blend(torch.stack([photo, generated], dim=1), torch.cat([mask, 1 - mask], dim=1))
        return Rendering(self.in_range(bokeh), {"mask": mask, "generated": generated})

    def _generate(self, condition: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b 4 h w"]:
        """Return image and mask before their activations."""
        start = [side // DIVISOR for side in self.working_size]
        features = self.first(interpolate(condition, start, mode="nearest"))
        for block, (*_, doubles) in zip(self.blocks, BLOCKS, strict=True):
            if doubles:
                features = interpolate(features, scale_factor=2, mode="nearest")
            features = block(features, condition)
        return self.last(leaky_relu(features, SLOPE))
