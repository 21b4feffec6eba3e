"""Bring the weights of a file into a network, or say in one message how the two differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lensblend.backbones.tensor_files import not_finite
from lensblend.errors import DataError, short
from lensblend.runs.earlier import changed_since

WHOLE = "use the backbone, kernels and model it was trained with"


def check_fits(network: nn.Module, state: Mapping[str, Tensor], file: Path, remedy: str = WHOLE) -> None:
    """Refuse weights that are another network's: of other names, shapes or kinds of numbers.

    Args:
        network: Its weights need not be in memory.
        state: The file's weights.
        file: Where they come from, for messages.
        remedy: What helps where it is another network.

    Raises:
        DataError: They do not fit.
    """
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    refuse_earlier(missing, state, file)
    if missing or unknown or shapes:
        example = next(iter(missing + unknown + sorted(shapes)))
        raise DataError(
            f"{file} holds another network: {len(missing)} weights are missing, {len(unknown)} are unknown, "
            f"{len(shapes)} have another shape (first: {short(example)[1:-1]}); {remedy}."
        )
    for name, tensor in own.items():
        given = state[name]
        if not _of_a_kind(given, tensor):
            raise DataError(
                f"{file} is damaged: its weight {short(name)} is {given.dtype}, but the network's is {tensor.dtype}; "
                "use another copy."
            )


def alike(one: Tensor, other: Tensor) -> bool:
    """Tell whether two weights are of one shape and one kind of numbers."""
    return one.shape == other.shape and _of_a_kind(one, other)


def _of_a_kind(one: Tensor, other: Tensor) -> bool:
    return one.is_floating_point() == other.is_floating_point() and torch.bool not in (one.dtype, other.dtype)


def refuse_earlier(missing: Collection[str], state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse the weights of a network that computed something else under the same name in an earlier version.

    Raises:
        DataError: They are such.
    """
    if was := changed_since(missing, state):
        raise DataError(
            f"{file} holds {was}; the network has been brought to what was published, and these weights would not "
            "mean in it what they meant: train it again, or use the version of lensblend that wrote them."
        )


def load_weights(network: nn.Module, state: Mapping[str, Tensor], file: Path, remedy: str = WHOLE) -> None:
    """Copy weights into a network; ``remedy`` is what helps where they are another's.

    Raises:
        DataError: They do not fit, or are not finite in the network's precision.
    """
    check_fits(network, state, file, remedy)
    network.load_state_dict(dict(state))
    refuse_infinite(network, file)


def refuse_infinite(network: nn.Module, file: Path) -> None:
    """Refuse weights that are not finite, now that they are in a network.

    Raises:
        DataError: Some are not.
    """
    wrong = not_finite(network.state_dict())
    if wrong:
        raise DataError(
            f"{file} holds {len(wrong)} weights that are not finite (first: {short(wrong[0])[1:-1]}) and would render "
            "nothing; use a checkpoint from before the training went wrong."
        )
