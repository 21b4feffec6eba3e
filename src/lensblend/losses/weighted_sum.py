"""A loss as data: named terms, each with a weight and with what it compares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its universal name

from lensblend.errors import RequestError

PYRAMID = "pyramid"


class WeightedSum(nn.Module):
    r"""Add named losses: :math:`\sum_t w_t \, l_t(\text{predicted}[c_t], \text{truth}[c_t])`.

    All terms are computed in float32 with autocast off: SSIM of smooth photos loses all meaning in bfloat16.
    A term of weight 0 is computed without a gradient: it is logged, not trained.

    Args:
        terms: By name, ``weight`` (finite, not negative; at least one is positive), ``compares`` (what is
            compared: ``bokeh``, or a name that the network returns beside it) and ``loss`` (a module of two tensors).
            ``compares: pyramid`` adds up the loss over a network's coarser renderings, each against the target reduced
            by area to its size; with ``decay``, the n-th of them weighs ``decay`` to the power of n.

    Raises:
        RequestError: A term is incomplete, has an unknown key, or no weight is positive.

    Example:
        >>> loss = WeightedSum({"l1": {"weight": 2.0, "compares": "bokeh", "loss": nn.L1Loss()}})
        >>> total, values = loss({"bokeh": torch.zeros(1, 3, 2, 2)}, {"bokeh": torch.ones(1, 3, 2, 2)})
        >>> total.item(), values["l1"].item()
        (2.0, 1.0)
    """

    def __init__(self, terms: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        for name, term in terms.items():
            check_term(name, term)
        if not any(term["weight"] > 0 for term in terms.values()):
            weights = {name: term["weight"] for name, term in terms.items()}
            raise RequestError(f"A loss trains at least one term, but got the weights {weights}; make one positive.")
        self.weights = {name: float(term["weight"]) for name, term in terms.items()}
        self.decays = {name: float(term.get("decay", 1.0)) for name, term in terms.items()}
        self.compares = {name: str(term["compares"]) for name, term in terms.items()}
        self.losses = nn.ModuleDict({name: term["loss"] for name, term in terms.items()})

    def forward(
        self, predicted: Mapping[str, Tensor | Sequence[Tensor]], truth: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Compare what a network returns with what is known.

        Args:
            predicted: ``bokeh`` and the network's intermediates by name; ``pyramid`` is a sequence, any order.
            truth: ``bokeh`` (the target) and, where the data has them, ``mask``, ``saliency``, ``disparity``.

        Returns:
            The total, with its gradient, and every term's value, unweighted and detached.

        Raises:
            RequestError: What a term compares is missing or does not fit in shape.
        """
        trained: list[Tensor] = []
        values: dict[str, Tensor] = {}
        for name, weight in self.weights.items():
            parts: list[Tensor] = []
            trains = torch.is_grad_enabled() and weight > 0
            for share, level, known in self._compared(name, predicted, truth):
                with torch.set_grad_enabled(trains), torch.autocast(known.device.type, enabled=False):
                    parts.append(share * self.losses[name](level, known))
            with torch.set_grad_enabled(trains):
                value = torch.stack(parts).sum()
            values[name] = value.detach()
            if weight > 0:
                trained.append(weight * value)
        return torch.stack(trained).sum(), values

    def _compared(
        self, name: str, predicted: Mapping[str, Any], truth: Mapping[str, Any]
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yield what a term compares in float32, with its share: the two, or each level of a pyramid."""
        compared = self.compares[name]
        ours = _pick(name, compared, predicted, "the network returns")
        theirs = _pick(name, "bokeh" if compared == PYRAMID else compared, truth, "the data carries").float()
        levels = [ours] if isinstance(ours, Tensor) else list(ours)
        if not levels:
            raise RequestError(f"Term `{name}` compares `{compared}`, but the network returned none; change that.")
        for number, level in enumerate(levels, start=1):
            share = self.decays[name] ** number if compared == PYRAMID else 1.0
            reference = _reduce(theirs, level) if compared == PYRAMID else theirs
            _check_shapes(name, compared, level, reference)
            yield share, level.float(), reference


def check_term(name: str, term: Mapping[str, Any]) -> None:
    """Refuse a term that could not be computed, or whose name could not be a module's.

    Args:
        name: Its name.
        term: Its keys; the loss is a module.

    Raises:
        RequestError: It could not.
    """
    if "." in name or not name:
        raise RequestError(f"A term's name is not empty and has no dot, but got {name!r}; use an underscore.")
    if set(term) - {"decay"} != {"weight", "compares", "loss"}:
        raise RequestError(
            f"Term `{name}` has the keys `weight`, `compares` and `loss`, but got {sorted(map(str, term))}."
        )
    if not isinstance(term["compares"], str):
        raise RequestError(f"`compares` of term `{name}` is a name, such as bokeh, but got {term['compares']!r}.")
    decay = term.get("decay", 1.0)
    is_number = isinstance(decay, int | float) and not isinstance(decay, bool)
    if "decay" in term and (term["compares"] != PYRAMID or not is_number or not decay > 0):
        raise RequestError(f"`decay` of term `{name}` is positive and for `compares: pyramid` only, but got {decay!r}.")
    weight = term["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        raise RequestError(f"The weight of term `{name}` is finite and at least 0 (only logged), but got {weight!r}.")
    if not isinstance(term["loss"], nn.Module):
        raise RequestError(f"The loss of term `{name}` is a module, but got {term['loss']!r}; give it a `_target_`.")


def _pick(name: str, key: str, available: Mapping[str, Any], whose: str) -> Any:
    """Return what a term compares."""
    found = available.get(key)
    if found is None:
        keys = sorted(k for k, value in available.items() if value is not None)
        raise RequestError(f"Term `{name}` compares `{key}`, but {whose} only {keys}; change that, or drop the term.")
    return found


def _reduce(target: Tensor, level: Tensor) -> Tensor:
    """Reduce the target by area to the size of one level of a pyramid; a larger level is left to the shape check."""
    height, width = level.shape[-2:]
    if height > target.shape[-2] or width > target.shape[-1]:
        return target
    return F.interpolate(target, (height, width), mode="area")


def _check_shapes(name: str, compared: str, predicted: Tensor, truth: Tensor) -> None:
    """Refuse shapes that would broadcast."""
    if predicted.shape != truth.shape:
        raise RequestError(
            f"Term `{name}` compares equal shapes, but `{compared}` is {tuple(predicted.shape)} from the network and "
            f"{tuple(truth.shape)} in the data; compare something else, or bring both to one size."
        )
