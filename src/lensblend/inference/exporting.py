"""All that `lensblend render` does between a photo's pixels and a rendering's, as one ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lensblend.data.sizes import turned
from lensblend.errors import DataError, RequestError
from lensblend.inference.lowering import calibration, eight_bits, half, within
from lensblend.inference.onnx_files import onnx_bytes, opened
from lensblend.inference.rendering import BlendAt, render_photo, to_batch
from lensblend.nn.rendering import Backbone, BokehNetwork
from lensblend.ops.resampling import resample_lanczos, resample_linear

TOLERANCE = 1 / 255
LEAST_PSNR = 40.0  # dB, of 8-bit integers


class Difference(NamedTuple):
    """How far renderings of a graph are from PyTorch's.

    Attributes:
        largest: Of any value in [0, 1].
        psnr: In dB, over three photos; at most 120.
    """

    largest: float
    psnr: float


class Pipeline(nn.Module):
    """Render a photo: resized to the network's size, seen by the network, blended, and enlarged again.

    Args:
        network: In evaluation mode.
        image_size: Height and width at which it works, turned like the photos.
        photo_size: Height and width of the photos, into which it blends at that size; None blends at its own size, and
            takes photos of any.

    Raises:
        RequestError: There is a ``photo_size``, and the network cannot blend at full size.
    """

    def __init__(
        self, network: BokehNetwork, image_size: tuple[int, int], photo_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        if photo_size is not None and not network.blends_full_size:
            raise RequestError(
                f"{type(network).__name__} cannot blend at full resolution; leave out `--photo-size`, and it takes "
                "photos of any size."
            )
        self.network = network
        self.image_size = image_size
        self.photo_size = photo_size

    def forward(self, given: Mapping[str, Tensor]) -> tuple[Tensor]:
        """Render ``photo`` ``(1, 3, h, w)`` in [0, 1], with maps ``(1, 1, h, w)`` by their names beside it."""
        photo = given["photo"]
        levels = photo.clamp(0, 1).mul(255).round()
        small = resample_lanczos(levels, self.image_size) / 255
        maps = {name: resample_linear(given[name], self.image_size, antialias=True) for name in self.network.guidance}
        if self.photo_size is not None:
            bokeh = self.network(small, full_photo=photo, **maps).bokeh
        else:
            bokeh = resample_linear(self.network(small, **maps).bokeh, photo.shape[-2:])
        return (bokeh.clamp(0, 1),)


def exported(
    network: BokehNetwork,
    image_size: tuple[int, int],
    photo_size: tuple[int, int] | None,
    about: Mapping[str, str],
    precision: str = "fp32",
) -> tuple[bytes, Difference]:
    """Return a pipeline as the content of an ONNX file, and by how much it may differ from PyTorch.

    Inputs are ``photo`` and the network's guidance, its output is ``bokeh``; see `Pipeline`. It is compared with
    `render_photo` in onnxruntime, on photos of three sizes, or three photos of the one size.

    Args:
        network: In evaluation mode.
        image_size: As of `Pipeline`.
        photo_size: As of `Pipeline`.
        about: The file's metadata.
        precision: Of the backbone: ``fp32``, ``fp16`` or ``int8``; all else is single precision.

    Raises:
        RequestError: A package is missing, or there is a ``photo_size`` that the network cannot blend at, or it has no
            backbone that could be less precise.
        DataError: The network cannot be exported, or differs by more than one level of 8 bits; of int8, where its
            renderings have less than 40 dB against PyTorch's.
    """
    backbones = [f"network.{key}" for key, part in network.named_children() if isinstance(part, Backbone)]
    if precision != "fp32" and not backbones:
        raise RequestError(
            f"`--precision {precision}` is for the backbones of networks that have one, as depth_blend and joint_blend "
            f"do; {type(network).__name__} has none: leave it out."
        )
    image_size = turned(image_size, photo_size or image_size)
    pipeline = Pipeline(network, image_size, photo_size).eval()
    size = photo_size or _sizes(image_size)[0]
    photo, maps = _photo(size, 0), {name: _map(size, 0) for name in network.guidance}
    inputs = _inputs(photo, maps)
    content = onnx_bytes(
        type(network).__name__, pipeline, inputs, ["bokeh"], open_sides=int(photo_size is None), about=about
    )
    if precision == "fp16":
        content = half(content, within(content, backbones))
    if precision == "int8":
        given = [_like(inputs, each) if photo_size else each for each in calibration(inputs)]
        content = eight_bits(content, within(content, backbones), given)
    found = _difference(content, network, image_size, photo_size)
    if not (found.psnr >= LEAST_PSNR if precision == "int8" else found.largest <= TOLERANCE):
        raise DataError(
            f"{type(network).__name__} as ONNX differs from PyTorch by {255 * found.largest:.2f} levels of 8 bits "
            f"({found.psnr:.0f} dB), more than its precision explains; it is not written."
        )
    return content, found


def _like(inputs: Mapping[str, Tensor], arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Enlarge arrays to the one size that a graph takes."""
    sizes = {key: (tensor.shape[-2], tensor.shape[-1]) for key, tensor in inputs.items()}
    return {key: resample_linear(torch.from_numpy(array), sizes[key]).numpy() for key, array in arrays.items()}


def _difference(
    content: bytes, network: BokehNetwork, image_size: tuple[int, int], photo_size: tuple[int, int] | None
) -> Difference:
    session, errors = opened(content), []
    at: BlendAt = "network" if photo_size is None else "photo"
    for seed, size in enumerate([photo_size] * 3 if photo_size else _sizes(image_size)):
        photo, maps = _photo(size, seed), {name: _map(size, seed) for name in network.guidance}
        expected = render_photo(network, photo, image_size, at, maps).bokeh.cpu().numpy()
        (bokeh,) = session.run(["bokeh"], {k: v.numpy() for k, v in _inputs(photo, maps).items()})
        errors.append((np.abs(bokeh - expected).max(), np.square(bokeh - expected, dtype=np.float64).mean()))
    largest, squares = np.array(errors).T
    return Difference(float(largest.max()), float(-10 * np.log10(max(squares.mean(), 1e-12))))


def _sizes(image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return sizes of photos that lie or stand as the network's size does."""
    height, width = image_size
    ratios = ((1.31, 1.31), (0.9, 1.07), (1.9, 2.2))  # of the shorter side, and of the longer
    return [
        (int(height * (short if height <= width else long)), int(width * (long if height <= width else short)))
        for short, long in ratios
    ]


def _photo(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Return soft shapes and noise, of which a part is black and a part white."""
    rng = np.random.default_rng(seed)
    shapes = resample_linear(torch.from_numpy(rng.uniform(-0.2, 1.2, (1, 3, 5, 7))), size)[0].permute(1, 2, 0).numpy()
    noisy = shapes + rng.normal(0, 0.05, shapes.shape)
    return (255 * noisy.clip(0, 1)).round().astype(np.uint8)


def _map(size: tuple[int, int], seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).random((1, 1, 4, 5), np.float32)
    return resample_linear(torch.from_numpy(values), size)[0, 0].numpy()


def _inputs(photo: NDArray[np.uint8], maps: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    planes = {name: torch.from_numpy(plane)[None, None] for name, plane in maps.items()}
    return {"photo": to_batch(photo, torch.device("cpu")).contiguous(), **planes}
