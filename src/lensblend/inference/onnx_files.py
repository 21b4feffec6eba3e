"""What is written as ONNX: graphs of PyTorch modules, exported, checked for being installed, and opened again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from lensblend.errors import DataError, RequestError

OPSET = 20
_LARGEST = 2**31  # bytes; what protobuf holds
_SIDE = torch.export.Dim.DYNAMIC
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Refuse to export where a package for it is missing.

    Raises:
        RequestError: One is.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise RequestError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'lensblend[onnx]'")


def onnx_bytes(
    name: str,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    open_sides: int = 0,
    about: Mapping[str, str] | None = None,
) -> bytes:
    """Return the graph of a module as the content of an ONNX file of opset 20, its weights within.

    Args:
        name: What it is, for messages.
        module: In evaluation mode, on the CPU; takes a dict of tensors by name and returns a tuple of tensors.
        inputs: What it takes, ``(1, c, h, w)`` each; the graph's inputs are called so.
        outputs: What to call what it returns.
        open_sides: Heights and widths are open, one for all inputs, as multiples of this number; 0 leaves them those
            of ``inputs``. Where a network extends photos to such multiples, to say so saves minutes.
        about: Becomes the file's metadata.

    Raises:
        RequestError: A package is missing.
        DataError: The exporter cannot export it.
    """
    check_installed()
    for library in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(library).setLevel(logging.ERROR)
    shapes = dict.fromkeys(inputs, _sides(open_sides))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = torch.export.export(module, (dict(inputs),), dynamic_shapes=(shapes,), strict=False)
            program: Any = torch.onnx.export(
                graph, dynamo=True, verbose=False, opset_version=OPSET, input_names=list(inputs), output_names=outputs
            )
        program.model.metadata_props.update(about or {})
        content: bytes = program.model_proto.SerializeToString()
    except Exception as error:  # of whatever kind the exporter's parts raise
        raise DataError(f"{name} cannot be exported to ONNX: {_reason(error)}") from error
    if len(content) >= _LARGEST:
        raise DataError(f"{name} cannot be exported to ONNX: {len(content):,} bytes are more than one file holds.")
    return content


def _sides(multiple: int) -> dict[int, Any]:
    if multiple < 2:
        return {2: _SIDE, 3: _SIDE} if multiple else {}
    return {axis: multiple * torch.export.Dim(f"side{axis}", min=1) for axis in (2, 3)}


def opened(content: bytes | str) -> Any:
    """Return onnxruntime's session of an ONNX file or its content, on as many threads as PyTorch uses.

    Raises:
        DataError: onnxruntime cannot run it.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are others' as well
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DataError(f"onnxruntime cannot run the exported graph: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return the first line of what began it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]
