"""A network whose rendering is the mean over flips of the photo (self-ensemble, test-time augmentation)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lensblend.errors import one_of
from lensblend.inference.wrapped import WrappedNetwork
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.ops.coordinates import coordinate_maps

# As it is, left and right exchanged, top and bottom exchanged, both: what `Flips` draws in training.
FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
TTA = ("none", "flips")


def augmented(network: BokehNetwork, tta: str) -> BokehNetwork:
    """Return what renders as a request says: the network itself, or the mean over flips of the photo.

    Args:
        network: In evaluation mode.
        tta: ``none`` or ``flips``.

    Raises:
        RequestError: It is another.
    """
    return FlippedNetwork(network) if one_of("tta", tta, TTA) == "flips" else network


class FlippedNetwork(WrappedNetwork):
    """The mean of a network's renderings of a photo and of its three flips, each flipped back.

    Maps are flipped along, and so are coordinates, which a network that takes them was trained with: a flipped photo
    is not told that it stands upright. Weight maps are the mean of those; other intermediates are left out. It takes
    four times as long.

    Args:
        network: In evaluation mode; its parameters are shared, not copied.

    Example:
        >>> import torch
        >>> from lensblend.networks.attention_unet import AttentionUnet
        >>> _ = torch.manual_seed(0)
        >>> network = FlippedNetwork(AttentionUnet(width=4).eval())
        >>> photo = torch.rand(1, 3, 32, 32)
        >>> with torch.no_grad():
        ...     torch.equal(network(photo.flip(-1)).bokeh.flip(-1), network(photo).bokeh)
        True

    References:
        B. Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPR workshops 2017,
        section 3.4, which also turns the image by 90 degrees; here upright photos stay upright.
    """

    def scaled(self, factor: float | int) -> FlippedNetwork:
        """Return the mean over flips of the network with blurs ``factor`` times as wide."""
        return FlippedNetwork(self.network.scaled(factor))

    def at_f_number(self, f_number: float | int) -> FlippedNetwork:
        """Return the mean over flips of the network as it renders at an f-number."""
        return FlippedNetwork(self.network.at_f_number(f_number))

    def forward(self, photo: Tensor, **guidance: Tensor) -> Rendering:
        """Render as the network does, four times.

        Args:
            photo: ``(b, 3, h, w)``, in [0, 1].
            guidance: What the network takes; of maps and photos ``(b, c, h, w)`` each is flipped along.

        Returns:
            ``bokeh``, and ``weights`` where the network has some.
        """
        if self.takes_coordinates and "coordinates" not in guidance:
            places = coordinate_maps(photo.shape[-2], photo.shape[-1], device=photo.device)
            guidance = {**guidance, "coordinates": places.expand(len(photo), -1, -1, -1)}
        renderings = []
        for axes in FLIPS:
            maps = {name: value.flip(axes) if value.ndim == 4 else value for name, value in guidance.items()}
            renderings.append((axes, self.network(photo.flip(axes), **maps)))
        bokeh = _mean([rendering.bokeh.flip(axes) for axes, rendering in renderings])
        weights = [rendering.aux["weights"].flip(axes) for axes, rendering in renderings if "weights" in rendering.aux]
        return Rendering(bokeh, {"weights": _mean(weights)} if weights else {})


def _mean(four: Sequence[Tensor]) -> Tensor:
    """Return the mean in pairs: of four that are equal it is each of them, bit for bit."""
    first, second, third, fourth = four
    return ((first + second) + (third + fourth)) / len(FLIPS)
