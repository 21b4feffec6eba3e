"""A network that predicts depth: a backbone and one map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import DataError
from lensblend.nn.rendering import Backbone, PriorNetwork, check_full_size, check_photo
from lensblend.ops.precision import at_least_float32
from lensblend.priors.depth import load_megadepth


class DepthNetwork(PriorNetwork):
    """Predict the logarithm of each pixel's depth, up to a constant that differs from photo to photo.

    A backbone gets a 3×3 head of one map. With MegaDepth's hourglass this is the released depth network of
    5,357,153 parameters, from which the paper starts its blending network (Dutta 2021, section 3.2): both name
    the trunk's tensors ``backbone.*``.

    Args:
        backbone: Gives ``backbone.out_channels`` features per pixel, at the photo's size.

    Attributes:
        estimates: The maps that guidance can be made of.

    Example:
        >>> import torch
        >>> from lensblend.backbones.hourglass import Hourglass
        >>> network = DepthNetwork(Hourglass(width_divisor=16)).eval()
        >>> network(torch.rand(1, 3, 40, 33))["log_depth"].shape
        torch.Size([1, 1, 40, 33])

    References:
        Z. Li and N. Snavely, "MegaDepth: learning single-view depth prediction from internet photos", CVPR 2018.
    """

    estimates = ("disparity",)

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = check_full_size(backbone)
        self.head = nn.Conv2d(backbone.out_channels, 1, 3, padding=1)

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> dict[str, Any]:
        """Return ``log_depth``, ``(b, 1, h, w)``, larger = farther, for a photo in [0, 1] with sides of 32 or more.

        The map is single precision, also under autocast.
        """
        check_photo(photo)
        return {"log_depth": at_least_float32(self.head(self.backbone(photo)))}

    def load_published(self, path: str | Path) -> None:
        """Take over MegaDepth's published weights, trunk and head.

        Args:
            path: The authors' ``best_generalization_net_G.pth``; see `lensblend.priors.depth.read_megadepth`.

        Raises:
            RequestError: The backbone is not the full-width hourglass.
            WeightsMissingError: There is no such file.
            DataError: The file is damaged or holds another network; the first tensor that does not fit is named.
        """
        head = load_megadepth(self.backbone, path).head
        if head["weight"].shape != self.head.weight.shape:
            raise DataError(
                f'"{path}" holds a network that blends, and no depth; give MegaDepth\'s file as downloaded.'
            )
        self.head.load_state_dict(head)


def inverse_depth(log_depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Turn log depth into inverse depth for display and guidance: larger = nearer, the nearest pixel of each map is 1.

    The constant that a depth network leaves open cancels, because each map is divided by its maximum. No log depth,
    however large, overflows.

    Args:
        log_depth: Any range.

    Returns:
        Disparity in [0, 1], of at least single precision.

    Example:
        >>> import torch
        >>> inverse_depth(torch.tensor([2.0, 4.0]).log().view(1, 1, 1, 2)).flatten()
        tensor([1.0000, 0.5000])
    """
    log_depth = at_least_float32(log_depth)
    return (log_depth.amin(dim=(1, 2, 3), keepdim=True) - log_depth).exp()
