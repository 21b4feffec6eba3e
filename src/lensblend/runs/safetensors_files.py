"""Networks as safetensors: their weights and, in the file's header, what a checkpoint says of itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lensblend.backbones.tensor_files import not_finite
from lensblend.data.regular_files import open_regular
from lensblend.errors import DataError, RequestError
from lensblend.runs.contents import RECORD, DamagedError, check_content, require, unreadable
from lensblend.storage import json_text, write_atomically

SUFFIX = ".safetensors"
DIGEST = "weights_sha256"
LARGEST = 2**31  # bytes
_LONGEST_HEADER = 2**23  # bytes; thousands of tensors and a configuration take a few of 2**20
_LENGTH = 8  # bytes that say how long the header is


def write_network(state: Mapping[str, Tensor], record: Mapping[str, Any], path: Path, half: bool = False) -> None:
    """Write a network's weights and its record; a reader sees the whole file or none.

    Args:
        state: Weights by name.
        record: What a checkpoint says of itself, see `lensblend.runs.checkpoints.describe`.
        path: The file.
        half: Store weights of two or more dimensions in half precision. Biases, and what normalizes, keep theirs:
            they are few, and variances may be far below what half precision tells apart.

    Raises:
        RequestError: A weight is too large for half precision.
        StorageError: The file could not be written.
    """
    stored = {name: _stored(tensor, half) for name, tensor in state.items()}
    if half and (wrong := not_finite(stored)):
        raise RequestError(
            f"`--half` cannot hold {len(wrong)} weights, which are above {torch.finfo(torch.float16).max:,.0f} "
            f"(first: {wrong[0]}); leave it out."
        )
    weights = save(stored)
    digest = hashlib.sha256(weights[_LENGTH + _header_length(weights) :]).hexdigest()
    # One key: the order of several would change from file to file.
    metadata = {RECORD: json_text({**record, DIGEST: digest}, indent=None)}
    write_atomically(path, save(stored, metadata))


def _stored(tensor: Tensor, half: bool) -> Tensor:
    halved = half and tensor.is_floating_point() and tensor.ndim > 1
    # Weights that are shared are written twice, views as what they show.
    return (tensor.half() if halved else tensor).detach().cpu().clone(memory_format=torch.contiguous_format)


def read_network(path: Path) -> dict[str, Any]:
    """Read what `write_network` wrote, as the content of a checkpoint: its record and its ``state_dict``.

    Raises:
        DataError: The file is of another origin or of a newer format.
        DamagedError: It is damaged.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise unreadable(path, f"it is longer than {LARGEST:,} bytes")
        header = _header(file, path)
        state = _mapped(file, path)
        record = _record(header, path)
        checked = check_content({RECORD: record, "state_dict": state}, path)
        require(record, path, DIGEST)
        if hashlib.file_digest(file, "sha256").hexdigest() != record[DIGEST]:
            raise DamagedError(f"{path} is damaged: its weights are not those that were exported; use another copy.")
    return checked


def _mapped(file: BufferedReader, path: Path) -> dict[str, Tensor]:
    """Return a file's tensors by name, which stay on disk until they are used: they may be another network's."""
    try:
        # Opened by its number, because safetensors takes no names but in UTF-8.
        with safe_open(f"/dev/fd/{file.fileno()}", "pt") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118  (it is no mapping)
    except Exception as error:  # what a damaged header leads to; some of it is raised by PyTorch
        raise unreadable(path, str(error) or type(error).__name__) from None


def holds_network(path: Path) -> bool:
    """Tell whether a file is one of `write_network`'s, and not any other safetensors."""
    if path.suffix != SUFFIX:
        return False
    try:
        with open_regular(path) as file:
            return RECORD in _header(file, path).get("__metadata__", {})
    except (OSError, DataError):
        return False


def _header_length(start: bytes) -> int:
    return int.from_bytes(start[:_LENGTH], "little")


def _header(file: BufferedReader, path: Path) -> dict[str, Any]:
    """Return a file's header, whose texts are not looked into yet, and leave the file at its end."""
    start = file.read(_LENGTH)
    length = _header_length(start)
    if len(start) < _LENGTH or length > _LONGEST_HEADER:
        found = f"is {length:,} bytes long, above {_LONGEST_HEADER:,}" if len(start) == _LENGTH else "is missing"
        raise unreadable(path, f"its header {found}")
    text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise unreadable(path, "its header is no JSON") from None
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise unreadable(path, "its header is no list of tensors")
    return header


def _record(header: Mapping[str, Any], path: Path) -> Any:
    text = header.get("__metadata__", {}).get(RECORD)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise DamagedError(f"{path} is damaged: its record is no JSON; use another copy.") from None
