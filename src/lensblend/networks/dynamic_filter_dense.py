"""Dense blocks, guided by saliency and disparity, that render an image and filter the photo: IPCV IITM of AIM 2019."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name
from torchvision.models import DenseNet

from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError, RequestError
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.ops.filtering import filter_locally
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.priors.published import load_exactly, published_tensors
from lensblend.priors.released import dense_filter, modern_densenet, rows_first
from lensblend.priors.weights import weights_path

DIVISOR = 32
KERNEL_SIZE = 9
WHITE = 255.0
BLOCKS = (6, 12, 24)
REPORT_BLOCKS = (12, 16, 24)
CONTEXT = (16, 8, 4, 2)
CONTEXT_FEATURES = 20
SLOPE = 0.2
ENCODER = tuple(f"{part}{index}" for index in (1, 2, 3) for part in ("denseblock", "transition"))


class DynamicFilterDense(BokehNetwork):
    r"""Render bokeh as an image of its own plus the photo filtered by kernels predicted for every pixel.

    .. math:: \hat I = A + k * (I - \bar I) + \bar I, \qquad k = \mathrm{softmax}

    Dense blocks of DenseNet-121 encode the photo, its saliency and its disparity at half the photo's size and below.
    From these features, one decoder makes the image :math:`A`, with averages of its surroundings at four scales, and
    another predicts 9×9 kernels, which do not go below zero and sum to one. They filter the photo less its mean
    colour :math:`\bar I`, with zeros around it. Inside, values are 0 to 255. There are 13,839,968 parameters.

    Photos are extended to a multiple of 32 by repeating their last row and column. The bokeh is clamped to [0, 1] in
    evaluation mode, but not in training mode, where a clamp would take the gradient from the pixels that are
    farthest off.

    Args:
        width: Features that each densely connected layer adds; all other widths are multiples of it.
        report_blocks: Dense blocks of 12, 16 and 24 layers, as the challenge's report says, instead of 6, 12 and 24
            as in DenseNet-121 and in the released code.
        bn_batch_stats_at_test: In evaluation mode, normalise by each batch's own statistics in the encoder, as the
            released code does. A photo then depends on what it is rendered together with.
        weights: Local path of torchvision's ``densenet121-a639ec97.pth``, to start the encoder's dense blocks from;
            nothing starts them from random weights.

    Attributes:
        guidance: What `forward` needs beside the photo.

    Raises:
        RequestError: ``width`` is not positive, or ``weights`` is no file.
        DataError: ``weights`` is damaged, or holds the tensors of another width or of other blocks.

    Example:
        >>> network = DynamicFilterDense(width=2).eval()
        >>> photo, half = torch.rand(1, 3, 48, 64), torch.full((1, 1, 48, 64), 0.5)
        >>> bokeh, aux = network(photo, saliency=half, disparity=half)
        >>> bokeh.shape, aux["kernels"].shape
        (torch.Size([1, 3, 48, 64]), torch.Size([1, 81, 48, 64]))

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.3 (IPCV IITM).
    """

    renders_channels_last = False  # its BatchNorms stand before convolutions and stay, which are slower so
    guidance = ("saliency", "disparity")

    def __init__(
        self,
        width: int = 32,
        report_blocks: bool = False,
        bn_batch_stats_at_test: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if width < 1:
            raise RequestError(f"`width` is a positive number of features, but got {width}; the published one is 32.")
        self.bn_batch_stats_at_test = bn_batch_stats_at_test
        self.stem = nn.Sequential(
            nn.Conv2d(4 * 3 + 2 * 3, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        blocks = REPORT_BLOCKS if report_blocks else BLOCKS
        # A transition follows a block only if there is another: the fourth is built for it, and dropped.
        network = DenseNet(growth_rate=width, block_config=(*blocks, 1), num_init_features=2 * width, num_classes=1)
        features: Any = network.features
        del features.transition3.pool  # the last transition keeps the size
        self.encoder = nn.ModuleDict({name: features.get_submodule(name) for name in ENCODER})
        skip, deepest = (transition.conv.out_channels for transition in (features.transition1, features.transition3))
        self.up = _up(deepest, 8 * width, 4 * width, width)
        self.image_decoder = _Decoder(4 * width + skip, width)
        self.kernel_decoder = _Decoder(4 * width + skip, width)
        self.context = _Context(2 * width + 3)
        self.predict = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(4 * width, KERNEL_SIZE**2, 1),
        )
        if weights is not None:
            _load_encoder(self.encoder, weights)

    def load_published(self, path: str | Path) -> None:
        """Take over the file of the team, see `lensblend.priors.published.load_exactly`.

        Its first convolution sees the colours of one pixel after the other; ours one colour's pixels after the other.
        """
        layout = dense_filter()
        load_exactly(self, path, layout, modern_densenet(published_tensors(path, layout.expected)))
        weight = self.stem.get_parameter("0.weight")
        with torch.no_grad():
            weight[:, :12] = weight[:, rows_first(3, 2)]

    def forward(
        self,
        photo: Float[Tensor, "b 3 h w"],
        saliency: Float[Tensor, "b 1 h w"],
        disparity: Float[Tensor, "b 1 h w"],
    ) -> Rendering:
        """Render bokeh from a photo, its saliency and its disparity, all in [0, 1].

        Args:
            photo: Sides of 32 pixels or more.
            saliency: Foreground probability.
            disparity: Larger = nearer.

        Returns:
            ``bokeh``; and ``kernels``, the 81 values per pixel that filtered the photo, row by row.
            Both are single precision, also under autocast.
        """
        check_photo(photo)
        if self.bn_batch_stats_at_test:
            self._normalise_by_batch()
        height, width = photo.shape[-2:]
        colours = WHITE * at_least_float32(photo)
        mean = colours.mean((2, 3), keepdim=True)
        centred = pad_to_multiple(colours - mean, DIVISOR)
        priors = (pad_to_multiple(WHITE * at_least_float32(prior), DIVISOR) for prior in (saliency, disparity))
        maps = [prior.expand(-1, 3, -1, -1) for prior in priors]
        halves = [F.avg_pool2d(prior, 2) for prior in maps]
        stem = self.stem(torch.cat([F.pixel_unshuffle(centred, 2), *halves], dim=1))
        encoder = self.encoder
        skip = encoder["transition1"](encoder["denseblock1"](stem))
        middle = encoder["transition2"](encoder["denseblock2"](skip))
        deepest = encoder["transition3"](encoder["denseblock3"](middle))
        shared = torch.cat([self.up(deepest), skip], dim=1)
        image = self.context(self.image_decoder(shared, stem), centred)
        # In bfloat16 the kernels would sum to one only within 0.003.
        kernels = torch.softmax(at_least_float32(self.predict(self.kernel_decoder(shared, stem))), dim=1)
        filtered = filter_locally(centred, kernels, "zero")
        bokeh = ((at_least_float32(image) + filtered)[..., :height, :width] + mean) / WHITE
        aux = {"kernels": kernels[..., :height, :width]}
        return Rendering(self.in_range(bokeh), aux)

    def _normalise_by_batch(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
                module.track_running_stats = self.training  # evaluation leaves the kept statistics as they are


class _Decoder(nn.Module):
    """From a quarter of the photo's size to its own, with the stem's features at half of it."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.to_half = _up(in_channels, 4 * width, 2 * width, width)
        self.to_full = _up(4 * width, 2 * width, 2 * width, width)

    def forward(
        self, features: Float[Tensor, "b c h4 w4"], stem: Float[Tensor, "b s h2 w2"]
    ) -> Float[Tensor, "b d h w"]:
        return self.to_full(torch.cat([self.to_half(features), stem], dim=1))


class _Context(nn.Module):
    """Make an image from features, and from averages of them over squares of four sizes."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(in_channels, CONTEXT_FEATURES, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.averages = nn.ModuleList(
            nn.Sequential(
                nn.AvgPool2d(side),
                nn.Conv2d(CONTEXT_FEATURES, 1, 1),
                nn.LeakyReLU(SLOPE),
                nn.Upsample(scale_factor=side),
            )
            for side in CONTEXT
        )
        self.finish = nn.Conv2d(CONTEXT_FEATURES + len(CONTEXT), 3, 3, padding=1)

    def forward(
        self, features: Float[Tensor, "b c h w"], centred: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 3 h w"]:
        reduced = self.reduce(torch.cat([features, centred.to(features.dtype)], dim=1))
        return self.finish(torch.cat([average(reduced) for average in self.averages] + [reduced], dim=1))


class _DenseUnit(nn.Module):
    """Five densely connected convolutions and two that summarise them, added to the features as further ones."""

    def __init__(self, in_channels: int, out_channels: int, growth: int) -> None:
        super().__init__()
        widths = [in_channels + growth * index for index in range(6)]
        self.layers = nn.ModuleList(_normalised(width, growth, 3) for width in widths[:-1])
        self.summarise = nn.Sequential(
            *_normalised(widths[-1], 4 * out_channels, 1), *_normalised(4 * out_channels, out_channels, 3)
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        found = features
        for layer in self.layers:
            found = torch.cat([found, layer(found)], dim=1)
        return torch.cat([features, self.summarise(found)], dim=1)


def _normalised(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Build a convolution of features that are normalised per photo and channel, and rectified, before it."""
    return nn.Sequential(
        nn.InstanceNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
    )


def _up(in_channels: int, added: int, out_channels: int, growth: int) -> nn.Sequential:
    """Build a dense unit and a transposed convolution that doubles the size."""
    total = in_channels + added
    return nn.Sequential(
        _DenseUnit(in_channels, added, growth),
        nn.InstanceNorm2d(total),
        nn.ReLU(),
        nn.ConvTranspose2d(total, out_channels, 3, stride=2, padding=1, output_padding=1),
    )


def _load_encoder(encoder: nn.Module, path: str) -> None:
    """Fill the encoder from a file of torchvision's DenseNet-121, which has more than it needs."""
    expected = "torchvision's densenet121-a639ec97.pth"
    read = modern_densenet(read_tensors(weights_path("densenet121", path), expected))
    given = {name.removeprefix("features."): tensor for name, tensor in read.items()}
    loaded = {}
    for name, current in encoder.state_dict().items():
        tensor = given.get(name)
        if tensor is None and name.endswith("num_batches_tracked"):
            tensor = torch.zeros_like(current)
        if tensor is None or tensor.shape != current.shape:
            found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
            raise DataError(
                f'"{path}": `features.{name}` {found}, but the encoder needs shape {list(current.shape)}; '
                f"give {expected}, and leave `width` and `report_blocks` as they are by default."
            )
        loaded[name] = tensor
    encoder.load_state_dict(loaded)
