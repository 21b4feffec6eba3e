"""What a training may do faster in other roundings: TF32, an optimizer in one kernel, the fastest convolutions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from lensblend.errors import RequestError
from lensblend.runs.instantiate import classes_in
from lensblend.runs.roles import OPTIMIZER

# Of optimizers: ways to take a step of which `fused` is one.
_WAYS = ("fused", "foreach", "differentiable")
_BF16 = (8, 0)  # compute capability


def check_speed(trainer: Mapping[str, Any], steps_by_itself: bool) -> None:
    """Refuse what a training cannot do faster.

    Args:
        trainer: The configuration's ``trainer``.
        steps_by_itself: Whether the module takes its optimizers' steps itself.

    Raises:
        RequestError: TF32 is chosen for the CPU; the GPU has no bfloat16; or gradients would be clipped before a fused
            optimizer unscales them.
    """
    if trainer.get("tf32") is not None and trainer.get("accelerator") == "cpu":
        raise RequestError(
            f"`trainer.tf32={str(trainer['tf32']).lower()}` would have no effect on the CPU, which has no TF32; "
            "leave it out."
        )
    wants_gpu = trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if wants_gpu and str(trainer.get("precision")).startswith("bf16") and torch.cuda.get_device_capability() < _BF16:
        raise RequestError(
            f"`trainer.precision` is {trainer['precision']}, but {torch.cuda.get_device_name()} computes no bfloat16, "
            "which needs compute capability 8.0; use trainer.precision=16-mixed."
        )
    clips = trainer.get("gradient_clip_val") is not None and not steps_by_itself
    if trainer.get("fused_optimizer") and clips and str(trainer.get("precision")) in ("16", "16-mixed"):
        raise RequestError(
            "`trainer.fused_optimizer=true` unscales the gradients of 16-mixed itself, so that they cannot be clipped "
            "before; use trainer.fused_optimizer=false, or trainer.precision=bf16-mixed."
        )


@contextmanager
def tf32_as_chosen(trainer: Mapping[str, Any]) -> Iterator[None]:
    """Let float32 products and convolutions on a GPU take TF32, or not, as ``trainer.tf32`` says; null changes nothing.

    The switches belong to the whole process; they are put back on leaving. Blurs, blending, losses and scores are
    computed without TF32 whatever is chosen, see `lensblend.ops.precision`.
    """
    chosen = trainer.get("tf32")
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches if chosen is not None else ():
            switch.fp32_precision = "tf32" if chosen else "ieee"
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def precision_words(trainer: Mapping[str, Any], on_gpu: bool) -> str:
    """Say in what precision a training computes; on a GPU also where single precision is TF32.

    Example:
        >>> precision_words({"precision": "32-true", "tf32": False}, True)
        '32-true without TF32'
        >>> precision_words({"precision": "bf16-mixed"}, True)
        'bf16-mixed'
    """
    precision = str(trainer.get("precision") or "32-true")
    if not on_gpu or not precision.startswith("32"):
        return precision
    tf32 = {True: "with TF32", False: "without TF32", None: "with TF32 in convolutions"}
    return f"{precision} {tf32[trainer.get('tf32')]}"


def optimizer_node(node: Mapping[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer's node, in one kernel for all weights where that is chosen and the optimizer can.

    Args:
        node: As a phase describes it.
        trainer: The configuration's ``trainer``, whose ``fused_optimizer`` chooses.

    Example:
        >>> optimizer_node({"_target_": "torch.optim.Adam"}, {"fused_optimizer": True})
        {'_target_': 'torch.optim.Adam', 'fused': True}
        >>> optimizer_node({"_target_": "torch.optim.RMSprop"}, {"fused_optimizer": True})
        {'_target_': 'torch.optim.RMSprop'}
    """
    kind = next(classes_in(node, "optimizer", OPTIMIZER))
    can = "fused" in inspect.signature(kind).parameters and not any(node.get(way) is not None for way in _WAYS)
    return {**node, "fused": True} if trainer.get("fused_optimizer") and can else dict(node)
