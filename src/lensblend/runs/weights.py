"""Bring the weights of a file into a network, or say in one message how the two differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lensblend.backbones.tensor_files import not_finite
from lensblend.errors import DataError, short
from lensblend.runs.earlier import changed_since


def check_fits(network: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse weights that are another network's: of other names, shapes or kinds of numbers.

    Args:
        network: Its weights need not be in memory.
        state: The file's weights.
        file: Where they come from, for messages.

    Raises:
        DataError: They do not fit.
    """
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if was := changed_since(missing, state):
        raise DataError(
            f"{file} holds {was}; the network has been brought to what was published, and these weights would not "
            "mean in it what they meant: train it again, or use the version of lensblend that wrote them."
        )
    if missing or unknown or shapes:
        example = next(iter(missing + unknown + sorted(shapes)))
        raise DataError(
            f"{file} holds another network: {len(missing)} weights are missing, {len(unknown)} are unknown, "
            f"{len(shapes)} have another shape (first: {short(example)[1:-1]}); "
            "use the backbone, kernels and model it was trained with."
        )
    for name, tensor in own.items():
        given = state[name]
        if given.is_floating_point() != tensor.is_floating_point() or (torch.bool in (given.dtype, tensor.dtype)):
            raise DataError(
                f"{file} is damaged: its weight {short(name)} is {given.dtype}, but the network's is {tensor.dtype}; "
                "use another copy."
            )


def load_weights(network: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Copy weights into a network.

    Raises:
        DataError: They do not fit, or are not finite in the network's precision.
    """
    check_fits(network, state, file)
    network.load_state_dict(dict(state))
    wrong = not_finite(network.state_dict())
    if wrong:
        raise DataError(
            f"{file} holds {len(wrong)} weights that are not finite (first: {short(wrong[0])[1:-1]}) and would render "
            "nothing; use a checkpoint from before the training went wrong."
        )
