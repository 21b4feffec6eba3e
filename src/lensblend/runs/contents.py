"""What a checkpoint may hold: checked when it is read, so that whoever uses it meets what it expects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lensblend.data.images import MAX_PIXELS
from lensblend.data.sizes import check_image_size
from lensblend.errors import DataError, RequestError, short
from lensblend.runs.documents import check_plain
from lensblend.runs.files import is_name

RECORD = "lensblend"
FORMAT = 2
_MOST_OBJECTS = 1_000_000
_POSITION = ("epoch", "batch", "batches")
_LARGEST = 2**53
_KINDS: dict[str, tuple[type, str]] = {
    "network": (dict, "a mapping with a `_target_`"),
    "phase": (str, "a text"),
    "config": (str, "a text"),
    "parent": (dict, "a mapping of texts"),
    "versions": (dict, "a mapping of texts"),
    "commits": (dict, "a mapping of texts"),
    "card": (dict, "a mapping of texts and numbers"),
    "position": (dict, "a mapping of epoch, batch and batches"),
}


class DamagedError(DataError):
    """A checkpoint that was whole once; the one before it may still be."""


def unreadable(path: Path, reason: str) -> DamagedError:
    """Return the error for a file that is no checkpoint at all."""
    first = reason.strip().splitlines()[0][:200] if reason.strip() else "no further word"
    return DamagedError(f"{path} cannot be read as a checkpoint ({first}); it may be damaged or of other origin.")


def check_content(content: Any, path: Path) -> dict[str, Any]:
    """Return a checkpoint's content, or refuse it.

    Args:
        content: What `torch.load` made of the file.
        path: The file, for messages.

    Raises:
        DataError: It is not of this project, or of a newer format.
        DamagedError: A part is missing, or is not what it should be.
    """
    record = content.get(RECORD) if isinstance(content, dict) else None
    if not isinstance(record, dict) or "network" not in record:
        raise DataError(
            f"{path} is not a lensblend checkpoint: it does not say which network it holds; where it is a "
            "file of a network's authors, name that: network=NAME, or --network NAME (docs/models/authors.md)."
        )
    # The configuration's own text is looked into by whoever uses it.
    check_plain({key: value for key, value in record.items() if key != "config"}, f"{path}: {RECORD}")
    number = record.get("format", 0)
    if not isinstance(number, int):
        raise _wrong(path, "format", number, "a number")
    if number > FORMAT:
        raise DataError(f"{path} has format {number}, newer than {FORMAT}; update lensblend to read it.")
    _check_record(record, path)
    state = content.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise DamagedError(f"{path} is damaged: its `state_dict` is no mapping of names to weights; use another copy.")
    _check_count(content, path, "global_step")
    for where, tensor in _tensors(content, path):
        _check_tensor(where, tensor, path)
    return content


def _check_record(record: Mapping[str, Any], path: Path) -> None:
    """Refuse a record whose parts are of other kinds than `lensblend.runs.checkpoints.describe` writes."""
    for key, (kind, wanted) in _KINDS.items():
        if not isinstance(record.get(key, kind()), kind):
            raise _wrong(path, key, record[key], wanted)
    for key in ("parent", "versions", "commits"):
        if not all(isinstance(value, str) for value in record.get(key, {}).values()):
            raise _wrong(path, key, record[key], _KINDS[key][1])
    _check_card(record.get("card", {}), path)
    _check_count(record, path, "rows")
    if "image_size" in record:
        _check_size(record["image_size"], path)
    if "phase" in record and not is_name(record["phase"]):
        raise _wrong(path, "phase", record["phase"], "a phase's name")
    for name in _POSITION if "position" in record else ():
        if name not in record["position"]:
            raise _wrong(path, "position", record["position"], _KINDS["position"][1])
        _check_count(record["position"], path, name)
    if "position" in record and record["position"]["batch"] > record["position"]["batches"]:
        raise _wrong(path, "position", record["position"], "one within an epoch")


def _check_card(card: Mapping[str, Any], path: Path) -> None:
    if not all(isinstance(value, str | int | float) for value in card.values()):
        raise _wrong(path, "card", card, _KINDS["card"][1])
    f_number = card.get("f_number", 1.0)
    if isinstance(f_number, str | bool) or not 0 < f_number < math.inf:
        raise _wrong(path, "card.f_number", f_number, "a number above 0")


def _check_size(image_size: Any, path: Path) -> None:
    are_sides = isinstance(image_size, list | tuple) and all(isinstance(side, int) for side in image_size)
    try:
        height, width = check_image_size(image_size) if are_sides else (0, 0)
    except RequestError:
        height = 0
    if not height:
        raise _wrong(path, "image_size", image_size, "[height, width]")
    if height * width > MAX_PIXELS:
        raise _wrong(path, "image_size", image_size, f"at most {MAX_PIXELS:,} pixels")


def require(record: Mapping[str, Any], path: Path, *keys: str) -> None:
    """Refuse a checkpoint whose record does not say what it is now used for.

    Raises:
        DamagedError: A key is missing.
    """
    missing = [key for key in keys if key not in record]
    if missing:
        raise DamagedError(f"{path} is damaged: it does not say its `{missing[0]}`; use another copy.")


def _check_count(node: Mapping[str, Any], path: Path, key: str) -> None:
    value = node.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise _wrong(path, key, value, "a number of 0 or more")


def _wrong(path: Path, key: str, value: object, wanted: str) -> DamagedError:
    return DamagedError(f"{path} is damaged: its `{key}` is {short(value)}, not {wanted}; use another copy.")


def _tensors(content: Any, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor in nested mappings and lists once, with the keys that lead to it."""
    waiting: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    while waiting:
        where, node = waiting.pop()
        if isinstance(node, Tensor):
            yield where, node
        elif isinstance(node, Mapping | list | tuple | set) and id(node) not in seen:
            seen.add(id(node))
            if len(seen) > _MOST_OBJECTS:
                raise DamagedError(f"{path} is damaged: it holds over {_MOST_OBJECTS:,} lists; use another copy.")
            items = node.items() if isinstance(node, Mapping) else enumerate(node)
            waiting.extend((f"{where}.{key}" if where else str(key), value) for key, value in items)


def _check_tensor(where: str, tensor: Tensor, path: Path) -> None:
    """Refuse a tensor that is not plain numbers which lie in the file."""
    if (
        tensor.is_nested
        or tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.device.type != "cpu"
        or tensor.is_complex()
    ):
        plain = not (tensor.is_quantized or tensor.is_nested)
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}" if plain else "quantized or nested"
        raise DamagedError(
            f"{path} is damaged: {short(where)} is {kind}, not plain numbers on the CPU; use another copy."
        )
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise DamagedError(
            f"{path} is damaged: {short(where)} claims {tensor.numel():,} numbers, more than the file holds for it; "
            "use another copy."
        )
