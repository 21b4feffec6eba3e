"""A residual of blurred photos beside their edges, at full resolution throughout (aps vision@IITG in AIM 2019)."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name
from torch.nn.utils.parametrizations import spectral_norm

from lensblend.errors import RequestError, one_of
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.ops.blur import blur_stack
from lensblend.ops.canny import canny
from lensblend.ops.colour import luma
from lensblend.ops.kernels import gaussian_kernel
from lensblend.ops.precision import at_least_float32

# The three blurs have sigma = 1.6 (√2)^p pixels. The report names 1, 5 and 14; in the released code the first is 0.
EXPONENTS = {"released": (0, 5, 14), "report": (1, 5, 14)}
KERNEL_SIZE = 5
COLOURS = {"luma": 1, "rgb": 3}
# Released: 20, after a Gaussian of σ = 1 that is not normalised, whose taps add up to 2.4837 along each axis.
EDGE_THRESHOLD = 20 / 2.4837**4
SCALES = 3
ATTENTION_STEP, ATTENTION_WINDOW = 4, 3  # pixels


class EdgeGuidedResidual(BokehNetwork):
    r"""Add to the photo's luma what a residual network makes of three blurred copies of it and of its edges.

    .. math:: \hat Y = Y + R\bigl(B_1(G_1 * Y, E), B_2(G_2 * Y, E), B_3(G_3 * Y, E)\bigr)

    The Gaussians :math:`G_i` of 5×5 pixels have :math:`\sigma` = 1.6, 9.05 and 204.8 pixels, and so the third is
    practically a box; the edges :math:`E` are Canny's, with their strength. Every branch :math:`B_i` is four
    convolutions; the residual network :math:`R` has eight basic blocks and no smaller scale. All layers are followed by
    batch normalisation and tanh, the last one too: luma in [−1, 1] changes by 1 at most. Colour is the photo's own, and
    so every channel changes by as much as luma does. The defaults have 1,107,712 parameters.

    Photos of any size pass as they are. The sum may leave [0, 1]: it is clamped in evaluation mode only.

    Args:
        width: Features of the branches and of the residual network, twice as many in its second stage.
        variant: ``released``, or ``report``, whose first blur has a σ of 2.26 pixels.
        colour: ``luma``, or ``rgb``, where each channel has blurs and a residual of its own.
        attention: Let what the branches return attend to itself before it is merged, with ReLU in the branches;
            1,107,818 parameters. Released, too, but not the default there.

    Raises:
        RequestError: ``width`` is not positive, or ``variant`` or ``colour`` is unknown.

    Example:
        >>> bokeh, aux = EdgeGuidedResidual(width=4).eval()(torch.rand(1, 3, 33, 47))
        >>> bokeh.shape, aux["edges"].shape
        (torch.Size([1, 3, 33, 47]), torch.Size([1, 1, 33, 47]))

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.9.
    """

    def __init__(
        self, width: int = 64, variant: str = "released", colour: str = "luma", attention: bool = False
    ) -> None:
        super().__init__()
        if width < 1:
            raise RequestError(f"`width` is a positive number of features, but got {width}; the published one is 64.")
        self.colour = one_of("colour", colour, COLOURS)
        exponents = EXPONENTS[one_of("variant", variant, EXPONENTS)]
        with torch.device("cpu"):
            self.kernels = tuple(gaussian_kernel(KERNEL_SIZE, 1.6 * sqrt(2) ** exponent) for exponent in exponents)
        merged = 3 * SCALES
        self.branches = nn.ModuleList(_branch(width, nn.ReLU if attention else nn.Tanh) for _ in range(SCALES))
        self.attention = _SelfAttention(merged) if attention else nn.Identity()
        self.residual = nn.Sequential(
            nn.Conv2d(merged, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.Tanh(),
            *_stage(width, width), *_stage(width, 2 * width), *_stage(2 * width, width),
            *_stage(width, COLOURS[colour]),
        )  # fmt: skip

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more.

        Returns:
            ``bokeh``, and ``edges`` of one channel, zero or a squared gradient; single precision, also under autocast.
        """
        check_photo(photo)
        photo = at_least_float32(photo)
        seen = 2 * photo - 1 if self.colour == "rgb" else (2 * luma(photo) - 1).expand_as(photo)
        edges = canny(seen, EDGE_THRESHOLD)
        copies = blur_stack(seen, self.kernels)[:, 1:]
        features = torch.cat(
            [
                branch(torch.cat([copy, edges], dim=1))
                for branch, copy in zip(self.branches, copies.unbind(dim=1), strict=True)
            ],
            dim=1,
        )
        # Half of it, because [−1, 1] is twice as wide as [0, 1].
        bokeh = photo + at_least_float32(self.residual(self.attention(features))) / 2
        return Rendering(self.in_range(bokeh), {"edges": edges})


def _branch(width: int, activation: type[nn.Module]) -> nn.Sequential:
    """Build four convolutions of one blurred copy and the edges, each with normalisation and activation."""
    channels = (4, width, width, width, 3)
    layers = [
        (nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), activation())
        for before, after in pairwise(channels)
    ]
    return nn.Sequential(*(module for layer in layers for module in layer))


def _stage(before: int, after: int) -> tuple[_BasicBlock, _BasicBlock]:
    return _BasicBlock(before, after), _BasicBlock(after, after)


class _BasicBlock(nn.Module):
    """Two normalised convolutions around a shortcut, as in ResNet-18, with tanh in place of ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.Tanh(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = (
            nn.Identity()
            if before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return values in [−1, 1]."""
        return torch.tanh(self.layers(features) + self.shortcut(features))


class _SelfAttention(nn.Module):
    r"""Add what each pixel gathers from all, :math:`x + \gamma \, O(\sum_j a_{ij} V_j)`, where γ starts at zero.

    Everything is computed at a quarter of the size, from the maxima of 3×3 pixels at every fourth, and enlarged to the
    nearest pixel. Projections are divided by their largest singular value.

    References:
        H. Zhang et al., "Self-attention generative adversarial networks", ICML 2019, section 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = spectral_norm(nn.Conv2d(channels, channels // 8, 1))
        self.key = spectral_norm(nn.Conv2d(channels, channels // 8, 1))
        self.value = spectral_norm(nn.Conv2d(channels, channels // 2, 1))
        self.expand = spectral_norm(nn.Conv2d(channels // 2, channels, 1))
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the features plus what they gather."""
        reduced = F.max_pool2d(features, ATTENTION_WINDOW, ATTENTION_STEP, ceil_mode=True)
        query, key, value = (project(reduced) for project in (self.query, self.key, self.value))
        # Only rows of equal widths, and contiguous, are attended to without the matrix of all scores, which is too
        # large to hold. Zeros change no product.
        spare = value.shape[1] - query.shape[1]
        query, key = (F.pad(each, (0, 0, 0, 0, 0, spare)) for each in (query, key))
        q, k, v = (each.flatten(2).mT.contiguous()[:, None] for each in (query, key, value))
        gathered = F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].mT
        found = self.expand(gathered.reshape(len(features), -1, *reduced.shape[-2:]))
        enlarged = F.interpolate(found, scale_factor=ATTENTION_STEP, mode="nearest")
        return features + self.gain * enlarged[..., : features.shape[-2], : features.shape[-1]]
