"""Published weights under their authors' names, brought into this project's networks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError, short

COUNTER = ".num_batches_tracked"  # absent from files older than PyTorch 0.4.1


class Layout(NamedTuple):
    """What a file of a network's authors calls its tensors.

    Attributes:
        expected: The file, for messages.
        network: The network of ours that it fits, for messages.
        names: By our tensors' names, or whole parts of them at their beginning, the file's.
        unused: How names of tensors begin that are in the file, and take no part in what its network computes.
    """

    expected: str
    network: str
    names: Mapping[str, str]
    unused: Sequence[str] = ()


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
    unused: Sequence[str] = (),
) -> None:
    """Fill a whole network from a file whose tensors differ in how their names begin.

    Tensors that the network does not have are left out, which is said, and BatchNorm's counters may be missing.

    Args:
        network: At its published width.
        path: The file, with or without the prefix ``module.`` of ``DataParallel``.
        beginnings: By how our names begin, how the file's do; every name begins in one of these ways.
        expected: The file that is wanted, for messages.
        given: What the file holds, where it has been read.
        unused: How names of tensors begin that are known to take no part in what the file's network computes.

    Raises:
        WeightsMissingError: There is no such file.
        DataError: It is damaged, lacks a tensor, or has one of another shape; the first is named.
    """
    given = published_tensors(path, expected) if given is None else given
    loaded = {}
    for name, current in network.state_dict().items():
        theirs = _renamed(name, beginnings)
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
    taken = {_renamed(name, beginnings) for name in loaded}
    left_out = [name for name in given if name not in taken and not name.startswith(tuple(unused))]
    if left_out:
        logging.getLogger(__name__).warning(
            '"%s": %d of %d tensors are of no use to %s and were left out (first: %s).',
            *(path, len(left_out), len(given), type(network).__name__, _shown(left_out[0], given)),
        )


def load_exactly(
    network: nn.Module, path: str | Path, layout: Layout, given: Mapping[str, Tensor] | None = None
) -> None:
    """Fill a whole network from its authors' file; only BatchNorm's counters may be missing, and nothing is left over.

    Args:
        network: Receives the weights.
        path: The file, with or without the prefix ``module.`` of ``DataParallel``.
        layout: What its tensors are called.
        given: What the file holds, where it has been read.

    Raises:
        WeightsMissingError: There is no such file.
        DataError: It is damaged; or tensors are missing, unknown or of another shape: the first of each kind is named,
            and what the file holds.
    """
    given = published_tensors(path, layout.expected) if given is None else given
    own = network.state_dict()
    theirs = {name: _renamed(name, layout.names) for name in own}
    missing = [name for name in own if theirs[name] not in given and not name.endswith(COUNTER)]
    shapes = [name for name in own if theirs[name] in given and given[theirs[name]].shape != own[name].shape]
    taken = {*theirs.values()}
    unknown = [name for name in given if name not in taken and not name.startswith(tuple(layout.unused))]
    wrong = []
    if missing:
        needed = f"{list(own[missing[0]].shape)} for `{missing[0]}`"
        wrong.append(f"{len(missing)} tensors are missing (first: `{theirs[missing[0]]}` {needed})")
    if shapes:
        found, wanted = (list(tensors[name].shape) for tensors, name in ((given, theirs[shapes[0]]), (own, shapes[0])))
        wrong.append(f"{len(shapes)} have another shape (first: `{theirs[shapes[0]]}` {found}, not {wanted})")
    if unknown:
        wrong.append(f"{len(unknown)} are unknown (first: {_shown(unknown[0], given)})")
    if wrong:
        holds = f"the file's {len(given)} begin with {_shown(next(iter(given)), given)}" if given else "it is empty"
        raise DataError(f'"{path}": {", ".join(wrong)}; {holds}. Give {layout.expected}, with {layout.network}.')
    network.load_state_dict({name: given.get(theirs[name], torch.zeros_like(own[name])) for name in own})


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """Return the file's name of a tensor of ours; one that no file has stays as it is."""
    ours = next((beginning for beginning in names if f"{name}.".startswith(f"{beginning}.")), "")
    return names.get(ours, "") + name.removeprefix(ours)


def _shown(name: str, tensors: Mapping[str, Tensor]) -> str:
    return f"{short(name)[1:-1]} {list(tensors[name].shape)}"
