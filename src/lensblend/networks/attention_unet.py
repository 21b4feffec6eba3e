"""A U-Net of channel attention, atrous pooling and dual residuals whose levels all see each other: team VIDAR."""

from __future__ import annotations

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError, one_of
from lensblend.nn.attention import AttentiveResidualBlock, ChannelAttention
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32

LEVELS = 4
STEMS = {"unshuffle": 2, "full": 1}
RATES = (2, 4, 8)


class AttentionUnet(BokehNetwork):
    r"""Render bokeh from the photo alone by a U-Net whose decoder fuses the skips of all levels at each level.

    Level :math:`i` of four has :math:`2^{i-1}` times ``width`` features at :math:`2^{-i}` of the photo's size: the stem
    moves 2×2 pixels into channels. Down the encoder run residual blocks with channel attention; each level's features
    pass atrous pooling before they are a skip. Up the decoder, a level is given the three finer skips and the coarser
    decoded features, all resized to it. Every level renders at twice its size: the photo, reduced to that, plus a
    residual. There is no normalisation. With 32 features it has 13,350,488 parameters.

    Photos are extended to a multiple of 16 (8 with the stem ``full``) by repeating their last row and column. The
    rendering is clamped in evaluation mode only, so that in training the pixels farthest off keep their gradient.

    Args:
        width: Features of the finest level, a multiple of 4.
        stem: ``unshuffle`` works from half the photo's size down; ``full`` from its own size down, at four times the
            cost, without moving pixels into channels.

    Raises:
        RequestError: ``width`` is no positive multiple of 4, or ``stem`` is unknown.

    Example:
        >>> bokeh, aux = AttentionUnet(width=4).eval()(torch.rand(1, 3, 48, 64))
        >>> bokeh.shape, [tuple(level.shape[2:]) for level in aux["pyramid"]]
        (torch.Size([1, 3, 48, 64]), [(24, 32), (12, 16), (6, 8)])

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.4 and figure 5. It gives no widths, numbers of blocks or rates: docs/systems/vidar.md lists ours.
    """

    def __init__(self, width: int = 32, stem: str = "unshuffle") -> None:
        super().__init__()
        if width < 1 or width % 4:
            raise RequestError(f"`width` is a positive multiple of 4, but got {width}; the usual one is 32.")
        factor = STEMS[one_of("stem", stem, STEMS)]
        self.divisor = factor * 2 ** (LEVELS - 1)
        widths = [width * 2**level for level in range(LEVELS)]
        entrances = [
            nn.Sequential(nn.PixelUnshuffle(factor), nn.Conv2d(3 * factor**2, width, 3, padding=1)),
            *(nn.Conv2d(fine, 2 * fine, 3, stride=2, padding=1) for fine in widths[:-1]),
        ]
        self.encoders = nn.ModuleList(
            nn.Sequential(entrance, *_attentive_pair(c)) for entrance, c in zip(entrances, widths, strict=True)
        )
        self.poolings = nn.ModuleList(_AtrousPooling(c) for c in widths)
        self.bottom = nn.ModuleList(_DualResidualBlock(widths[-1]) for _ in range(2))
        self.decoders = nn.ModuleList(_Decoder(sum(widths[:-1]) + 2 * c, c) for c in widths[:-1])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 3 * factor**2, 3, padding=1), nn.PixelShuffle(factor)) for c in widths
        )

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more.

        Returns:
            ``bokeh`` of the photo's size, and ``pyramid``: a list of the renderings at a half, a quarter and an
            eighth of that size, rounded up, which are not clamped. All are single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        image = at_least_float32(pad_to_multiple(photo, self.divisor))
        residuals = [at_least_float32(h(f)) for h, f in zip(self.heads, self._decoded(image), strict=True)]
        levels = []
        for level, residual in enumerate(residuals):
            reduced = F.avg_pool2d(image, 2**level) if level else image
            rendered = reduced + residual
            levels.append(rendered[..., : ceil(height / 2**level), : ceil(width / 2**level)])
        bokeh = levels[0]
        return Rendering(self.in_range(bokeh), {"pyramid": levels[1:]})

    def _decoded(self, image: Tensor) -> list[Tensor]:
        """Return every level's decoded features, finest first."""
        features, skips = image, []
        for encoder, pooling in zip(self.encoders, self.poolings, strict=True):
            features = encoder(features)
            skips.append(pooling(features))
        features = residual = skips.pop()
        for block in self.bottom:
            features, residual = block(features, residual)
        decoded = [features]
        for level in reversed(range(LEVELS - 1)):
            decoded.insert(0, self.decoders[level](skips, decoded[0], level))
        return decoded


class _Decoder(nn.Module):
    """One level of the decoder: fuse all skips and the coarser features, refine, and add this level's skip."""

    def __init__(self, given: int, channels: int) -> None:
        super().__init__()
        self.fusion = nn.Sequential(
            nn.Conv2d(given, channels, 1),
            nn.ReLU(),
            ChannelAttention(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
        )
        self.refinement = nn.Sequential(*_attentive_pair(channels))
        self.dual = _DualResidualBlock(channels)

    def forward(
        self, skips: list[Tensor], coarser: Float[Tensor, "b coarse h_coarse w_coarse"], level: int
    ) -> Float[Tensor, "b c h w"]:
        """Decode the level of ``skips[level]``, which is the second stream of the dual residual block."""
        size = skips[level].shape[-2:]
        maps = [_resized(features, size) for features in (*skips, coarser)]
        decoded, _ = self.dual(self.refinement(self.fusion(torch.cat(maps, dim=1))), skips[level])
        return decoded


class _AtrousPooling(nn.Module):
    """Add what four ranges and the mean of the photo say: a 1×1, three dilated 3×3, and pooled features, merged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        self.ranges = nn.ModuleList(
            [
                nn.Conv2d(channels, quarter, 1),
                *(nn.Conv2d(channels, quarter, 3, padding=rate, dilation=rate) for rate in RATES),
            ]
        )
        self.whole = nn.Conv2d(channels, quarter, 1)
        self.merge = nn.Conv2d(5 * quarter, channels, 1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        views = [convolution(features) for convolution in self.ranges]
        mean = self.whole(features.mean((2, 3), keepdim=True)).expand_as(views[0])
        merged: Tensor = features + self.merge(torch.cat([*views, mean], dim=1).relu())
        return merged


class _DualResidualBlock(nn.Module):
    """Pair a 5×5 and a 3×3 convolution by a second residual stream that runs beside the features (DuRN's "DuRB-P").

    Liu et al., "Dual residual networks leveraging the potential of paired operations for image restoration", CVPR 2019.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.wide = nn.Conv2d(channels, channels, 5, padding=2)
        self.narrow = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, features: Float[Tensor, "b c h w"], residual: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Return both streams, the features first."""
        local = (features + self.layers(features)).relu()
        residual = (residual + self.wide(local)).relu()
        return (features + self.narrow(residual)).relu(), residual


def _attentive_pair(channels: int) -> tuple[AttentiveResidualBlock, AttentiveResidualBlock]:
    return AttentiveResidualBlock(channels), AttentiveResidualBlock(channels)


def _resized(features: Tensor, size: torch.Size) -> Tensor:
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size, mode="bilinear", align_corners=False)
