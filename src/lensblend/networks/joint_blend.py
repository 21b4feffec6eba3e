"""Depth, saliency and bokeh from one backbone: the light-weight system that Dutta 2021 names as future work."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, Rendering, check_full_size, check_photo
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resize import resize_bilinear


class JointBlend(DepthBlend):
    r"""Render bokeh as `DepthBlend` does, predict depth and saliency beside it, and keep sharp what is salient.

    .. math:: W = \mathrm{softmax}(z_0 + \alpha s,\ z_1, \dots, z_n)

    Two 3×3 heads of one map each share the backbone with the blending head: one gives log depth, the other the logit
    ``s`` of the saliency, which a learned scalar α adds to the logit of the unblurred photo. α begins at 0: at first
    the weights are those of `DepthBlend` with the same tensors, an untrained saliency disturbs nothing, and α has
    a gradient nevertheless. With the hourglass and three kernels there are 5,360,039 parameters, 1,155 more than
    without.

    Args:
        backbone: Gives ``backbone.out_channels`` features per pixel, at the photo's size.
        bank: The ``n`` blurs; one weight map for each and one for the photo itself.
        linear_light: Blur and blend in linear light, as a lens does, instead of in stored sRGB.

    Example:
        >>> from lensblend.backbones.hourglass import Hourglass
        >>> network = JointBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9])).eval()
        >>> bokeh, aux = network(torch.rand(1, 3, 40, 33))
        >>> bokeh.shape, aux["saliency"].shape, aux["log_depth"].shape
        (torch.Size([1, 3, 40, 33]), torch.Size([1, 1, 40, 33]), torch.Size([1, 1, 40, 33]))

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, section 6, which asks for such a system and describes none.
    """

    estimates = ("saliency", "disparity")

    def __init__(self, backbone: Backbone, bank: KernelBank, linear_light: bool = False) -> None:
        super().__init__(check_full_size(backbone), bank, linear_light)
        self.depth_head = nn.Conv2d(self.head.in_channels, 1, 3, padding=1)
        self.saliency_head = nn.Conv2d(self.head.in_channels, 1, 3, padding=1)
        self.alpha = nn.Parameter(torch.zeros(1))

    def logits(self, photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n h w"]:
        """Return the maps whose softmax are the weights, the saliency in them."""
        return self._raised(*self._heads(photo)[::2])

    def _heads(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the blending maps, log depth and the logit of the saliency."""
        features = self.backbone(photo)
        heads = (self.head, self.depth_head, self.saliency_head)
        blending, log_depth, saliency = (at_least_float32(head(features)) for head in heads)
        return blending, log_depth, saliency

    def _raised(self, logits: Tensor, saliency_logits: Tensor) -> Tensor:
        """Return the blending maps, the unblurred photo's raised where it is salient."""
        return torch.cat([logits[:, :1] + self.alpha * saliency_logits, logits[:, 1:]], dim=1)

    def forward(
        self, photo: Float[Tensor, "b 3 h w"], full_photo: Float[Tensor, "b 3 h_full w_full"] | None = None
    ) -> Rendering:
        """Render bokeh from a photo in [0, 1], or into a larger version of it.

        Args:
            photo: What all maps are predicted from; sides of 32 pixels or more.
            full_photo: The same scene at another size; see `DepthBlend.forward`.

        Returns:
            ``bokeh`` of the size of ``full_photo``, or else of ``photo``; and of that size ``weights`` and ``stack``,
            ``log_depth`` (larger = farther, up to a constant), ``saliency_logits`` and their sigmoid ``saliency``.
            Logits and log depth are enlarged bilinearly. All are single precision, also under autocast.
        """
        check_photo(photo)
        logits, log_depth, saliency_logits = self._heads(photo)
        bokeh, aux = self._blend(photo, self._raised(logits, saliency_logits), full_photo)
        if full_photo is not None:
            size = full_photo.shape[-2:]
            log_depth, saliency_logits = (resize_bilinear(maps, size) for maps in (log_depth, saliency_logits))
        predicted = {
            "saliency": saliency_logits.sigmoid(),
            "saliency_logits": saliency_logits,
            "log_depth": log_depth,
        }
        return Rendering(bokeh, {**aux, **predicted})
