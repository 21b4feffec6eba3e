"""The judge of patches at several scales against which the SLYYM generator is trained."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from lensblend.errors import RequestError
from lensblend.nn.spectral import SpectralConv2d, XavierConv2d

CHANNELS = 7  # photo, saliency, and the image that is judged
SLOPE = 0.2
KERNEL_SIZE = 4
PADDING = 2
# Of each convolution but the last: features as multiples of the width, and the step in pixels.
LAYERS = ((1, 2), (2, 2), (4, 2), (8, 1))


class MultiscalePatchDiscriminator(nn.Module):
    """Judge overlapping patches of an image, given the photo that it was made from, at its own size and at halves.

    Each scale has a network of its own: five 4×4 convolutions, the first three with a step of two, with leaky ReLUs
    (0.2) between them. Those in the middle have spectral norm and instance normalisation without weights. With 64
    features and two scales it has 5,535,874 parameters.

    Args:
        width: Features of the first convolution; two, four and eight times as many follow.
        scales: Sizes looked at, each half of the one before by the mean over 3×3 pixels, which does not count those
            beyond the border.

    Raises:
        RequestError: An argument is not positive.

    Example:
        >>> import torch
        >>> photo, image, saliency = torch.rand(1, 3, 64, 48), torch.rand(1, 3, 64, 48), torch.rand(1, 1, 64, 48)
        >>> answers = MultiscalePatchDiscriminator(width=4)(torch.cat([photo, saliency, image], dim=1))
        >>> [len(features) for features in answers], [tuple(features[-1].shape) for features in answers]
        ([5, 5], [(1, 1, 11, 9), (1, 1, 7, 6)])

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.7. T.-C. Wang et al., "High-resolution image synthesis and semantic manipulation with conditional
        GANs", CVPR 2018, section 3.2. T. Park et al., "Semantic image synthesis with spatially-adaptive
        normalization", CVPR 2019, appendix A.
    """

    def __init__(self, width: int = 64, scales: int = 2) -> None:
        super().__init__()
        if width < 1 or scales < 1:
            raise RequestError(
                f"`width` and `scales` are positive, but got {width} and {scales}; the published ones are 64 and 2."
            )
        self.networks = nn.ModuleList(_patch_network(width) for _ in range(scales))

    def forward(self, judged: Float[Tensor, "b 7 h w"]) -> list[list[Tensor]]:
        """Judge what is real and what is rendered.

        Args:
            judged: A photo, its saliency, and its target or its rendering, one after the other along the channels,
                all in [0, 1]; a rendering may leave that range. Sides of 32 pixels or more.

        Returns:
            For each scale, largest first, the features after each layer. The last of them are logits
            ``(b, 1, h', w')``, one per patch: positive for real.
        """
        scaled = judged.clone()
        scaled[:, :3], scaled[:, 4:] = 2 * judged[:, :3] - 1, 2 * judged[:, 4:] - 1
        answers: list[list[Tensor]] = []
        for index, network in enumerate(self.networks):
            if index:
                scaled = avg_pool2d(scaled, 3, stride=2, padding=1, count_include_pad=False)
            features = [scaled]
            for layer in network.children():
                features.append(layer(features[-1]))
            answers.append(features[1:])
        return answers


def _patch_network(width: int) -> nn.Sequential:
    """Build one scale: its layers are what features are taken after."""
    (first, step), *others = [(multiple * width, step) for multiple, step in LAYERS]
    layers = [nn.Sequential(XavierConv2d(CHANNELS, first, KERNEL_SIZE, step, PADDING), nn.LeakyReLU(SLOPE))]
    channels = first
    for wider, step in others:
        # A bias would be subtracted again by the normalisation.
        convolution = SpectralConv2d(channels, wider, KERNEL_SIZE, step, PADDING, bias=False)
        layers.append(nn.Sequential(convolution, nn.InstanceNorm2d(wider), nn.LeakyReLU(SLOPE)))
        channels = wider
    layers.append(nn.Sequential(XavierConv2d(channels, 1, KERNEL_SIZE, 1, PADDING)))
    return nn.Sequential(*layers)
