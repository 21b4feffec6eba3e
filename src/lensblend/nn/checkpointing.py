"""Activation checkpointing: blocks of a network keep what goes into them, and compute the rest again for gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils.checkpoint import checkpoint

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_FEWEST = 2  # layers of a block: a single one keeps little more than what goes into it
_PARTS = 3  # a block is no larger than this part of a network: what it computes again is all there at once


def checkpoint_activations(network: nn.Module) -> list[str]:
    """Let a network's blocks compute their activations again during the backward pass, instead of keeping them.

    A block is the largest part, other than plain containers, whose kind occurs more than once and which holds several
    convolutions or linear layers, but no more than a third of the network's. Values and gradients are those without it,
    to the last bit: what is drawn at random is drawn alike, and statistics of BatchNorm and estimates of spectral norms
    are not updated twice. Names, weights and checkpoints stay as they are.

    Args:
        network: Changed in place.

    Returns:
        The names of the blocks; none where a network has no such parts.

    Example:
        >>> from lensblend.backbones.hourglass import Hourglass
        >>> len(checkpoint_activations(Hourglass(width_divisor=16)))
        22

    References:
        T. Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """
    names = list(_blocks(network))
    for name in names:
        block = network.get_submodule(name)
        block.__class__ = _checkpointed(type(block))  # type: ignore[arg-type]  # mypy: a class of modules has no hash
    return names


def _blocks(network: nn.Module) -> Iterator[str]:
    """Give the names of a network's blocks, none of which lies in another."""
    kinds, most = Counter(type(part) for part in network.modules()), _layers(network) / _PARTS
    within = ""
    for name, part in network.named_modules():
        if (within and name.startswith(within)) or isinstance(part, _CONTAINERS):
            continue
        if kinds[type(part)] > 1 and _FEWEST <= _layers(part) <= most:
            within = f"{name}."
            yield name


def _layers(part: nn.Module) -> int:
    return sum(isinstance(layer, _LAYERS) for layer in part.modules())


@cache
def _checkpointed(kind: Any) -> type[nn.Module]:
    """Return a class of modules that are as ``kind``, but keep only what goes into them where gradients are wanted."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        run = partial(kind.forward, self)
        if not torch.is_grad_enabled():
            return run(*args, **kwargs)
        # A list of features may grow before the block computes again.
        args = tuple(copy(value) if isinstance(value, list | dict) else value for value in args)
        return checkpoint(run, *args, use_reentrant=False, context_fn=partial(_contexts, self), **kwargs)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds a block when it computes for the first time, and when it computes again."""
    return nullcontext(), _without_updates(block)


@contextmanager
def _without_updates(block: nn.Module) -> Iterator[None]:
    """Compute as in training, but leave running statistics and estimates as the first time has left them."""
    parts = list(block.modules())
    norms = {part: (part.momentum, part.num_batches_tracked) for part in parts if isinstance(part, _NormBase)}
    estimates = {way: way.training for part in parts if isinstance(part, ParametrizationList) for way in part}
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None  # a new statistic counts for nothing
    for way in estimates:
        way.training = False
    try:
        yield
    finally:
        for norm, (momentum, batches) in norms.items():
            norm.momentum, norm.num_batches_tracked = momentum, batches
        for way, training in estimates.items():
            way.training = training
