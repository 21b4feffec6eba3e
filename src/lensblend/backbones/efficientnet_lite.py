"""EfficientNet-Lite's features: the encoder of the model in the box, in PyTorch alone.

timm builds the same encoder. Importing it takes longer than all else that renders a photo
(docs/decisions/0017-an-encoder-without-timm.md).
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

# Factors of width and depth by name in timm (Tan and Le 2019, section 3.3; the Lite models' own release).
SCALES = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
}
MEAN = STD = (0.5, 0.5, 0.5)
# Of EfficientNet-B0: expansion, channels, blocks, stride of the first block, kernel (Tan and Le 2019, Table 1).
STAGES = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)
STEM = 32  # channels
DIVISOR = 8  # of channels
BN_EPS = 1e-3


class Same(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's border: where it is odd, right and bottom have the pixel more."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Convolve; sides become their half, rounded up."""
        # In whole numbers: where a graph is exported for photos of any size, quotients take minutes.
        missing = [
            size - step + -side % step
            for side, step, size in zip(input.shape[-2:], self.stride, self.kernel_size, strict=True)
        ]
        top, left = (count // 2 for count in missing)
        return super().forward(pad(input, (left, missing[1] - left, top, missing[0] - top)))


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, drawn as normal with a variance of two over the fan-out."""
    kind, padding = (nn.Conv2d, kernel // 2) if stride == 1 else (Same, 0)
    made = kind(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
    nn.init.normal_(made.weight, std=math.sqrt(2 * groups / (kernel**2 * out_channels)))
    return made


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS)


class Separable(nn.Module):
    """A convolution per channel and one across channels (the first stage, which does not expand)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and in_channels == out_channels
        self.conv_dw = _convolution(in_channels, in_channels, kernel, stride, in_channels)
        self.bn1 = _norm(in_channels)
        self.conv_pw = _convolution(in_channels, out_channels, 1)
        self.bn2 = _norm(out_channels)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Compute the block."""
        found = self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(features)))))
        return features + found if self.adds else found


class Inverted(nn.Module):
    """An inverted residual block without squeeze and excitation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.adds = stride == 1 and in_channels == out_channels
        self.conv_pw = _convolution(in_channels, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = _convolution(wide, wide, kernel, stride, wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = _convolution(wide, out_channels, 1)
        self.bn3 = _norm(out_channels)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Compute the block."""
        wide = self.act(self.bn1(self.conv_pw(features)))
        found = self.bn3(self.conv_pwl(self.act(self.bn2(self.conv_dw(wide)))))
        return features + found if self.adds else found


class EfficientNetLite(nn.Module):
    """EfficientNet without squeeze and excitation and with ReLU6, up to its last stage.

    Names and shapes of its tensors are those of timm's ``features_only`` encoder, and so are its features.

    Args:
        name: One of `SCALES`.

    Attributes:
        channels: Of the features at each reduction, coarsest last.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = SCALES[name]
        self.conv_stem = _convolution(3, STEM, 3, stride=2)  # not scaled in the Lite models
        self.bn1 = _norm(STEM)
        self.act = nn.ReLU6(inplace=True)
        self.channels: dict[int, int] = {}
        self._ends: dict[int, int] = {}  # reduction: the last stage of that reduction
        stages, channels, reduction = [], STEM, 2
        for index, (expansion, nominal, count, stride, kernel) in enumerate(STAGES):
            # Neither are the numbers of blocks of the first and the last stage.
            count = count if index in (0, len(STAGES) - 1) else math.ceil(count * depth)
            out_channels = _rounded(nominal * width)
            blocks: list[nn.Module] = []
            for block in range(count):
                step = stride if block == 0 else 1
                if expansion == 1:
                    blocks.append(Separable(channels, out_channels, kernel, step))
                else:
                    blocks.append(Inverted(channels, out_channels, kernel, step, expansion))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
            reduction *= stride
            self.channels[reduction], self._ends[reduction] = channels, index
        self.blocks = nn.Sequential(*stages)

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Return the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of a normalised photo."""
        features = self.act(self.bn1(self.conv_stem(photo)))
        found = []
        for index, stage in enumerate(self.blocks):
            features = stage(features)
            if index in self._ends.values():
                found.append(features)
        return found


def _rounded(channels: float) -> int:
    """Round to a multiple of `DIVISOR`, but never down by more than a tenth."""
    rounded = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * channels else rounded
