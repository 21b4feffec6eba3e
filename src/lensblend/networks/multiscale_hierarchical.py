"""Three scales of one photo, coarse to fine: DMSHN and Stacked DMSHN (Dutta et al. 2021)."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.nn.residual import ResidualBlock
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.priors.published import load_exactly
from lensblend.priors.released import dmshn

LEVELS = 3
# Two halvings to the coarsest level, and two more in its encoder.
DIVISOR = 16


class MultiscaleHierarchical(BokehNetwork):
    r"""Render bokeh from the photo alone, first at a quarter of its size, then at half of it, then at its own.

    .. math:: R_l = D_l\bigl(F_l + {\uparrow}F_{l+1}\bigr), \qquad F_l = E_l\bigl(I_l + {\uparrow}R_{l+1}\bigr)

    Every level :math:`l` has an encoder :math:`E_l` and a decoder :math:`D_l` of its own; nothing comes up to the
    coarsest one, level 3. :math:`R_1` is the bokeh itself; at levels 2 and 3, :math:`I_l + R_l` is a smaller rendering,
    which can be supervised. There is no normalisation. With 32 features it has the published 5,424,393 parameters.

    Photos are extended to a multiple of 16 by repeating their last row and column. The published network ends in a
    convolution, whose values may leave [0, 1]: they are clamped in evaluation mode, but not in training mode, where a
    clamp would take the gradient from exactly the pixels that are farthest off.

    Args:
        width: Features of the finest resolution of every encoder; two and four times as many follow.

    Raises:
        RequestError: ``width`` is not positive.

    Example:
        >>> import torch
        >>> bokeh, aux = MultiscaleHierarchical(width=4).eval()(torch.rand(1, 3, 48, 64))
        >>> bokeh.shape, [tuple(level.shape) for level in aux["pyramid"]]
        (torch.Size([1, 3, 48, 64]), [(1, 3, 24, 32), (1, 3, 12, 16)])

    References:
        S. Dutta et al., "Stacked deep multi-scale hierarchical network for fast bokeh effect rendering from a single
        image", CVPR Workshops 2021.
    """

    stages = 1

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        if width < 1:
            raise RequestError(f"`width` is a positive number of features, but got {width}; the published one is 32.")
        self.hierarchies = nn.ModuleList(_Hierarchy(width) for _ in range(self.stages))

    def load_published(self, path: str | Path) -> None:
        """Take over the file of the network's authors, see `lensblend.priors.published.load_exactly`."""
        load_exactly(self, path, dmshn(self.stages))

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more.

        Returns:
            ``bokeh`` of the photo's size, and ``pyramid``: a list of the renderings at half and at a quarter of that
            size, rounded up, which are not clamped; those of a stack's second network follow those of its first.
            All are single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        image = at_least_float32(pad_to_multiple(photo, DIVISOR))
        pyramid: list[Tensor] = []
        for hierarchy in self.hierarchies:
            image, coarser = hierarchy(image)
            pyramid += coarser
        bokeh = image[..., :height, :width]
        factors = [image.shape[-1] // level.shape[-1] for level in pyramid]
        cropped = [
            level[..., : ceil(height / factor), : ceil(width / factor)]
            for level, factor in zip(pyramid, factors, strict=True)
        ]
        return Rendering(self.in_range(bokeh), {"pyramid": cropped})


class StackedMultiscaleHierarchical(MultiscaleHierarchical):
    """Render bokeh by two `MultiscaleHierarchical` networks in series; the second refines what the first rendered.

    With 32 features it has the published 10,848,786 parameters. Nothing is clamped between the two.

    Args:
        width: Features of the finest resolution of every encoder, in both networks.

    Example:
        >>> import torch
        >>> bokeh, aux = StackedMultiscaleHierarchical(width=4).eval()(torch.rand(1, 3, 33, 47))
        >>> bokeh.shape, len(aux["pyramid"])
        (torch.Size([1, 3, 33, 47]), 4)

    References:
        S. Dutta et al., "Stacked deep multi-scale hierarchical network for fast bokeh effect rendering from a single
        image", CVPR Workshops 2021.
    """

    stages = 2


class _Hierarchy(nn.Module):
    """One network of three levels, finest first, on images whose sides are multiples of 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(_encoder(width) for _ in range(LEVELS))
        self.decoders = nn.ModuleList(_decoder(width) for _ in range(LEVELS))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 3 h w"], list[Tensor]]:
        """Return what the finest decoder makes, and the coarser renderings, larger first."""
        images = [image]
        for _ in range(1, LEVELS):
            images.append(F.avg_pool2d(images[-1], 2))  # what bilinear interpolation to half the size is
        feature = self.encoders[-1](images[-1])
        residual = at_least_float32(self.decoders[-1](feature))
        pyramid: list[Tensor] = []
        for level in reversed(range(LEVELS - 1)):
            pyramid.insert(0, images[level + 1] + residual)
            coarser = _doubled(feature)
            feature = self.encoders[level](images[level] + _doubled(residual))
            residual = at_least_float32(self.decoders[level](feature + coarser))
        return residual, pyramid


def _encoder(width: int) -> nn.Sequential:
    """Build three convolutions, the last two halving the size, each followed by two residual blocks."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        *_residual_pair(width),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        *_residual_pair(2 * width),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
        *_residual_pair(4 * width),
    )


def _decoder(width: int) -> nn.Sequential:
    """Build the way back: two residual blocks, then a transposed convolution that doubles the size, or the last one."""
    return nn.Sequential(
        *_residual_pair(4 * width),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
        *_residual_pair(2 * width),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        *_residual_pair(width),
        nn.Conv2d(width, 3, 3, padding=1),
    )


def _residual_pair(channels: int) -> tuple[ResidualBlock, ResidualBlock]:
    return ResidualBlock(channels), ResidualBlock(channels)


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
