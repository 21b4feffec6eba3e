"""A trained network as it renders the same in less time: BatchNorm within convolutions, ReLU in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def folded(network: NetworkT) -> NetworkT:
    """Change a network, in place, so that it renders the same but for rounding in less time, and return it.

    Each BatchNorm of which a convolution's result is the only input, and that result's only reader, becomes part of the
    convolution's weights; a ReLU that alone reads what one of both has computed writes over it; weights of
    convolutions lie channels last, but of a network that says it renders faster without. Where a part's forward cannot
    be followed, because it depends on values or sizes, what it calls is left as it is.

    Args:
        network: In evaluation mode; it is neither to be trained any more, nor saved.

    Example:
        >>> from lensblend.backbones.hourglass import Hourglass
        >>> network = folded(Hourglass(width_divisor=16).eval())
        >>> any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
        False
    """
    names = Counter(id(part) for _, part in network.named_modules(remove_duplicate=False))
    for parent in list(network.modules()):
        computed = set()  # parts whose result nothing else can hold
        for before, after in list(_successive(parent)):
            first, second = parent.get_submodule(before), parent.get_submodule(after)
            if names[id(first)] > 1 or names[id(second)] > 1 or not (_plain(first) and _plain(second)):
                continue
            rest = _rest(second) if isinstance(second, nn.BatchNorm2d) else None
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and rest is not None:
                _fold(first, second)
                parent.set_submodule(after, rest.eval())
                computed.add(after)
            elif isinstance(second, nn.ReLU) and (before in computed or isinstance(first, nn.Conv2d | nn.BatchNorm2d)):
                second.inplace = True
    if not getattr(network, "renders_channels_last", True):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _successive(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Give the names of two parts of which the second is all that takes the first's result, in their order.

    Each is called once.
    """
    if not any(isinstance(part, nn.BatchNorm2d | nn.ReLU) for part in parent.modules() if part is not parent):
        return
    if type(parent) is nn.Sequential:  # known without following it, which takes longer
        yield from pairwise(name for name, _ in parent.named_children())
        return
    try:
        graph = _Parts().trace(parent)
    except Exception:  # whatever a forward raises that computes with what stands for a tensor
        return
    times = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 and not node.kwargs else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        if times[str(before.target)] == times[str(node.target)] == 1:
            yield str(before.target), str(node.target)


class _Parts(fx.Tracer):
    """Follows a module's own forward, and none of its parts'."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Take every part as it is."""
        return True


def _plain(part: nn.Module) -> bool:
    """Tell whether a part computes nothing but what its class says, by the weights that it holds."""
    hooks = (part._forward_hooks, part._forward_pre_hooks)
    return not is_parametrized(part) and not any(hooks) and not part.training


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )


def _rest(norm: nn.BatchNorm2d) -> nn.Module | None:
    """Return what a BatchNorm does beside normalising by statistics of the training; None where nobody knows."""
    if norm.running_mean is None:
        return None
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    from timm.layers.norm_act import BatchNormAct2d  # takes seconds to import

    return norm.act if type(norm) is BatchNormAct2d else None
