"""The paper's baseline: a saliency map as the blending weights of the photo and one blurred copy of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lensblend.errors import RequestError, one_of
from lensblend.nn.full_size import FullSize
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo, check_sides
from lensblend.ops.blending import blend
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resize import resize_bilinear, sample_bilinear
from lensblend.ops.stretching import NORMS


class SaliencyBlend(BokehNetwork):
    r"""Keep what is salient sharp and blur the rest: :math:`\hat I = S \odot I + (1 - S) \odot B(I, k)`.

    Equation 1 with one kernel, whose weights are the saliency :math:`W_0 = S` and :math:`W_1 = 1 - S`. Nothing is
    trained: the saliency comes from outside, by SCRN in the paper, and has no weights in this network.

    Args:
        bank: One kernel; in the paper a Gaussian of 75 pixels.
        saliency_norm: ``none`` takes the saliency as it is; ``minmax`` stretches each photo's to [0, 1] first, as the
            image files of SCRN's public test script do. Which of them the paper used is unknown; stretching makes
            noise of a map without any object.

    Attributes:
        guidance: What `forward` needs beside the photo.

    Example:
        >>> network = SaliencyBlend(KernelBank(sizes=[9]))
        >>> photo = torch.rand(1, 3, 40, 33)
        >>> bool((network(photo, saliency=torch.ones(1, 1, 40, 33)).bokeh == photo).all())
        True

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, section 5.3 and Table 1 ("Baseline").
    """

    guidance = ("saliency",)
    blends_full_size = True

    def __init__(self, bank: KernelBank, saliency_norm: str = "none") -> None:
        super().__init__()
        if len(bank) != 1:
            raise RequestError(
                f"A saliency map weighs one blurred copy, but the bank has {len(bank)} kernels; use "
                "kernels=gaussian_75, or `sizes` of one."
            )
        self.bank = bank
        self.saliency_norm = one_of("saliency_norm", saliency_norm, NORMS)

    @property
    def reference_bank(self) -> KernelBank:
        """The one blur."""
        return self.bank

    def forward(
        self,
        photo: Float[Tensor, "b 3 h w"],
        saliency: Float[Tensor, "b 1 h w"],
        full_photo: Float[Tensor, "b 3 h_full w_full"] | None = None,
    ) -> Rendering:
        """Render bokeh from a photo and its saliency, both in [0, 1], or into a larger version of the photo.

        Args:
            photo: Sides of 32 pixels or more.
            saliency: Foreground probability.
            full_photo: The same scene at another size; see `lensblend.networks.depth_blend.DepthBlend`.

        Returns:
            ``bokeh``; and ``weights`` (saliency, then its complement), ``stack`` and ``saliency`` of the same size.
        """
        check_photo(photo)
        with torch.autocast(photo.device.type, enabled=False):
            saliency, bank = NORMS[self.saliency_norm](at_least_float32(saliency)), self.bank
            if full_photo is not None:
                check_photo(full_photo)
                height, width = full_photo.shape[-2:]
                bank = bank.at((height, width), photo.shape[-2:])
                photo, saliency = full_photo, resize_bilinear(saliency, (height, width))
            weights = torch.cat([saliency, 1 - saliency], dim=1)
            stack = bank(at_least_float32(photo))
            return Rendering(blend(stack, weights), {"weights": weights, "stack": stack, "saliency": saliency})

    def full_size(self, photo: Float[Tensor, "b 3 h w"], image_size: Sequence[int], **guidance: Tensor) -> FullSize:
        """Return what renders pieces of the photo at another size; see `BokehNetwork.full_size`."""
        check_photo(photo)
        check_sides(image_size)
        share = NORMS[self.saliency_norm](at_least_float32(guidance["saliency"]))
        weights = torch.cat([share, 1 - share], dim=1)
        bank = self.bank.at(image_size, photo.shape[-2:])
        return FullSize(
            lambda _, window: sample_bilinear(weights, image_size, window=window),
            lambda piece, _: bank.copies(piece),
            bank.radius,
            grid=bank.grid,
        )
