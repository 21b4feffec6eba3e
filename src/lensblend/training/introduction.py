"""What is said of a phase before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lensblend.runs.messages import say
from lensblend.runs.processes import machines
from lensblend.training.batches import batch_of_process, kind_of_device, processes_together
from lensblend.training.learning_rate import Length
from lensblend.training.phases import Phase
from lensblend.training.speed import precision_words


def introduce(
    name: str, phase: Phase, network: nn.Module, own_terms: Sequence[str], trainer: Mapping[str, Any], start: str
) -> None:
    """Say what a phase trains, how, where, and from what.

    Args:
        name: The phase's.
        phase: What it does.
        network: What is trained, frozen where it is.
        own_terms: What its module adds to the terms of the loss.
        trainer: The configuration's ``trainer``.
        start: Where the weights come from.
    """
    parameters, trained = ([p for p in network.parameters() if p.requires_grad or every] for every in (True, False))
    height, width = phase.image_size
    if not trained:
        say(f"\n{name}: at {height}×{width} (height×width); no weights to train, scored as it is")
        return
    rates = (
        f"{phase.lr:g} by {phase.scheduler['_target_'].rpartition('.')[2]}"
        if phase.scheduler
        else (f"{phase.lr:g} → {phase.lr_final:g}")
    )
    terms = [term for term, node in phase.loss.items() if node]
    count, of_it = (sum(p.numel() for p in some) for some in (parameters, trained))
    crops = f", crops of {phase.crop[0]}×{phase.crop[1]}" if phase.crop else ""
    say(
        f"\n{name}: {length_words(phase.length)} at {height}×{width} (height×width){crops}, "
        f"{batch_words(phase.batch_size, trainer)}, {' + '.join([*terms, *own_terms])}, learning rate {rates}; "
        f"{count:,} parameters{'' if of_it == count else f', {of_it:,} of them trained'}; "
        f"{device_words(trainer)}, precision {precision_words(trainer, kind_of_device(trainer) == 'GPU')}; {start}"
    )


def length_words(length: Length) -> str:
    """Say how long a phase trains.

    Example:
        >>> length_words(Length(1)), length_words(Length(45, 200000)), length_words(Length(None, 10))
        ('1 epoch', '45 epochs or 200,000 steps', '10 steps')
    """
    limits = [(length.epochs, "epoch"), (length.steps, "step")]
    return " or ".join(f"{count:,} {unit}{'s' if count > 1 else ''}" for count, unit in limits if count is not None)


def batch_words(batch_size: int, trainer: Mapping[str, Any]) -> str:
    """Say how many pairs a process takes at once and, where that is another number, an optimizer step.

    Example:
        >>> batch_words(8, {"accelerator": "cpu", "devices": 2, "accumulate_grad_batches": 3})
        'batch 8 × 2 processes × 3 accumulated = 48'
        >>> batch_words(8, {"accelerator": "cpu", "devices": 2, "global_batch": True})
        'batch 4 × 2 processes = 8'
        >>> batch_words(8, {"accelerator": "cpu", "devices": 1})
        'batch 8'
    """
    batch_size = batch_of_process(batch_size, trainer)
    each = {"processes": processes_together(trainer), "accumulated": int(trainer.get("accumulate_grad_batches") or 1)}
    factors = {word: number for word, number in each.items() if number > 1}
    total = batch_size
    for number in factors.values():
        total *= number
    words = "".join(f" × {number} {word}" for word, number in factors.items())
    return f"batch {batch_size}{f'{words} = {total}' if words else ''}"


def device_words(trainer: Mapping[str, Any]) -> str:
    """Say where a training computes.

    Example:
        >>> device_words({"accelerator": "cpu", "devices": 2})
        'on the CPU in 2 processes'
    """
    kind, count = kind_of_device(trainer), processes_together(trainer)
    if kind != "GPU":
        return f"on {kind if kind != 'CPU' else 'the CPU'}{f' in {count} processes' if count > 1 else ''}"
    name = torch.cuda.get_device_name(0)
    nodes = machines(trainer)
    on = f" of {nodes} machines" if nodes > 1 else ""
    return f"on {f'{count} GPUs' if count > 1 else 'a GPU'}{on} ({name})"
