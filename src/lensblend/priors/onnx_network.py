"""A network in an ONNX file, run by onnxruntime: a photo in, one map out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from lensblend.errors import DataError, RequestError, closest
from lensblend.priors.onnx_dequantised import dequantised

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_FATAL = 4  # of onnxruntime's levels of severity: all else reaches the user as an exception


class OnnxNetwork:
    """Run an exported network on the CPU, on as many threads as PyTorch uses; 8-bit convolutions without rounding.

    It may be copied into another process; each opens the file for itself.

    Args:
        path: The file, with its external data beside it, where it has some.
        mean: Subtracted from the photo in [0, 1], RGB; one number stands for all three channels.
        std: The difference is divided by it.
        image_size: (height, width) of the photos that it will be given.
        usual_size: The same where the graph leaves sides open and ``image_size`` is None.
        output: Name of the output that holds the map, or its number, from 0.

    Attributes:
        image_size: (height, width) of the photos.
        is_fixed: Whether the graph prescribes both sides.

    Raises:
        RequestError: onnxruntime is not installed, or ``image_size`` or ``output`` does not fit the graph.
        DataError: The file is no network that onnxruntime can run, or it does not take one RGB photo.
    """

    def __init__(
        self,
        path: Path,
        mean: float | int | Sequence[float | int],
        std: float | int | Sequence[float | int],
        image_size: Sequence[int] | None = None,
        usual_size: Sequence[int] | None = None,
        output: str | int = 0,
    ) -> None:
        self.path, self._mean, self._std = path, _channels("mean", mean), _channels("std", std)
        if not (self._std > 0).all():
            raise RequestError(f"`std` is positive, but got {std}; use 1 to divide by nothing.")
        self._session: Any = None
        self._process = 0
        session = self._opened()
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
            takes = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
            raise DataError(f"{path} takes {takes}, but one float photo (1, 3, height, width) is given; export it so.")
        batch, channels, *sides = inputs[0].shape
        if channels != 3 and isinstance(channels, int):
            raise DataError(
                f"{path} takes {channels} channels (input {inputs[0].shape}), but a photo has 3, as (1, 3, height, "
                "width); give a network of RGB photos, channels first."
            )
        if isinstance(batch, int) and batch != 1:
            raise DataError(f"{path} takes {batch} photos at a time; export it for one, or for any number.")
        self.image_size = _size(path, sides, image_size, usual_size)
        self.is_fixed = all(isinstance(side, int) for side in sides)
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        self._output = _output(path, [o.name for o in session.get_outputs()], output)

    def __call__(self, photo: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "height width"]:
        """Return the output for a photo, at its own size and in its own range.

        Args:
            photo: 8-bit sRGB; where the graph prescribes a size, of that one.

        Raises:
            DataError: The network fails on it, or the output is no single map.
        """
        normal = (photo.astype(np.float32) / 255 - self._mean) / self._std
        batch = np.ascontiguousarray(normal.transpose(2, 0, 1)[None], dtype=self._type)
        try:
            (answer,) = self._opened().run([self._output], {self._input: batch})
        except Exception as error:  # onnxruntime's own classes derive from nothing else
            height, width = photo.shape[:2]
            raise DataError(f"{self.path} failed on a photo of {height}×{width}: {_reason(error)}") from error
        plane = np.asarray(answer)
        while plane.ndim > 2 and plane.shape[0] == 1:
            plane = plane[0]
        if plane.ndim != 2 or plane.dtype.kind not in "fiu":
            raise DataError(
                f"The output `{self._output}` of {self.path} has shape {list(np.shape(answer))}, but a map is "
                f"(1, 1, height, width) or (1, height, width); name another output{self._others()}."
            )
        return plane.astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open session out: it belongs to this process."""
        return {**vars(self), "_session": None}

    def _others(self) -> str:
        names = [o.name for o in self._opened().get_outputs() if o.name != self._output]
        return f", one of {', '.join(names[:8])}" if names else ""

    def _opened(self) -> Any:
        """Return the session of this process: a forked one has none of its parent's threads."""
        if self._session is None or self._process != os.getpid():
            self._session, self._process = _open(self.path), os.getpid()
        return self._session


def _open(path: Path) -> Any:
    if find_spec("onnxruntime") is None:
        raise RequestError(
            f"{path} is an ONNX network, which needs onnxruntime: install lensblend[onnx], or the package onnxruntime."
        )
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are others' as well
    options.enable_cpu_mem_arena = False  # which would keep what the largest photo took
    network = dequantised(path) or str(path)
    try:
        return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DataError(
            f"{path} is no network that onnxruntime can run ({_reason(error)}); give an exported .onnx file, with its "
            "external data beside it."
        ) from error


def _channels(name: str, value: float | int | Sequence[float | int]) -> Float32[np.ndarray, " 3"]:
    values = [value] * 3 if isinstance(value, int | float) else list(value)
    if len(values) != 3 or not np.isfinite(values).all():
        raise RequestError(f"`{name}` is one number or three, of R, G and B in [0, 1], but got {value}.")
    return np.array(values, dtype=np.float32)


def _size(
    path: Path, sides: Sequence[Any], image_size: Sequence[int] | None, usual_size: Sequence[int] | None
) -> tuple[int, int]:
    """Return the size to give, from the graph where it prescribes one."""
    wanted = image_size or usual_size or (None, None)
    height, width = (side if isinstance(side, int) else want for side, want in zip(sides, wanted, strict=True))
    if height is None or width is None:
        raise RequestError(
            f"{path} takes photos of any size: give `image_size`, [height, width], that it works best at."
        )
    if image_size and list(image_size) != [height, width]:
        raise RequestError(
            f"{path} takes photos of {height}×{width}, but `image_size` is {list(image_size)}; leave it out."
        )
    return height, width


def _output(path: Path, names: list[str], output: str | int) -> str:
    if isinstance(output, int) and 0 <= output < len(names):
        return names[output]
    if output in names:
        return str(output)
    near = closest(str(output), names)
    hint = f"did you mean {near!r}? " if near else ""
    raise RequestError(
        f"`output` is {output!r}, but {path} has {len(names)}; {hint}There are: {', '.join(names[:12])}; "
        f"or a number, 0 to {len(names) - 1}."
    )


def _reason(error: Exception) -> str:
    """Return the first line of what onnxruntime says, without its own name."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return text.removeprefix("[ONNXRuntimeError] : ").strip()[:200]
