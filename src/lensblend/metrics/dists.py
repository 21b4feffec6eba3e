"""DISTS: structure and texture in the features of a pretrained VGG-16."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
import torchmetrics
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torchvision.models.vgg import cfgs, make_layers

from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError, RequestError
from lensblend.metrics.per_image import PerImageMetric
from lensblend.metrics.perceptual import VGG16
from lensblend.ops.precision import full_precision
from lensblend.priors.weights import weights_path

#: Features after each of the five blocks of VGG-16, the photo itself before them.
CHANNELS = (3, 64, 128, 256, 512, 512)
#: Layers of torchvision's VGG-16 up to and including the last ReLU of each block; max-pooling between is left out.
BLOCKS = ((0, 4), (5, 9), (10, 16), (17, 23), (24, 30))
SMALLEST = 32
_STABLE = 1e-6
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The authors' shares of texture and structure, as torchmetrics distributes them (MIT).
SHARES = Path(torchmetrics.__file__).parent / "functional" / "image" / "dists_models" / "weights.pt"


class Dists(PerImageMetric):
    r"""Measure the perceptual distance DISTS of structure and texture; smaller is better, 0 means equal.

    .. math:: 1 - \sum_{i,j} \Bigl(\alpha_{ij} \frac{2 \mu_x \mu_y + c}{\mu_x^2 + \mu_y^2 + c}
              + \beta_{ij} \frac{2 \sigma_{xy} + c}{\sigma_x^2 + \sigma_y^2 + c}\Bigr)

    Means, variances and the covariance are over the pixels of feature map ``j`` of stage ``i``: the photo, and VGG-16
    after each of its blocks, its pooling replaced by that of squares under a Hann window of 3×3. ``c`` is 10⁻⁶, and
    all shares add up to one. The authors' shares come with torchmetrics. VGG-16's ImageNet weights do not, and a
    metric without them would be another metric. It is scored at the photos' size; the authors reduce photos to a
    shorter side of 256. Photos are at least 32×32 pixels.

    Args:
        weights: Local path of torchvision's ``vgg16-397923af.pth``, or nothing to look into the cache.
        download: Fetch the file once where it is missing, and check its SHA-256.

    Raises:
        WeightsMissingError: The file is not on this machine; the message says how to get it.
        DataError: The file is damaged or holds another network.

    References:
        K. Ding et al., "Image quality assessment: unifying structure and texture similarity",
        IEEE Trans. Pattern Anal. Mach. Intell. 44(5), 2022, equations 2 to 6.
    """

    name: ClassVar[str] = "dists"
    heading: ClassVar[str] = "DISTS"
    convention: ClassVar[str] = "VGG-16, the authors' shares, at the image's size"
    decimals: ClassVar[int] = 4
    higher_is_better = False

    def __init__(self, weights: str | None = None, download: bool = False) -> None:
        super().__init__()
        path = weights_path("vgg16", weights, download)
        # A tuple hides the network from state dicts and optimizers: a checkpoint must neither carry nor need VGG-16.
        self._hidden = (_Stages(path), *_shares())

    def score(self, bokeh: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Return distances in float32."""
        if min(target.shape[-2:]) < SMALLEST:
            raise RequestError(
                f"Photos compared by `dists` are at least {SMALLEST}×{SMALLEST} pixels, "
                f"but got (height, width) {tuple(target.shape[-2:])}; use larger photos, or leave `dists` out."
            )
        stages, *shares = self._hidden
        stages = stages.to(target.device)
        alpha, beta = (torch.split(share.to(target.device), list(CHANNELS)) for share in shares)
        alike = torch.zeros(len(target), device=target.device)
        for i, (x, y) in enumerate(zip(stages(bokeh / 255), stages(target / 255), strict=True)):
            mean_x, mean_y = x.mean(dim=(2, 3)), y.mean(dim=(2, 3))
            off_x, off_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
            spread = off_x.square().mean(dim=(2, 3)) + off_y.square().mean(dim=(2, 3))
            texture = (2 * mean_x * mean_y + _STABLE) / (mean_x.square() + mean_y.square() + _STABLE)
            structure = (2 * (off_x * off_y).mean(dim=(2, 3)) + _STABLE) / (spread + _STABLE)
            alike = alike + (alpha[i] * texture + beta[i] * structure).sum(dim=1)
        return 1 - alike


class _Stages(nn.Module):
    """The photo and the features of VGG-16 after each of its blocks."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        state = read_tensors(path, VGG16)
        with torch.random.fork_rng(devices=[]):
            features = make_layers(cfgs["D"]).eval().requires_grad_(False)
        load_features(features, state, path)
        self.blocks = nn.ModuleList(features[first:last] for first, last in BLOCKS)

    def forward(self, photo: Tensor) -> list[Tensor]:
        """Return six maps of features, the photo in [0, 1] first."""
        mean, std = (photo.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        found, features = [photo], (photo - mean) / std
        for index, block in enumerate(self.blocks):
            features = block(_pooled(features) if index else features)
            found.append(features)
        return found


def load_features(features: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load the convolutions of VGG-16 out of a torchvision file.

    Raises:
        DataError: They are missing, or of other shapes.
    """
    wanted = features.state_dict()
    names = {key: f"features.{key}" for key in wanted}
    unfit = [name for key, name in names.items() if name not in state or state[name].shape != wanted[key].shape]
    if unfit:
        raise DataError(f"{path} is no VGG-16: {unfit} are missing or of another shape; use {VGG16}.")
    features.load_state_dict({key: state[name] for key, name in names.items()})


def _pooled(features: Tensor) -> Tensor:
    """Return half as many rows and columns: the root of the mean of squares under a Hann window, zeros around."""
    window = features.new_tensor([0.25, 0.5, 0.25])
    kernel = (window[:, None] * window).expand(features.shape[1], 1, 3, 3)
    with full_precision(features.device):
        squares = conv2d(features.square(), kernel, stride=2, padding=1, groups=features.shape[1])
    return (squares + 1e-12).sqrt()


def _shares() -> tuple[Tensor, Tensor]:
    """Return the shares of texture and of structure of each feature map, which add up to one."""
    state = read_tensors(SHARES, "that of torchmetrics 1.9")
    alpha, beta = (state[name].detach().flatten().float() for name in ("alpha", "beta"))
    total = alpha.sum() + beta.sum()
    return alpha / total, beta / total
