"""Networks whose work another engine does; to everything else they are what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.inference.engines import ENGINES, Inputs, Part, Run, check_engine
from lensblend.inference.rendering import device_of
from lensblend.inference.wrapped import WrappedNetwork
from lensblend.nn.rendering import Backbone, BokehNetwork, Rendering


def served(network: BokehNetwork, engine: str, precision: str, sha256: str) -> BokehNetwork:
    """Return a network that an engine computes; its parameters are shared, not copied.

    Of a network with a backbone that is the backbone: its head, blurs and blending stay in PyTorch, in single
    precision. A network without weights, and PyTorch in single precision, stay as they are.

    Args:
        network: In evaluation mode, on its device.
        engine: One of `lensblend.inference.engines.ENGINES`.
        precision: One of `lensblend.inference.engines.PRECISIONS`.
        sha256: Hash of the file that its weights came from.

    Raises:
        RequestError: The engine is unknown or not installed, or does not offer the precision here or of this network.
    """
    check_engine(engine, precision, device_of(network))
    if (engine, precision) == ("torch", "fp32") or next(network.parameters(), None) is None:
        return network
    name = type(network).__name__
    backbones = {key: part for key, part in network.named_children() if isinstance(part, Backbone)}
    if not backbones and precision == "int8":
        raise RequestError(
            f"`precision` int8 is for the backbones of networks that have one, as depth_blend and joint_blend do; "
            f"{name} has none: use fp32."
        )
    if not backbones:
        return ServedNetwork(network, engine, precision, sha256)
    quick: dict[str, nn.Module] = {}
    for key, backbone in backbones.items():
        part = Part(_Features(backbone), name, f"{sha256}/{key}")
        quick[key] = ServedBackbone(backbone, _Runs(part, engine, precision))
    network = copy(network)
    # A module's parts lie in one dict, which a shallow copy would share.
    network._modules = {**network._modules, **quick}
    return network.eval()


class _Runs:
    """Begins an engine anew for each combination of shapes."""

    def __init__(self, part: Part, engine: str, precision: str) -> None:
        self._part, self._engine, self._precision = part, ENGINES[engine], precision
        self._runs: dict[Any, Run] = {}

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]:
        shapes = tuple((key, *tensor.shape) for key, tensor in inputs.items())
        if shapes not in self._runs:
            self._runs[shapes] = self._engine.begin(self._part, self._precision, inputs)
        return self._runs[shapes](inputs)


class _Features(nn.Module):
    """A backbone that takes and gives tensors by name."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        return {"features": self.backbone(inputs["photo"])}


class ServedBackbone(Backbone):
    """A backbone that an engine computes."""

    def __init__(self, backbone: Backbone, runs: _Runs) -> None:
        super().__init__(backbone.out_channels, backbone.stride)
        self.backbone = backbone
        self._runs = runs

    def forward(self, photo: Tensor) -> Tensor:
        """Return its features, in single precision."""
        return self._runs({"photo": photo})["features"]


class _Named(nn.Module):
    """A network that takes and gives tensors by name; those of a list are numbered: ``pyramid.0``."""

    def __init__(self, network: BokehNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        bokeh, aux = self.network(**inputs)
        found = {"bokeh": bokeh}
        for key, value in aux.items():
            found |= {f"{key}.{i}": each for i, each in enumerate(value)} if isinstance(value, list) else {key: value}
        return found


def _rendering(found: Mapping[str, Tensor]) -> Rendering:
    aux: dict[str, Any] = {}
    for name, tensor in found.items():
        key, dot, _ = name.partition(".")
        if dot:
            aux.setdefault(key, []).append(tensor)
        elif key != "bokeh":
            aux[key] = tensor
    return Rendering(found["bokeh"], aux)


class ServedNetwork(WrappedNetwork):
    """A network that an engine computes as a whole.

    Args:
        network: In evaluation mode.
        engine: See `served`.
        precision: See `served`.
        identity: Hash of its weights, and what else its renderings depend on.
    """

    def __init__(self, network: BokehNetwork, engine: str, precision: str, identity: str) -> None:
        super().__init__(network)
        self._how = engine, precision, identity
        self._runs = _Runs(Part(_Named(network), type(network).__name__, identity), engine, precision)

    def scaled(self, factor: float | int) -> ServedNetwork:
        """Return the network with blurs ``factor`` times as wide, computed by the same engine."""
        return self._other(self.network.scaled(factor), repr(factor))

    def at_f_number(self, f_number: float | int) -> ServedNetwork:
        """Return the network as it renders at an f-number, computed by the same engine."""
        return self._other(self.network.at_f_number(f_number), f"f/{f_number!r}")

    def _other(self, network: BokehNetwork, change: str) -> ServedNetwork:
        engine, precision, identity = self._how
        return ServedNetwork(network, engine, precision, hashlib.sha256(f"{identity}/{change}".encode()).hexdigest())

    @torch.no_grad()
    def forward(self, photo: Tensor, **guidance: Tensor) -> Rendering:
        """Render as the network does."""
        return _rendering(self._runs({"photo": photo, **guidance}))
