"""Parts of networks as ONNX graphs, exported once and kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

import lensblend
from lensblend.caches import Cache, cache_folder
from lensblend.errors import StorageError
from lensblend.inference.lowering import calibration, eight_bits, within
from lensblend.inference.onnx_files import OPSET, onnx_bytes
from lensblend.storage import write_atomically

OpenedT = TypeVar("OpenedT")
FORMAT = 2  # of what is kept
EXTENDED_TO = 32  # of which backbones extend sides to multiples, or to those of a part of it


class _Listed(nn.Module):
    """Returns as a tuple what a module returns by names."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return tuple(self.part(inputs).values())


def exported_part(
    part: nn.Module,
    name: str,
    identity: str,
    inputs: Mapping[str, Tensor],
    load: Callable[[bytes], OpenedT],
    in_8_bits: bool = False,
) -> OpenedT:
    """Return what an engine makes of a module's graph for inputs of these shapes.

    The graph is kept in ``$LENSBLEND_CACHE/engines``, under the hash of all that it is made of; one that cannot be
    loaded is made again.

    Args:
        part: On the CPU; takes a dict of tensors by name, and returns one.
        name: Of the network, for messages.
        identity: Hash of its weights, and what else its results depend on.
        inputs: By their names.
        load: Takes the content of an ONNX file.
        in_8_bits: Whether convolutions multiply integers of 8 bits, calibrated on small photos.

    Raises:
        RequestError: A package is missing.
        DataError: The module cannot be exported, or not calibrated.
    """
    shapes = {key: list(tensor.shape) for key, tensor in inputs.items()}
    # What is calibrated on small photos is a graph for any size, or for any that backbones need not extend.
    whole = all(side % EXTENDED_TO == 0 for tensor in inputs.values() for side in tensor.shape[-2:])
    sides = (EXTENDED_TO if whole else 1) if in_8_bits else 0
    key = ["8 bits", sides] if in_8_bits else shapes
    recipe = [FORMAT, OPSET, lensblend.__version__, str(torch.__version__), name, identity, key]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    cache = Cache(cache_folder("engines"), digest)
    with contextlib.suppress(Exception):  # whatever an engine says of a damaged file
        content = cache.read(_read)
        if content is not None:
            return load(content)
    with torch.no_grad():
        outputs = list(part({key: tensor.clone() for key, tensor in inputs.items()}))
    zeros = {key: torch.zeros(tensor.shape) for key, tensor in inputs.items()}
    content = onnx_bytes(name, _Listed(part).eval(), zeros, outputs, open_sides=sides)
    if in_8_bits:
        content = eight_bits(content, within(content, ["part"]), calibration(inputs))
    with contextlib.suppress(StorageError):  # a full or read-only disk costs only the cache
        write_atomically(cache.folder / "graph.onnx", content)
    return load(content)


def _read(folder: Path) -> bytes | None:
    file = folder / "graph.onnx"
    return file.read_bytes() if file.is_file() else None
