"""Two networks, one at full and one at half size, whose features are fused (XMU-VIPLab in AIM 2019)."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError, one_of
from lensblend.nn.attention import SelectiveKernelUnit
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.nn.residual import ResidualBlock
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.priors.published import load_exactly
from lensblend.priors.released import bokehnets

# The half-size photo, and two halvings within each network.
DIVISOR = 8
VARIANTS = ("report", "released")
MEMORIES = ("released", "memnet")
BLOCKS = 4
DILATIONS = (2, 4, 6, 8)
LAST_STD = 1e-3


class DualBokehNet(BokehNetwork):
    r"""Fuse what two equal networks find in the photo: one at its own size (local), one at half of it (global).

    Each "bokehNet" halves the size twice, passes four memory blocks with the small photo beside their features, and
    comes back; :math:`I + \tanh(\tanh(\cdot))` of its last features, as the released code has it, is a rendering of its
    own, to be supervised before the fusion. There is no normalisation but in the report's fusion.

    With the defaults, all 5,315,529 parameters are used. The published bokehNet counts 2,643,269: to our 2,626,755 it
    adds what takes no part, 4 × 4,096 of a fourth 1×1 convolution in each ResASPP (``b_4``) and 130 of a linear head.

    Photos are extended to a multiple of 8 by repeating their last row and column. Renderings may leave [0, 1]: the
    bokeh is clamped in evaluation mode only, those of the two networks never.

    Args:
        width: Features everywhere but in the released fusion, half as many there; a multiple of 4.
        variant: ``report``: three selective-kernel units fuse the features, and the photo is added. ``released``:
            residual blocks fuse the two renderings, and nothing is added.
        memory: ``released``, or ``memnet``: six blocks with gates over all that came before, without the small photo.
        released_weight_sharing: Use the third memory block in the fourth position, too, as the released code does.

    Raises:
        RequestError: ``width`` is not a positive multiple of 4, ``variant`` or ``memory`` is unknown, or weights are
            to be shared by memory blocks that are not the released ones.

    Example:
        >>> bokeh, aux = DualBokehNet(width=4).eval()(torch.rand(1, 3, 33, 47))
        >>> bokeh.shape, sorted(aux)
        (torch.Size([1, 3, 33, 47]), ['global_bokeh', 'local_bokeh'])

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.5.
    """

    def __init__(
        self,
        width: int = 64,
        variant: str = "report",
        memory: str = "released",
        released_weight_sharing: bool = False,
    ) -> None:
        super().__init__()
        if width < 1 or width % 4:
            raise RequestError(f"`width` is a positive multiple of 4, but got {width}; the published one is 64.")
        one_of("memory", memory, MEMORIES)
        if released_weight_sharing and memory != "released":
            raise RequestError(
                f"`released_weight_sharing` belongs to `memory: released`, but got {memory!r}; drop one of the two."
            )
        self.variant = one_of("variant", variant, VARIANTS)
        memories = [
            _MemNet(width) if memory == "memnet" else _MemoryBlocks(width, released_weight_sharing) for _ in range(2)
        ]
        self.local_net, self.global_net = (_BokehNet(width, each) for each in memories)
        self.local_head, self.global_head = (nn.Conv2d(width, 3, 3, padding=1) for _ in range(2))
        self.fusion = _feature_fusion(width) if variant == "report" else _image_fusion(width // 2)

    def load_published(self, path: str | Path) -> None:
        """Take over the team's file of both networks and the released fusion.

        See `lensblend.priors.published.load_exactly`. Skips stand before what they are joined with there, and after it
        here; a fourth memory block, which the released code does not use, becomes like the third.
        """
        load_exactly(self, path, bokehnets())
        with torch.no_grad():
            for net in (self.local_net, self.global_net):
                for joined in (net.merge, net.leave):
                    joined.weight.copy_(joined.weight.roll(joined.out_channels, dims=1))

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more.

        Returns:
            ``bokeh``, and ``local_bokeh`` and ``global_bokeh``, which the two networks render by themselves; all of the
            photo's size and single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        image = pad_to_multiple(at_least_float32(photo), DIVISOR)
        half = F.interpolate(image, scale_factor=0.5, mode="nearest")
        near = self.local_net(image)
        local_bokeh = image + _twice_bounded(self.local_head(near))
        far = self.global_net(half)
        global_bokeh = _doubled(half + _twice_bounded(self.global_head(far)))
        if self.variant == "report":
            bokeh = image + at_least_float32(torch.tanh(self.fusion(torch.cat([near, _doubled(far)], dim=1))))
        else:
            bokeh = at_least_float32(torch.tanh(self.fusion(torch.cat([local_bokeh, global_bokeh], dim=1))))
        bokeh, local_bokeh, global_bokeh = (b[..., :height, :width] for b in (bokeh, local_bokeh, global_bokeh))
        aux = {"local_bokeh": local_bokeh, "global_bokeh": global_bokeh}
        return Rendering(self.in_range(bokeh), aux)


class _BokehNet(nn.Module):
    """From a photo, whose sides are multiples of 4, to features of its size."""

    def __init__(self, width: int, memory: nn.Module) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 7, padding=3)
        self.halve, self.quarter = (
            nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), ResidualBlock(width), nn.ReLU())
            for _ in range(2)
        )
        self.memory = memory
        self.enlarge, self.enlarge_again = (
            nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), ResidualBlock(width))
            for _ in range(2)
        )
        self.merge, self.leave = (nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(2))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Return the last features, which are not negative."""
        full = F.relu(self.enter(image))
        half = self.halve(full)
        features = self.memory(self.quarter(half), F.avg_pool2d(image, 4))
        features = F.relu(self.merge(torch.cat([self.enlarge(features), half], dim=1)))
        return F.relu(self.leave(torch.cat([self.enlarge_again(features), full], dim=1)))


class _MemoryBlocks(nn.Module):
    """Four memory blocks, after each of which the photo comes in again."""

    def __init__(self, width: int, shares_last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_MemoryBlock(width) for _ in range(BLOCKS - shares_last))
        self.transitions = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width + 3, width, 3, padding=1, bias=False),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
            )
            for _ in range(BLOCKS)
        )

    def forward(self, features: Float[Tensor, "b c h w"], image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Return features of the same size."""
        for index, transition in enumerate(self.transitions):
            features = self.blocks[min(index, len(self.blocks) - 1)](features)
            features = features + transition(torch.cat([features, image], dim=1))
        return features


class _MemoryBlock(nn.Module):
    """Residual blocks around a pyramid of dilations; not MemNet's block of that name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        around = [(ResidualBlock(width), ResidualBlock(width)) for _ in range(2)]
        self.layers = nn.Sequential(*around[0], _ResAspp(width), *around[1], nn.Conv2d(width, width, 3, padding=1))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add what the layers make of the features, and cut off what is negative."""
        return F.relu(features + self.layers(features))


class _ResAspp(nn.Module):
    """Three stages in series, each a pyramid of four dilations; what each of them returns is added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_DilationPyramid(width) for _ in range(3))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the input plus the results of all stages."""
        total = stage_features = features
        for stage in self.stages:
            stage_features = stage(stage_features)
            total = total + stage_features
        return total


class _DilationPyramid(nn.Module):
    """A quarter of the features at four dilations, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.reduce = nn.Conv2d(width, quarter, 1, bias=False)
        self.dilated = nn.ModuleList(
            nn.Conv2d(quarter, quarter, 3, padding=dilation, dilation=dilation, bias=False) for dilation in DILATIONS
        )
        self.fuse = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return features of the same size."""
        reduced = F.relu(self.reduce(features))
        return self.fuse(torch.cat([F.relu(layer(reduced)) for layer in self.dilated], dim=1))


class _MemNet(nn.Module):
    """Six blocks of six passes through one residual unit; a gate sees all passes and all earlier blocks.

    References:
        Y. Tai et al., "MemNet: a persistent memory network for image restoration", ICCV 2017, section 3 (M6R6).
    """

    def __init__(self, width: int, blocks: int = 6, passes: int = 6) -> None:
        super().__init__()
        self.passes = passes
        self.units = nn.ModuleList(
            nn.Sequential(*(
                layer for _ in range(2) for layer in (nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False))
            ))
            for _ in range(blocks)
        )  # fmt: skip
        self.gates = nn.ModuleList(
            nn.Conv2d((passes + 1 + index) * width, width, 1, bias=False) for index in range(blocks)
        )

    def forward(self, features: Float[Tensor, "b c h w"], image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Return features of the same size; the image is not looked at."""
        remembered = [features]
        for unit, gate in zip(self.units, self.gates, strict=True):
            passed = []
            for _ in range(self.passes):
                features = features + unit(features)
                passed.append(features)
            features = gate(F.relu(torch.cat([*passed, *remembered], dim=1)))
            remembered.append(features)
        return features


def _feature_fusion(width: int) -> nn.Sequential:
    """Build what the photo is added to; it begins near zero: normalised features would bury the photo at first."""
    last = nn.Conv2d(width, 3, 3, padding=1)
    for parameter in last.parameters():
        nn.init.normal_(parameter, std=LAST_STD)
    return nn.Sequential(nn.Conv2d(2 * width, width, 1), *(SelectiveKernelUnit(width) for _ in range(3)), last)


def _image_fusion(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(6, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        *(ResidualBlock(width) for _ in range(4)),
        nn.Conv2d(width, 3, 3, padding=1),
    )  # fmt: skip


def _twice_bounded(features: Tensor) -> Tensor:
    """Pass features through two hyperbolic tangents: the released layers end in one, and another follows them."""
    return torch.tanh(torch.tanh(at_least_float32(features)))


def _doubled(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2, mode="nearest")
