"""MegaDepth's published weights, brought into this project's hourglass.

The authors' ``best_generalization_net_G.pth`` names its tensors by position (``module.1.0.0.0.weight``), so that only
their order says what they are. That order is a traversal of the released graph: on the two finer levels the main
branch comes before the skip, on the two coarser ones after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.backbones.tensor_files import read_tensors
from lensblend.errors import DataError, RequestError

# Positions 2 and 3 are the coarser levels; the head, which the hourglass does not have, comes last.
TRAVERSAL = (
    "stem",
    "descents.0",
    "descents.1",
    "skips.2",
    "descents.2",
    "skips.3",
    "descents.3",
    "ascents.3",
    "ascents.2",
    "ascents.1",
    "skips.1",
    "ascents.0",
    "skips.0",
)
BLENDING_MAPS = 4  # of DBSI's own file: kernels of 75, 45 and 25 pixels, and the photo, in that order
EXPECTED = "MegaDepth's `best_generalization_net_G.pth`, or DBSI's `phase3_best.pth`"
COUNTER = "num_batches_tracked"  # absent from files older than PyTorch 0.4.1


class MegaDepth(NamedTuple):
    """Published weights: ``trunk`` fits `Hourglass`, ``head`` a 3×3 convolution from 64 features.

    It gives log depth, or, in the file of a trained DBSI, the four blending maps, which are the photo's first here.
    """

    trunk: dict[str, Tensor]
    head: dict[str, Tensor]


def read_megadepth(path: str | Path) -> MegaDepth:
    """Read and convert MegaDepth's published file without running any code in it.

    Args:
        path: The authors' ``best_generalization_net_G.pth``, or another file of the same graph; also that of a DBSI of
            three kernels by its author, ``phase3_best.pth``.
    """
    tensors = read_tensors(path, EXPECTED)
    try:
        return convert_megadepth(tensors)
    except DataError as error:
        raise DataError(f'"{path}": {error}') from error


def convert_megadepth(tensors: Mapping[str, Tensor]) -> MegaDepth:
    """Rename the tensors of the released graph by their order, and check the kind and shape of each.

    Args:
        tensors: In the file's order, with or without the prefix ``module.`` of ``DataParallel`` and with or without
            the batch counters of BatchNorm: 779 entries, or 624 without counters.
    """
    last = tuple(list(tensors.values())[-1].shape) if tensors else ()
    outputs = BLENDING_MAPS if last == (BLENDING_MAPS,) else 1
    wanted = _wanted(outputs)
    given = [name for name in tensors if not name.endswith(f".{COUNTER}")]
    for (ours, shape), name in zip(wanted.items(), given, strict=False):
        found = tuple(tensors[name].shape)
        if name.rpartition(".")[2] != ours.rpartition(".")[2] or found != shape:
            raise DataError(
                f"entry {given.index(name)}, `{name}` of shape {list(found)}, stands where the hourglass has "
                f"`{ours}` of shape {list(shape)}; give {EXPECTED}, as downloaded."
            )
    if len(given) != len(wanted):
        raise DataError(
            f"it has {len(given)} tensors, but the hourglass and its head have {len(wanted)}; "
            f"give {EXPECTED}, as downloaded."
        )
    converted = {}
    for ours, name in zip(wanted, given, strict=True):
        converted[ours] = tensors[name].detach()
        if ours.endswith(".running_var"):
            counter = tensors.get(name.replace("running_var", COUNTER), torch.tensor(0))
            converted[ours.replace("running_var", COUNTER)] = counter.detach()
    # Alone, a map of log depth stays as it is.
    head = {name: converted.pop(f"head.{name}").flip(0) for name in _head_shapes(outputs)}
    return MegaDepth(converted, head)


def load_megadepth(trunk: nn.Module, path: str | Path) -> MegaDepth:
    """Start a network's hourglass from MegaDepth's weights.

    Only the last layer is replaced (Dutta 2021, section 3.2): a blending head keeps its own initialisation.

    Args:
        trunk: A full-width `Hourglass`; any other is refused.
        path: As for `read_megadepth`.

    Returns:
        All that the file holds.
    """
    if not isinstance(trunk, Hourglass) or trunk.out_channels != 64:
        width = f" of {trunk.out_channels} features" if isinstance(trunk, Hourglass) else ""
        raise RequestError(
            f'"{path}" is taken for MegaDepth\'s weights, which fit `Hourglass()` of 64 features, but the backbone is '
            f"{type(trunk).__name__}{width}; use `width_divisor=1`, or start another backbone from weights of its own."
        )
    weights = read_megadepth(path)
    trunk.load_state_dict(weights.trunk)
    return weights


def _head_shapes(outputs: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (outputs, 64, 3, 3), "bias": (outputs,)}


def _wanted(outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors but the counters, in the order of the released graph."""
    with torch.device("meta"):
        trunk = Hourglass()
    shapes = {
        f"{part}.{name}": tuple(tensor.shape)
        for part in TRAVERSAL
        for name, tensor in trunk.get_submodule(part).state_dict().items()
        if not name.endswith(COUNTER)
    }
    return shapes | {f"head.{name}": shape for name, shape in _head_shapes(outputs).items()}
