"""ONNX graphs in half precision, and in 8-bit integers calibrated on photos."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lensblend.errors import DataError
from lensblend.ops.resampling import resample_linear

Arrays = dict[str, NDArray[np.float32]]
_SIZE = (192, 288)  # height and width of what calibrates; whole photos would take gigabytes, and say the same
# Of scikit-image, public domain and CC0. Soft photos alone leave no room for what busy ones are made of.
_PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
_TEXTURES = ("grass", "gravel", "brick", "hubble_deep_field")


def calibration(names: Collection[str]) -> list[Arrays]:
    """Return inputs that show what values a network meets: four photos whole, the same in pieces, and four textures.

    Maps of soft shapes lie beside them.

    Args:
        names: Of the inputs: ``photo`` is ``(1, 3, h, w)`` in [0, 1], and all others are maps, ``(1, 1, h, w)``.
    """
    photos = [*map(_whole, _PHOTOS), *map(_piece, _PHOTOS), *map(_whole, _TEXTURES)]
    return [
        {name: _batch(photo) if name == "photo" else _map(seed) for name in names} for seed, photo in enumerate(photos)
    ]


def _whole(name: str) -> Image.Image:
    return _picture(name).resize(_SIZE[::-1], Image.Resampling.LANCZOS)


def _piece(name: str) -> Image.Image:
    """Cut out the upper left at the photo's own size: finer than what is scaled down."""
    return _picture(name).crop((0, 0, *_SIZE[::-1]))


def _picture(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(getattr(data, name)()).convert("RGB")


def _batch(photo: Image.Image) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.asarray(photo).transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _map(seed: int) -> NDArray[np.float32]:
    values = torch.from_numpy(np.random.default_rng(seed).random((1, 1, 4, 5), np.float32))
    found: NDArray[np.float32] = resample_linear(values, _SIZE).numpy()
    return found


def within(content: bytes, parts: Collection[str]) -> list[str]:
    """Return the names of a graph's nodes that parts of the exported module led to.

    Args:
        content: Of an ONNX file that `lensblend.inference.onnx_files.onnx_bytes` made.
        parts: Dotted names of parts, as of `torch.nn.Module.named_modules`.
    """
    import onnx

    marks = [f"{part}: " for part in parts]
    nodes = onnx.load_from_string(content).graph.node
    spaces = {node.name: next((p.value for p in node.metadata_props if p.key == "namespace"), "") for node in nodes}
    return [name for name, space in spaces.items() if any(mark in space for mark in marks)]


def eight_bits(content: bytes, nodes: Sequence[str], inputs: Sequence[Arrays]) -> bytes:
    """Return a graph whose convolutions multiply 8-bit integers: weights per channel, activations by their range.

    The first one, which meets the photo, and those that take each channel by itself stay in single precision: they
    are little of the work, and most of the error where networks are narrow.

    Args:
        content: Of an ONNX file.
        nodes: Names of nodes; convolutions among them are changed, and all else stays single precision.
        inputs: What it is calibrated on.

    Raises:
        DataError: onnxruntime cannot do that with the graph.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="lensblend-") as folder, _quiet():
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(content)
        try:
            quantize_static(
                before,
                after,
                _Inputs(inputs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv"],
                nodes_to_quantize=_lowered(content, nodes),
            )
        except Exception as error:  # of whatever kind its parts raise
            raise DataError(f"onnxruntime cannot calibrate the graph: {str(error).splitlines()[0][:200]}") from error
        return after.read_bytes()


def _lowered(content: bytes, nodes: Collection[str]) -> list[str]:
    """Return which of these nodes are convolutions that lose little in 8 bits."""
    import onnx

    graph = onnx.load_from_string(content).graph
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.name in nodes]
    # A network that meets the photo at two sizes has its first convolution twice, with the same weights.
    deeper = [node for node in convolutions if node.input[1] != convolutions[0].input[1]]
    groups = {node.name: next((a.i for a in node.attribute if a.name == "group"), 1) for node in deeper}
    # To onnxruntime an empty list means all nodes.
    return [name for name, group in groups.items() if group == 1] or list(nodes)


def half(content: bytes, nodes: Collection[str]) -> bytes:
    """Return a graph in which these nodes, and their weights, are in half precision; inputs and outputs stay single.

    Args:
        content: Of an ONNX file.
        nodes: Names of nodes.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = onnx.load_from_string(content)
    others = [node.name for node in graph.graph.node if node.name not in nodes]
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that half precision rounds to zero
        lowered: Any = convert_float_to_float16(graph, keep_io_types=True, node_block_list=others)
    found: bytes = lowered.SerializeToString()
    return found


class _Inputs:
    """Hands inputs to onnxruntime one by one, as its `CalibrationDataReader` does."""

    def __init__(self, inputs: Sequence[Arrays]) -> None:
        self._left: Iterator[Arrays] = iter(inputs)

    def get_next(self) -> Arrays | None:
        return next(self._left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice, which it gives to the root logger, from standing between a verb's lines."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
