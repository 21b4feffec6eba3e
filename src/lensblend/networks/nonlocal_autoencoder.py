"""A residual autoencoder that shrinks into the batch, with a non-local block at its bottom: team KAIST-VICLAB."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError
from lensblend.nn.rendering import BokehNetwork, Rendering, check_photo
from lensblend.nn.residual import ResidualBlock
from lensblend.ops.padding import pad_to_multiple
from lensblend.ops.precision import at_least_float32
from lensblend.ops.rearrange import batch_to_space, space_to_batch

FACTOR = 4
BODY = 8
STEPS = 4


class NonlocalAutoencoder(BokehNetwork):
    r"""Render bokeh from the photo alone by residual blocks at a quarter of its size, ever more of whose pixels meet.

    The stem moves 4×4 pixels into channels. Each of four encoder steps moves every second row and column into the
    batch between two residual blocks: the same number of features on four times as many photos of half the sides, so
    that the blocks are dilated by 2, 4, 8 and 16 pixels of the quarter-size grid without more work. At the bottom
    each of the 256 sub-photos samples the whole photo, and a non-local block lets all positions of one see each other.
    Four decoder steps go back. What comes out at full size is joined to the photo, and one convolution renders. There
    is no normalisation. With 64 features it has 1,836,469 parameters.

    The non-local block changes nothing before it is trained. Photos are extended to a multiple of 64 by repeating
    their last row and column. The rendering is clamped in evaluation mode only, so that in training the pixels
    farthest off keep their gradient.

    Args:
        width: Features of every layer, even.

    Raises:
        RequestError: ``width`` is no positive even number.

    Example:
        >>> NonlocalAutoencoder(width=4).eval()(torch.rand(1, 3, 48, 64)).bokeh.shape
        torch.Size([1, 3, 48, 64])

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.6 and figure 7. It gives no width and no kernel sizes: docs/systems/kaist_viclab.md lists ours.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise RequestError(f"`width` is a positive even number of features, but got {width}; the usual one is 64.")
        pixels = 3 * FACTOR**2
        self.stem = nn.Sequential(nn.PixelUnshuffle(FACTOR), nn.Conv2d(pixels, width, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(BODY)))
        self.encoder = nn.Sequential(*(_Step(width, space_to_batch) for _ in range(STEPS)))
        self.nonlocal_block = _NonlocalBlock(width)
        self.decoder = nn.Sequential(*(_Step(width, batch_to_space) for _ in range(STEPS)))
        self.up = nn.Sequential(nn.Conv2d(width, pixels, 3, padding=1), nn.PixelShuffle(FACTOR))
        self.out = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Rendering:
        """Render bokeh from a photo in [0, 1] with sides of 32 pixels or more.

        Returns:
            ``bokeh`` of the photo's size, in single precision also under autocast, and nothing beside it.
        """
        check_photo(photo)
        height, width = photo.shape[-2:]
        divisor = FACTOR * 2**STEPS
        image = pad_to_multiple(photo, divisor)
        features = self.encoder(self.body(self.stem(image)))
        features = self.decoder(self.nonlocal_block(features))
        bokeh = at_least_float32(self.out(torch.cat([self.up(features), image], dim=1)))[..., :height, :width]
        return Rendering(self.in_range(bokeh), {})


class _Step(nn.Module):
    """Two residual blocks, between which pixels move into the batch or back."""

    def __init__(self, width: int, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.after = ResidualBlock(width), ResidualBlock(width)
        self.move = move

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "moved_b c moved_h moved_w"]:
        moved: Tensor = self.after(self.move(self.before(features)))
        return moved


class _NonlocalBlock(nn.Module):
    """Add to each position what all positions of its map hold, weighed by how alike they are (embedded Gaussian).

    The last convolution starts at zero, and with it the block as the identity.

    X. Wang et al., "Non-local neural networks", CVPR 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 2, 1)
        self.key = nn.Conv2d(channels, channels // 2, 1)
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.out = nn.Conv2d(channels // 2, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        # With an axis of heads, of which there is one: ONNX has no attention without it.
        query, key, value = (part(features).flatten(2).mT[:, None] for part in (self.query, self.key, self.value))
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0]
        added: Tensor = features + self.out(seen.mT.reshape(query.shape[0], -1, *features.shape[-2:]))
        return added
