"""Deeply supervised saliency with short connections (DSS): the saliency that two AIM 2019 teams were given."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from lensblend.backbones.timm_pyramid import IMAGENET_MEAN, IMAGENET_STD, load_encoder
from lensblend.errors import RequestError
from lensblend.nn.rendering import PriorNetwork, check_photo
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.ops.resize import resize_bilinear
from lensblend.priors.weights import weights_path

DIVISOR = 32  # five poolings by two
VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class SidePlan(NamedTuple):
    """One side branch: its width, its kernel's side in pixels, and the deeper sides that its map is joined with."""

    width: int
    kernel_size: int
    deeper: tuple[int, ...]


# The last of each VGG block, and then its last pooling, which has no block of its own.
SIDES = (
    SidePlan(128, 3, (2, 3, 4, 5)),
    SidePlan(128, 3, (2, 3, 4, 5)),
    SidePlan(256, 5, (4, 5)),
    SidePlan(256, 5, (4, 5)),
    SidePlan(512, 5, ()),
    SidePlan(512, 7, ()),
)


class Dss(PriorNetwork):
    """Predict what stands out in a photo from six depths of VGG-16, the deeper maps guiding the shallower ones.

    It has 62,225,498 parameters. Each depth gives a map of logits; a shallower one is joined, through a 1×1
    convolution, with what deeper ones became in the same way. The final logits are the mean of the six maps' logits
    rather than the logit of their mean probability, which is infinite where a probability rounds to one.

    A photo is normalised by ImageNet's mean and standard deviation, for which torchvision's VGG-16 was trained. The
    authors, and those whose port IPCV IITM used, subtract a mean of 0-255 only, for another VGG-16 whose weights do
    not fit here; that one pools 3×3 pixels instead of 2×2 the last two times.

    Args:
        width_divisor: Divides every width, for tests: 1 is the published network.
        weights: Local path of torchvision's ``vgg16-397923af.pth`` to start the trunk from; nothing starts it from
            random weights.

    Raises:
        RequestError: The divisor is another number, or ``weights`` is no file.
        DataError: ``weights`` is damaged or holds another network.

    Example:
        >>> network = Dss(width_divisor=16).eval()
        >>> maps = network(torch.rand(1, 3, 33, 50))
        >>> list(maps["saliency_logits"].shape), len(maps["side_logits"])
        ([1, 1, 33, 50], 7)

    References:
        Q. Hou et al., "Deeply supervised salient object detection with short connections", CVPR 2017.
    """

    mean: Tensor
    std: Tensor

    estimates = ("saliency",)

    def __init__(self, width_divisor: int = 1, weights: str | None = None) -> None:
        super().__init__()
        if width_divisor not in (1, 2, 4, 8, 16):
            raise RequestError(
                f"`width_divisor` divides DSS's widths, but got {width_divisor}; use 1 (as published), 2, 4, 8 or 16."
            )
        blocks = [[width // width_divisor for width in block] for block in VGG_BLOCKS]
        self.trunk = _vgg_trunk(blocks)
        taps = [block[-1] for block in blocks]
        self.branches = nn.ModuleList(
            [
                _branch(channels, side.width // width_divisor, side.kernel_size)
                for channels, side in zip([*taps, taps[-1]], SIDES, strict=True)
            ]
        )
        self.connections = nn.ModuleList([nn.Conv2d(1 + len(side.deeper), 1, 1) for side in SIDES if side.deeper])
        self._initialise()
        if weights is not None:
            load_encoder(nn.ModuleDict({"features": self.trunk}), weights_path("vgg16", weights))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> dict[str, Any]:
        """Predict saliency from a photo in [0, 1].

        Sides that 32 does not divide are extended to the right and at the bottom by repeating the border, and cut
        again.

        Returns:
            ``saliency_logits`` ``(b, 1, h, w)``; and ``side_logits``, the six maps, shallowest first, then the final
            one, each of that shape. All are single precision, also under autocast.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        padded = pad_to_multiple(photo, DIVISOR)
        taps = self._taps((padded - self.mean) / self.std)
        maps = [branch(tap) for branch, tap in zip(self.branches, taps, strict=True)]
        with torch.autocast(photo.device.type, enabled=False):
            maps = self._join([at_least_float32(logits) for logits in maps])
            sides = [resize_bilinear(logits, padded.shape[-2:])[..., :height, :width] for logits in maps]
            fused = torch.stack(sides).mean(dim=0)
        return {"saliency_logits": fused, "side_logits": [*sides, fused]}

    def _initialise(self) -> None:
        """Keep the size of signals through the rectified layers, and start each connection as a mean of maps."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, parameter in self.connections.named_parameters():
            if name.endswith("weight"):
                nn.init.constant_(parameter, 1 / parameter.shape[1])

    def _taps(self, features: Tensor) -> list[Tensor]:
        """Return the features before each of the five poolings, and the last pooling's, averaged over 3×3."""
        taps = []
        for layer in self.trunk:
            if isinstance(layer, nn.MaxPool2d):
                taps.append(features)
            features = layer(features)
        return [*taps, avg_pool2d(features, 3, stride=1, padding=1)]

    def _join(self, maps: list[Tensor]) -> list[Tensor]:
        """Join each map with the deeper ones, deepest first, so that these are joined already."""
        joined = list(maps)
        for level in reversed(range(len(self.connections))):
            deeper = [resize_bilinear(joined[index], maps[level].shape[-2:]) for index in SIDES[level].deeper]
            joined[level] = self.connections[level](torch.cat([maps[level], *deeper], dim=1))
        return joined


def _vgg_trunk(blocks: list[list[int]]) -> nn.Sequential:
    """Build VGG-16's convolutions, numbered as torchvision's ``features`` are."""
    layers: list[nn.Module] = []
    channels = 3
    for block in blocks:
        for width in block:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _branch(in_channels: int, width: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, kernel_size, padding=kernel_size // 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 1, 1),
    )
