"""A photo multiplied by what dense residual blocks make of it and of its saliency (Bazinga in AIM 2019)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32, full_precision

# Two halvings.
DIVISOR = 4
SLOPE = 0.2
# Of what a block adds to its input; without it, deep stacks without normalisation do not train.
RESIDUAL_SCALE = 0.2


class SaliencyRrdb(BokehNetwork):
    r"""Multiply the photo by a map that is computed at a quarter of its size, then pass it through two convolutions.

    .. math:: \hat I = C_2\bigl(C_1(I \odot M(I, S))\bigr)

    The multiplier :math:`M`, one value per pixel and channel and free in range, comes from the photo and its saliency
    :math:`S`: two convolutions halve the size, residual-in-residual dense blocks follow, and two convolutions come
    after doublings by the nearest neighbour. There is no normalisation. With the defaults it has 3,011,942 parameters.
    The report gives no numbers; widths, blocks and the photo's way into the trunk are ours.

    Photos are extended to a multiple of 4 by repeating their last row and column. The network ends in a convolution,
    whose values may leave [0, 1]: they are clamped in evaluation mode, but not in training mode.

    Args:
        width: Features of the trunk; the convolutions of a dense block add half as many each.
        blocks: Residual-in-residual dense blocks.

    Attributes:
        guidance: What `forward` needs beside the photo.

    Raises:
        RequestError: ``width`` is not even and positive, or ``blocks`` is not positive.

    Example:
        >>> network = SaliencyRrdb(width=4, blocks=1).eval()
        >>> network(torch.rand(1, 3, 33, 47), saliency=torch.rand(1, 1, 33, 47)).bokeh.shape
        torch.Size([1, 3, 33, 47])

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.8. The blocks: X. Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks",
        ECCV Workshops 2018, section 3.1.
    """

    guidance = ("saliency",)

    def __init__(self, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise RequestError(f"`width` is an even, positive number of features, but got {width}; the default is 64.")
        if blocks < 1:
            raise RequestError(f"`blocks` is a positive number, but got {blocks}; the default is 4.")
        half = width // 2
        self.reduce = nn.Sequential(
            nn.Conv2d(4, width, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.trunk = nn.Sequential(*(_Rrdb(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.enlarge = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(width, half, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(half, 3, 3, padding=1),
        )
        self.finish = nn.Sequential(
            nn.Conv2d(3, half, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(half, 3, 3, padding=1)
        )

    def forward(self, photo: Float[Tensor, "b 3 h w"], saliency: Float[Tensor, "b 1 h w"]) -> Rendering:
        """Render bokeh from a photo and its saliency, both in [0, 1].

        Args:
            photo: Sides of 32 pixels or more.
            saliency: Foreground probability.

        Returns:
            ``bokeh`` and ``saliency`` of the photo's size; single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        guided = pad_to_multiple(at_least_float32(torch.cat([photo, saliency], dim=1)), DIVISOR)
        reduced = self.reduce(guided)
        multiplier = at_least_float32(self.enlarge(reduced + self.trunk(reduced)))
        # The photo's own values pass through the last two: half precision would cut them to 8 bits.
        with full_precision(photo.device):
            bokeh = self.finish(guided[:, :3] * multiplier)[..., :height, :width]
        return Rendering(self.in_range(bokeh), {"saliency": at_least_float32(saliency)})


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and all before it; a fifth of the last one's is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        growth = width // 2
        self.grow = nn.ModuleList(nn.Conv2d(width + i * growth, growth, 3, padding=1) for i in range(4))
        self.fuse = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the input plus a fifth of what the convolutions make of it."""
        known = features
        for layer in self.grow:
            known = torch.cat([known, F.leaky_relu(layer(known), SLOPE)], dim=1)
        return features + RESIDUAL_SCALE * self.fuse(known)


class _Rrdb(nn.Module):
    """Three dense blocks in series, of whose result a fifth is added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(_DenseBlock(width) for _ in range(3)))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the input plus a fifth of what the dense blocks make of it."""
        return features + RESIDUAL_SCALE * self.dense(features)
