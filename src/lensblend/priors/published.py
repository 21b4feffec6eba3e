"""Published weights under their authors' names, brought into this project's networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError

COUNTER = ".num_batches_tracked"  # absent from files older than PyTorch 0.4.1


def published_tensors(path: str | Path, expected: str) -> dict[str, Tensor]:
    """Return the tensors of a published file by name, without the prefix ``module.`` of ``DataParallel``.

    Args:
        path: The file.
        expected: The file that is wanted, for messages.

    Raises:
        WeightsMissingError: There is no such file.
        DataError: It is damaged.
    """
    return {name.removeprefix("module."): tensor for name, tensor in read_tensors(path, expected).items()}


def load_renamed(
    network: nn.Module,
    path: str | Path,
    beginnings: Mapping[str, str],
    expected: str,
    given: Mapping[str, Tensor] | None = None,
) -> None:
    """Fill a whole network from a file whose tensors differ in how their names begin.

    Tensors that the network does not have are left out, and BatchNorm's counters may be missing.

    Args:
        network: At its published width.
        path: The file, with or without the prefix ``module.`` of ``DataParallel``.
        beginnings: By how our names begin, how the file's do; every name begins in one of these ways.
        expected: The file that is wanted, for messages.
        given: What the file holds, where it has been read.

    Raises:
        WeightsMissingError: There is no such file.
        DataError: It is damaged, lacks a tensor, or has one of another shape; the first is named.
    """
    given = published_tensors(path, expected) if given is None else given
    loaded = {}
    for name, current in network.state_dict().items():
        ours = next(beginning for beginning in beginnings if name.startswith(f"{beginning}."))
        theirs = beginnings[ours] + name.removeprefix(ours)
        tensor = given.get(theirs)
        if tensor is None and name.endswith(COUNTER):
            tensor = torch.zeros_like(current)
        if tensor is None or tensor.shape != current.shape:
            found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
            raise DataError(
                f'"{path}": `{theirs}` {found}, but `{name}` needs shape {list(current.shape)}; '
                f"give {expected}, and `width_divisor: 1`."
            )
        loaded[name] = tensor
    network.load_state_dict(loaded)
