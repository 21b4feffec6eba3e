"""Metrics that compare a rendering with its target through a pretrained network."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image.lpips import _LPIPS

from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError, RequestError
from lensblend.metrics.per_image import PerImageMetric
from lensblend.priors.weights import weights_path

EXPECTED = "torchvision's alexnet-owt-7be5be79.pth"
VGG16 = "torchvision's vgg16-397923af.pth"
Trunk = Literal["alex", "vgg"]
SMALLEST = 31  # AlexNet's last pooling has nothing left below


class Lpips(PerImageMetric):
    """Measure the perceptual distance LPIPS: AlexNet, version 0.1, on [−1, 1]; smaller is better, 0 means equal.

    The linear heads come with torchmetrics. AlexNet's ImageNet weights do not, and a metric without them would be
    another metric: they come from a local file, from the cache, or from a download that is asked for.
    Photos are at least 31×31 pixels.

    Args:
        weights: Local path of torchvision's ``alexnet-owt-7be5be79.pth``, or nothing to look into the cache.
        download: Fetch the file once where it is missing, and check its SHA-256.

    Raises:
        WeightsMissingError: The file is not on this machine; the message says how to get it.
        DataError: The file is damaged or holds another network.

    Example:
        >>> from lensblend.errors import RequestError
        >>> try:
        ...     Lpips(weights="nowhere/alexnet.pth")
        ... except RequestError as error:
        ...     print(error)
        `weights` is the path of a file, but got nowhere/alexnet.pth, which does not exist; correct it.

    References:
        R. Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018.
    """

    name: ClassVar[str] = "lpips"
    heading: ClassVar[str] = "LPIPS"
    convention: ClassVar[str] = "AlexNet, version 0.1, on [-1, 1]"
    decimals: ClassVar[int] = 4
    higher_is_better = False

    trunk: ClassVar[Trunk] = "alex"
    file: ClassVar[str] = "alexnet"

    def __init__(self, weights: str | None = None, download: bool = False) -> None:
        super().__init__()
        network = _build_network(self.trunk, weights_path(self.file, weights, download))
        # A tuple hides the network from state dicts and optimizers: a checkpoint must neither carry nor need AlexNet.
        self._hidden = (network,)

    def score(self, bokeh: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Return distances in float32."""
        if min(target.shape[-2:]) < SMALLEST:
            raise RequestError(
                f"Photos compared by `{self.name}` are at least {SMALLEST}×{SMALLEST} pixels, "
                f"but got (height, width) {tuple(target.shape[-2:])}; use larger photos, or leave `{self.name}` out."
            )
        network = self._hidden[0].to(target.device)
        return network(bokeh / 127.5 - 1, target / 127.5 - 1).view(-1)


class LpipsVgg(Lpips):
    """Measure the perceptual distance LPIPS with VGG-16, version 0.1, on [−1, 1]; smaller is better, 0 means equal.

    As `Lpips` in all else; its weights are torchvision's ``vgg16-397923af.pth``. Values of the two do not compare.
    """

    name: ClassVar[str] = "lpips_vgg"
    heading: ClassVar[str] = "LPIPS (VGG)"
    convention: ClassVar[str] = "VGG-16, version 0.1, on [-1, 1]"
    trunk: ClassVar[Trunk] = "vgg"
    file: ClassVar[str] = "vgg16"


def _build_network(trunk: Trunk, path: Path) -> _LPIPS:
    """Build LPIPS with the trunk of a torchvision file, without touching the random numbers of a training."""
    with torch.random.fork_rng(devices=[]):
        network = _LPIPS(pretrained=True, net=trunk, pnet_rand=True)
    title, expected = {"alex": ("AlexNet", EXPECTED), "vgg": ("VGG-16", VGG16)}[trunk]
    state = read_tensors(path, expected)
    wanted = {key: value for key, value in network.state_dict().items() if key.startswith("net.")}
    names = {key: f"features.{key.split('.', 2)[2]}" for key in wanted}  # net.slice2.3.bias is features.3.bias
    unfit = [name for key, name in names.items() if name not in state or state[name].shape != wanted[key].shape]
    if unfit:
        raise DataError(f"{path} is no {title}: {unfit} are missing or of another shape; use {expected}.")
    network.load_state_dict({key: state[name] for key, name in names.items()}, strict=False)
    return network
