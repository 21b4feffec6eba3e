"""What computes a network while it renders: PyTorch, PyTorch compiled, onnxruntime or OpenVINO, and how precisely."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from lensblend.errors import RequestError, one_of
from lensblend.inference.exported_parts import exported_part
from lensblend.inference.onnx_files import check_installed, opened
from lensblend.inference.rendering import choose_device

Inputs = Mapping[str, Tensor]
Run = Callable[[Inputs], dict[str, Tensor]]

_LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Part:
    """What an engine computes of a network: all of it, or its backbone, which takes nearly all the time.

    Attributes:
        module: In evaluation mode; takes a dict of tensors by name, and returns one.
        name: Of the network, for messages.
        identity: Hash of its weights, and what else its results depend on.
    """

    module: nn.Module
    name: str
    identity: str


@dataclass(frozen=True)
class Engine:
    """One way to compute.

    Attributes:
        precisions: What it offers; the first is the default.
        begin: Takes a part, a precision and its first inputs, and returns what computes the part for inputs of these
            shapes.
        check: Raises `RequestError` where it cannot compute on a device in a precision.
    """

    precisions: tuple[str, ...]
    begin: Callable[[Part, str, Inputs], Run]
    check: Callable[[torch.device, str], None]


def _in_torch(part: Part, precision: str, _: Inputs) -> Run:
    return _lowered(part.module, precision)


def _compiled(part: Part, precision: str, _: Inputs) -> Run:
    return _lowered(torch.compile(part.module, dynamic=False), precision)


def _lowered(compute: Callable[[Inputs], dict[str, Tensor]], precision: str) -> Run:
    def run(inputs: Inputs) -> dict[str, Tensor]:
        device = next(iter(inputs.values())).device.type
        with torch.autocast(device, _LOW[precision]) if precision in _LOW else contextlib.nullcontext():
            return {name: tensor.float() for name, tensor in compute(inputs).items()}

    return run


def _in_onnxruntime(part: Part, precision: str, inputs: Inputs) -> Run:
    session = exported_part(part.module, part.name, part.identity, inputs, opened, precision == "int8")
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> dict[str, Tensor]:
        given = {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
        return {n: torch.from_numpy(array) for n, array in zip(names, session.run(names, given), strict=True)}

    return run


def _in_openvino(part: Part, precision: str, inputs: Inputs) -> Run:
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }

    def load(content: bytes) -> Any:
        core = openvino.Core()
        return core.compile_model(core.read_model(content, b""), "CPU", hints)

    model = exported_part(part.module, part.name, part.identity, inputs, load, precision == "int8")

    def run(inputs: Inputs) -> dict[str, Tensor]:
        found = model({name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
        return {output.any_name: torch.from_numpy(found[output].copy()) for output in model.outputs}

    return run


def _check_torch(device: torch.device, precision: str) -> None:
    if precision == "fp16" and device.type == "cpu":
        raise RequestError("`precision` fp16 is for GPUs; on the CPU use bf16.")


def _check_compiler(device: torch.device, precision: str) -> None:
    _check_torch(device, precision)
    names = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if device.type == "cpu" and not any(shutil.which(name) for name in names if name):
        raise RequestError("`engine` compile needs a C++ compiler, and there is none: install g++, or use torch.")


def _check_cpu(engine: str, device: torch.device) -> None:
    check_installed()
    if find_spec(engine) is None:
        raise RequestError(f"`engine` {engine} is not installed here: pip install 'lensblend[{engine}]'")
    if device.type != "cpu":
        raise RequestError(f"`engine` {engine} computes on the CPU, but `device` is {device.type}; use device cpu.")


def _check_onnxruntime(device: torch.device, precision: str) -> None:
    _check_cpu("onnx", device)


def _check_openvino(device: torch.device, precision: str) -> None:
    _check_cpu("openvino", device)
    import openvino

    if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RequestError("`precision` bf16 is none that this CPU computes in; use fp32.")


ENGINES = {
    "torch": Engine(("fp32", "bf16", "fp16"), _in_torch, _check_torch),
    "compile": Engine(("fp32", "bf16", "fp16"), _compiled, _check_compiler),
    "onnx": Engine(("fp32", "int8"), _in_onnxruntime, _check_onnxruntime),
    "openvino": Engine(("fp32", "bf16", "int8"), _in_openvino, _check_openvino),
}
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def device_for(engine: str, name: str) -> torch.device:
    """Return the device that a user asked for; ``auto`` is the CPU for engines that compute there alone.

    Raises:
        RequestError: The engine or the device is unknown, or the device is not on this machine.
    """
    one_of("engine", engine, ENGINES)
    return choose_device("cpu" if name == "auto" and engine in ("onnx", "openvino") else name)


def check_engine(engine: str, precision: str, device: torch.device) -> None:
    """Refuse what an engine cannot do here.

    Raises:
        RequestError: It is unknown or not installed, or does not offer the precision, or not on this device.
    """
    offered = ENGINES[one_of("engine", engine, ENGINES)].precisions
    if one_of("precision", precision, PRECISIONS) not in offered:
        raise RequestError(f"`engine` {engine} computes in {' or '.join(offered)}, but `precision` is {precision}.")
    ENGINES[engine].check(device, precision)
