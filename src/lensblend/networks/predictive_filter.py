"""Three scales of one photo, each rendered and then filtered by predicted kernels: islab-zju of AIM 2019."""

from __future__ import annotations

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.ops.coordinates import coordinate_maps
from lensblend.ops.filtering import filter_locally
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32

# One halving before the first level, and one before each of the others.
DIVISOR = 8
# Of the densely connected convolutions, by level, finest first; the coarsest has the fewest pixels.
DILATIONS = ((1, 2, 3, 2, 1), (1, 2, 3, 2, 1), (1, 2, 2, 2, 1))
# Features from which kernels are predicted, whatever the width.
HIDDEN = 64


class PredictiveFilter(BokehNetwork):
    r"""Render bokeh at a quarter, at half and at full size, each time through kernels predicted for every pixel.

    .. math:: R_l = k_l * \mathrm{up}(C_l F_l), \qquad F_l = G_l\bigl(I_l, R_{l+1}\bigr), \qquad k_l = \mathrm{softmax}

    At each level :math:`l`, a gate fusion block :math:`G_l` makes features from those of the photo, :math:`I_l`, and
    from the coarser rendering. A convolution to 12 channels and a 2×2 pixel shuffle make an image of twice the
    features' size, which is filtered by K×K kernels from the same features, one for each pixel. The softmax keeps the
    kernels from going below zero and makes them sum to one, so that each pixel is a mean of the image around it.
    :math:`R_1` is the bokeh itself. By default there are 5,060,592 parameters.

    The first convolution also sees where in the whole photo each pixel is, because training crops are small.
    Photos are extended to a multiple of 8 by repeating their last row and column. The bokeh is clamped to [0, 1] in
    evaluation mode, but not in training mode, where a clamp would take the gradient from the pixels that are
    farthest off.

    Args:
        width: Features that each densely connected convolution adds; twice as many go from block to block.
        kernel_size: K of the predicted kernels, in pixels, odd.

    Raises:
        RequestError: ``width`` is not positive, or ``kernel_size`` is even or not positive.

    Attributes:
        takes_coordinates: `forward` can be told where a crop is in its photo.

    Example:
        >>> bokeh, aux = PredictiveFilter(width=4, kernel_size=3).eval()(torch.rand(1, 3, 48, 64))
        >>> bokeh.shape, [tuple(level.shape) for level in aux["pyramid"]], aux["kernels"].shape
        (torch.Size([1, 3, 48, 64]), [(1, 3, 24, 32), (1, 3, 12, 16)], torch.Size([1, 9, 48, 64]))

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.1 (islab-zju). It states neither widths nor K; docs/systems/islab_zju.md says where they are from.
    """

    takes_coordinates = True

    def __init__(self, width: int = 64, kernel_size: int = 7) -> None:
        super().__init__()
        if width < 1:
            raise RequestError(f"`width` is a positive number of features, but got {width}; the default is 64.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise RequestError(f"`kernel_size` is odd and positive, but got {kernel_size}; the default is 7.")
        features = 2 * width
        self.heads = nn.ModuleList(
            [
                nn.Conv2d(4 * (3 + 2), features, 3, padding=1),
                nn.Conv2d(features, features, 3, stride=2, padding=1),
                nn.Conv2d(features, features, 3, stride=2, padding=1),
            ]
        )
        coarsest = len(DILATIONS) - 1
        self.levels = nn.ModuleList(
            _Level(features, width, kernel_size, dilations, finer=level < coarsest)
            for level, dilations in enumerate(DILATIONS)
        )

    def forward(
        self, photo: Float[Tensor, "b 3 h w"], coordinates: Float[Tensor, "b 2 h w"] | None = None
    ) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more.

        Args:
            photo: A whole photo, or a crop of one.
            coordinates: Where its pixels are in the whole photo: the vertical place, then the horizontal one, in
                [-1, 1], as `lensblend.ops.coordinates.coordinate_maps` makes them. Without them, the photo is whole.

        Returns:
            ``bokeh``; ``kernels``, the K² values per pixel that made it, row by row; and ``pyramid``: a list of the
            renderings at half and at a quarter of the photo's size, rounded up, which are not clamped.
            All are single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        if coordinates is None:
            coordinates = coordinate_maps(height, width, device=photo.device).expand(len(photo), -1, -1, -1)
        image = torch.cat([photo, coordinates.to(photo.dtype)], dim=1)
        image = pad_to_multiple(image, DIVISOR)
        features = F.pixel_unshuffle(image, 2)
        by_level = []
        for head in self.heads:
            features = F.relu(head(features))
            by_level.append(features)
        rendering, kernels = self.levels[-1](by_level[-1])
        renderings = [rendering]
        for level in reversed(range(len(self.levels) - 1)):
            rendering, kernels = self.levels[level](by_level[level], rendering)
            renderings.insert(0, rendering)
        bokeh, *pyramid = (
            rendering[..., : ceil(height / 2**level), : ceil(width / 2**level)]
            for level, rendering in enumerate(renderings)
        )
        aux = {"pyramid": pyramid, "kernels": kernels[..., :height, :width]}
        return Rendering(self.in_range(bokeh), aux)


class _Level(nn.Module):
    """Features of one scale to a rendering of twice their size, and the kernels that made it."""

    def __init__(self, features: int, growth: int, kernel_size: int, dilations: tuple[int, ...], finer: bool) -> None:
        super().__init__()
        if finer:
            self.merge = nn.Conv2d(features + 3, features, 1)
        self.fuse = _GateFusion(features, growth, dilations)
        self.reconstruct = nn.Sequential(nn.Conv2d(features, 12, 3, padding=1), nn.PixelShuffle(2))
        self.predict = nn.Sequential(
            nn.Conv2d(features, HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HIDDEN, 4 * kernel_size**2, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(
        self, features: Float[Tensor, "b c h w"], coarser: Float[Tensor, "b 3 h w"] | None = None
    ) -> tuple[Float[Tensor, "b 3 h2 w2"], Float[Tensor, "b k2 h2 w2"]]:
        if coarser is not None:
            features = F.relu(self.merge(torch.cat([features, coarser.to(features.dtype)], dim=1)))
        fused = self.fuse(features)
        # In bfloat16 the kernels would sum to one only within 0.003.
        kernels = torch.softmax(at_least_float32(self.predict(fused)), dim=1)
        return filter_locally(self.reconstruct(fused), kernels, "replicate"), kernels


class _GateFusion(nn.Module):
    """Five densely connected convolutions; a gate chooses, for every feature, between two views of what they found."""

    def __init__(self, features: int, growth: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        widths = [features + growth * index for index in range(len(dilations) + 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(width, growth, 3, padding=dilation, dilation=dilation)
            for width, dilation in zip(widths[:-1], dilations, strict=True)
        )
        self.gate = nn.Conv2d(widths[-1], features, 3, padding=1)
        self.opened = nn.Conv2d(widths[-1], features, 1)
        self.closed = nn.Conv2d(widths[-1], features, 1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        found = features
        for layer in self.layers:
            found = torch.cat([found, F.relu(layer(found))], dim=1)
        gate = torch.sigmoid(self.gate(found))
        return gate * F.relu(self.opened(found)) + (1 - gate) * F.relu(self.closed(found)) + features
