"""Names under which a training logs, beside each other and beside the names of the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch.optim import Optimizer

from lensblend.errors import RequestError

TRAIN, EPOCH, VAL, SPEED = "train", "train_epoch", "val", "speed"
LOSS = "loss"
GRADIENT = f"{TRAIN}/grad_norm"
RATE = "lr"


def val_loss(term: str | None = None) -> str:
    """Return the name of a validation's loss, or of one of its terms.

    Example:
        >>> val_loss(), val_loss("l1")
        ('val/loss', 'val/loss/l1')
    """
    return f"{VAL}/{LOSS}" if term is None else f"{VAL}/{LOSS}/{term}"


def is_score(name: str) -> bool:
    """Tell whether a logged name is that of a metric's mean over a validation.

    Example:
        >>> [name for name in ("val/psnr", "val/loss", "val/loss/l1", "train/loss") if is_score(name)]
        ['val/psnr']
    """
    return name.startswith(f"{VAL}/") and name != val_loss() and not name.startswith(val_loss(""))


def check_names(metrics: Iterable[str], terms: Iterable[str]) -> None:
    """Refuse names of metrics and of a loss's terms that would stand for something else among what is logged.

    Raises:
        RequestError: One would.
    """
    for name in metrics:
        if not is_score(f"{VAL}/{name}"):
            raise RequestError(f"`metrics.{name}` would be logged as {VAL}/{name}, the validation's loss; rename it.")
    for name in terms:
        if name == LOSS or f"{TRAIN}/{name}" == GRADIENT:
            raise RequestError(
                f"A loss's term `{name}` would be logged as {TRAIN}/{name}, which stands for something else; rename it."
            )


def logged_names(metrics: Iterable[str], terms: Sequence[str], further: Sequence[str]) -> list[str]:
    """Return the names under which every training logs.

    Args:
        metrics: Their names.
        terms: Names of the terms of the loss, the module's own among them.
        further: Names of what else the module logs beside them.
    """
    losses = [LOSS, *sorted(terms)]
    trained = [f"{kind}/{name}" for kind in (TRAIN, EPOCH) for name in (*losses, *further)]
    validated = [val_loss(), *(val_loss(term) for term in sorted(terms))]
    return [*(f"{VAL}/{name}" for name in metrics), *trained, GRADIENT, *validated, RATE, "epoch", "step"]


def rates(optimizers: Sequence[Optimizer], names: Sequence[str]) -> dict[str, float]:
    """Return the learning rate of every group of parameters by the name under which it is logged.

    ``lr`` is the first one's; of several, each has its own name beside it.

    Args:
        optimizers: In the module's order.
        names: What each of them trains; of a single one it is left out.

    Example:
        >>> import torch
        >>> from torch import nn, optim
        >>> weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
        >>> groups = [{"params": weights[:1], "name": "head"}, {"params": weights[1:], "lr": 0.5}]
        >>> rates([optim.SGD(groups, lr=0.25)], [])
        {'lr': 0.25, 'lr/head': 0.25, 'lr/1': 0.5}
    """
    found = {}
    for number, optimizer in enumerate(optimizers):
        parts = [names[number] if number < len(names) else str(number)] if len(optimizers) > 1 else []
        several = len(optimizer.param_groups) > 1
        for place, group in enumerate(optimizer.param_groups):
            of_group = [str(group.get("name", place))] if several else []
            found["/".join([RATE, *parts, *of_group])] = float(group[RATE])
    return {RATE: float(optimizers[0].param_groups[0][RATE]), **found}
