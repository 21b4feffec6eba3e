"""Depth-aware blending of smoothed images: Dutta 2021, and team CVL-IITM in the AIM 2019 challenge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from lensblend.errors import RequestError, one_of
from lensblend.nn.full_size import FullSize
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, BokehNetwork, Rendering, check_photo, check_sides
from lensblend.ops.blending import blend
from lensblend.ops.colour import linear_to_srgb, srgb_to_linear
from lensblend.ops.guided import guided_upsample
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resampling import doubled
from lensblend.ops.resize import Window, resize_bilinear, sample_bilinear
from lensblend.priors.depth import BLENDING_MAPS, load_megadepth

ENLARGING = ("bilinear", "guided")
GUIDED_EPS = 3e-3  # of guided enlarging: less, and weights take the photo's texture on; more, and edges soften
LEAST_SHARE = 1e-3  # of a pixel in a blur without bleeding, so that one deep inside what is sharp has a blur as well


class DepthBlend(BokehNetwork):
    r"""Render bokeh by choosing, at every pixel, how much of each blurred copy of the photo to show.

    .. math:: \hat I = W_0 \odot I + \sum_{i=1}^{n} W_i \odot B(I, k_i), \qquad \sum_i W_i(x, y) = 1

    A backbone that once predicted depth gets a new 3×3 head of ``n+1`` maps, and a softmax across these maps at each
    pixel makes them blending weights (equations 1 and 2). With MegaDepth's hourglass and three kernels this is the
    published network of 5,358,884 parameters. The output needs no clamp: it never leaves the range of its copies.

    Args:
        backbone: Gives ``backbone.out_channels`` features per pixel, at the photo's size.
        bank: The ``n`` blurs; one weight map for each and one for the photo itself.
        linear_light: Blur and blend in linear light, as a lens does, instead of in stored sRGB as the paper does.
        enlarge: How weights reach a larger size, where the backbone has a stride or the photo is rendered at another
            size: ``bilinear``, or ``guided`` by the photo's edges, see `lensblend.ops.guided.guided_upsample`.
        bleeding: Whether blurs carry the colours of what stays sharp into what is blurred, as the paper's do. Without,
            each pixel counts in a blur by its share of blurred copies: the blur of share times photo over the blur of
            the share.
        coarse_share: Share, in [0, 1), that the features of the photo at half its size have in those that the head
            sees. Small, a network takes in more of the scene at once and finds what stands out; large, its outline.

    Example:
        >>> from lensblend.backbones.hourglass import Hourglass
        >>> network = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9])).eval()
        >>> bokeh, aux = network(torch.rand(1, 3, 40, 33))
        >>> bokeh.shape, aux["weights"].shape
        (torch.Size([1, 3, 40, 33]), torch.Size([1, 4, 40, 33]))

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, section 3.2.
    """

    blends_full_size = True

    def __init__(
        self,
        backbone: Backbone,
        bank: KernelBank,
        linear_light: bool = False,
        enlarge: str = "bilinear",
        bleeding: bool = True,
        coarse_share: float | int = 0,
    ) -> None:
        super().__init__()
        one_of("enlarge", enlarge, ENLARGING)
        if not 0 <= coarse_share < 1:
            raise RequestError(f"`coarse_share` is in [0, 1), but got {coarse_share}; 0 takes the photo as it is.")
        self.backbone = backbone
        self.bank = bank
        self.linear_light = linear_light
        self.enlarge = enlarge
        self.bleeding = bleeding
        self.coarse_share = coarse_share
        self.head = nn.Conv2d(backbone.out_channels, len(bank) + 1, 3, padding=1)

    @property
    def depth_trunk(self) -> nn.Module:
        """The backbone, which once predicted depth."""
        return self.backbone

    @property
    def reference_bank(self) -> KernelBank:
        """The ``n`` blurs."""
        return self.bank

    def load_published(self, path: str | Path) -> None:
        """Take over MegaDepth's published trunk, or the whole of the DBSI that its author published.

        See `lensblend.priors.depth.load_megadepth`. The four maps of the latter are taken over where there are as many.
        """
        head = load_megadepth(self.backbone, path).head
        if len(head["weight"]) == BLENDING_MAPS == self.head.out_channels:
            self.head.load_state_dict(head)

    def forward(
        self, photo: Float[Tensor, "b 3 h w"], full_photo: Float[Tensor, "b 3 h_full w_full"] | None = None
    ) -> Rendering:
        """Render bokeh from a photo in [0, 1], or into a larger version of it.

        Args:
            photo: What the weights are predicted from; sides of 32 pixels or more.
            full_photo: The same scene at another size. The weights are enlarged bilinearly to it, and the kernels by
                the geometric mean of the two sides' ratios, so that what is in focus stays as sharp as it was taken.

        Returns:
            ``bokeh`` of the size of ``full_photo``, or else of ``photo``; and, of that size, ``weights``, ``mask`` (the
            photo's own weight, which tells what is in focus) and ``stack``, in the light in which it was blended. All
            are single precision, also under autocast.
        """
        check_photo(photo)
        return self._blend(photo, self.logits(photo), full_photo)

    def logits(self, photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n h2 w2"]:
        """Return the maps whose softmax are the weights, at the size of the backbone's features."""
        return self.head(self.features(photo))

    def features(self, photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Return what the head sees: the backbone's features, or their mean with those of half the photo's size."""
        fine = self.backbone(photo)
        if not self.coarse_share:
            return fine
        coarse = self.backbone(avg_pool2d(pad_to_multiple(photo, 2), 2))
        # Either grid may reach beyond the photo, the coarse one at least as far; its places are two of the fine one's.
        rows, columns = fine.shape[-2:]
        return torch.lerp(fine, doubled(coarse)[..., :rows, :columns], self.coarse_share)

    def full_size(self, photo: Float[Tensor, "b 3 h w"], image_size: Sequence[int], **guidance: Tensor) -> FullSize:
        """Return what renders pieces of the photo at another size; see `BokehNetwork.full_size`."""
        check_photo(photo)
        check_sides(image_size)
        with torch.autocast(photo.device.type, enabled=False):
            weights = torch.softmax(at_least_float32(self.logits(photo)), dim=1)
        bank = self.bank.at(image_size, photo.shape[-2:])
        enlarged = self._enlarging(weights, photo, image_size)
        return FullSize(enlarged, partial(self._copies, bank=bank), bank.radius, self.linear_light, bank.grid)

    def _blend(self, photo: Tensor, logits: Tensor, full_photo: Tensor | None) -> Rendering:
        """Blend the copies of ``full_photo``, or else of ``photo``, by the softmax of ``logits``."""
        # In bfloat16 the weights would sum to one only within 0.003.
        with torch.autocast(photo.device.type, enabled=False):
            weights = torch.softmax(at_least_float32(logits), dim=1)
            target = photo if full_photo is None else full_photo
            check_photo(target)
            bank = self.bank.at(target.shape[-2:], photo.shape[-2:])
            enlarged = self._enlarging(weights, photo, target.shape[-2:])
            return self._render(target, enlarged(target, None), bank)

    def _enlarging(self, weights: Tensor, photo: Tensor, size: Sequence[int]) -> Callable[..., Tensor]:
        """Return what brings weights to a piece of a photo, which is ``photo`` itself or the same scene in ``size``."""
        height, width = size
        stride = self.backbone.stride
        # The grid of weights may reach beyond the photo, by less than the backbone's coarsest stride.
        rows, columns = (stride * places for places in weights.shape[-2:])
        extent = photo.shape[-2] / rows, photo.shape[-1] / columns
        margins = (0, columns - photo.shape[-1], 0, rows - photo.shape[-2])

        def enlarged(target: Tensor, window: Window | None) -> Tensor:
            if stride == 1 and weights.shape[-2:] == (height, width):
                return weights if window is None else window.of(weights)
            if self.enlarge == "bilinear" and stride == 1 and window is None:
                return resize_bilinear(weights, size)
            if self.enlarge == "bilinear":
                return sample_bilinear(weights, size, extent, window)
            guide = avg_pool2d(pad(at_least_float32(photo), margins, mode="replicate"), stride)
            place = None if window is None else (window, size)
            # Each map alone is a linear function of the photo and may leave [0, 1], where weights have to stay.
            guided = guided_upsample(weights, guide, target, eps=GUIDED_EPS, extent=extent, place=place).clamp_min(0)
            return guided / guided.sum(dim=1, keepdim=True)

        return enlarged

    def _copies(self, light: Tensor, weights: Tensor, bank: KernelBank) -> Iterator[Tensor]:
        """Give the photo and its blurs, in the light in which they are blended."""
        return bank.copies(light) if self.bleeding else _without_bleeding(light, 1 - weights[:, :1], bank)

    def _render(self, photo: Tensor, weights: Tensor, bank: KernelBank) -> Rendering:
        photo = at_least_float32(photo)
        light = srgb_to_linear(photo) if self.linear_light else photo
        stack = torch.stack(list(self._copies(light, weights, bank)), dim=1)
        bokeh = blend(stack, weights)
        maps = {"weights": weights, "mask": weights[:, :1]}
        return Rendering(linear_to_srgb(bokeh) if self.linear_light else bokeh, {**maps, "stack": stack})


def _without_bleeding(photo: Tensor, share: Tensor, bank: KernelBank) -> Iterator[Tensor]:
    """Give a photo and its blurs, each pixel counted by its share ``(b, 1, h, w)``, hardly where that is nothing."""
    counted = share + LEAST_SHARE
    yield photo
    for blur in bank.blurs(torch.cat([counted * photo, counted], dim=1)):
        yield blur[:, :3] / blur[:, 3:]
