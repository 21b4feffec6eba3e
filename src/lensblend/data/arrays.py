"""Maps in NPY files: one channel of real numbers, read only after what the header claims has been checked."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from lensblend.data.regular_files import open_regular
from lensblend.errors import DataError

# Those that `numpy.save` writes for numbers.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_array(path: Path, max_values: int) -> Float32[np.ndarray, "h w"]:
    """Read a map of real numbers or truth values, after its header has been compared with the file's size.

    Args:
        path: A regular file that `numpy.save` wrote.
        max_values: Larger maps are refused before they are read.

    Raises:
        DataError: It is something else, with path and remedy in one line.
    """
    return _read(path, max_values)[1].astype(np.float32)


def array_size(path: Path, max_values: int) -> tuple[int, int]:
    """Return (height, width) of a map from its header; what `read_array` refuses is refused."""
    return _read(path, max_values, only_header=True)[0]


def _read(path: Path, max_values: int, only_header: bool = False) -> tuple[tuple[int, int], np.ndarray]:
    values = np.empty(0)
    try:
        with open_regular(path) as file:
            version = np.lib.format.read_magic(file)
            read_header = _HEADERS.get(version)
            if read_header is None:
                raise ValueError(f"it is of version {version}")
            shape, columns_first, dtype = read_header(file)
            count = math.prod(shape)
            if dtype.kind not in "fiub" or len(shape) != 2:
                raise ValueError(f"it holds {dtype} of shape {shape}")
            if count > max_values or count * dtype.itemsize != os.fstat(file.fileno()).st_size - file.tell():
                raise ValueError(f"its header says {dtype} of shape {shape}, the file's size another")
            if not only_header:
                values = np.frombuffer(file.read(), dtype).reshape(shape, order="F" if columns_first else "C")
    except DataError:
        raise
    except Exception as error:  # a header is read as Python's literals, which fail in a dozen ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"`{path}` is no readable NPY array ({reason}); save one channel (h, w) of real numbers with numpy.save."
        ) from error
    return shape, values
