"""Phases as data: what one fit is, and the order in which a schedule runs its fits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from lensblend.data.sizes import check_crop, check_image_size
from lensblend.errors import RequestError, nearest, one_of, short
from lensblend.runs.files import is_name
from lensblend.training.learning_rate import EXTEND, LR_PATHS, Extension, Length

# Names that a run's folder has for other things than phases.
RESERVED = ("compare", "evaluation", "mlartifacts", "panels", "photo", "provenance", "rendered", "wandb")
# What is kept of a phase that is made longer: its length before, and where it was.
EXTENSION = ("max_epochs", "max_steps", "epoch", "batch", "batches", "step", "extend")
LEAST = 32  # pixels of a side, which every network can do with
M = TypeVar("M")


def _adam() -> dict[str, Any]:
    return {"_target_": "torch.optim.Adam"}  # its default betas, 0.9 and 0.999, are the paper's


@dataclass
class Phase:
    """One ordinary fit: its own image size, loss, optimizer, learning-rate path, batch and length.

    Attributes:
        image_size: Height and width in pixels to which photo and target are resized.
        crop: Height and width of the part of each resized pair that training draws at random; None trains on the
            whole. Validation sees the whole always.
        trainable: Beginnings of the names of the parameters that are trained, e.g. ``[local, fusion]``; the others
            stay as they are, as do the running statistics of parts of which nothing is trained. None trains all.
        batch_size: Pairs per step and device.
        max_epochs: Passes over the training pairs; null where ``max_steps`` alone ends the phase.
        max_steps: Optimizer steps after which the phase ends, with a validation, if its epochs do not end before.
        lr: Learning rate at the first step.
        lr_final: Learning rate at the last step.
        lr_path: One of `LR_PATHS`: the way from ``lr`` to ``lr_final``.
        lr_every: Of the path ``step``: epochs between two drops, each by the same factor; fewer than ``max_epochs``.
        warmup: Steps in which the rate rises to ``lr``, or below 1 a share of the phase's; its path begins then. None
            or 0 for none.
        scheduler: Instead of ``lr_path`` and ``lr_final``: the ``_target_`` of one of ``torch.optim.lr_scheduler``, its
            arguments but the optimizer, and ``interval``: whether it takes a step after each ``epoch`` or ``step``.
        groups: Parameters that are trained otherwise, by a name: ``{names, kinds, lr_factor, weight_decay, ...}``, see
            `lensblend.training.parameter_groups`.
        loss: Named terms ``{weight, compares, loss}``; conf/loss holds them.
        optimizer: The optimizer's ``_target_`` and its arguments but ``params`` and ``lr``.
        monitor: The validation score that chooses ``best.ckpt``: ``val/`` and the name of a metric.
        validate_every: Epochs between validations.
    """

    image_size: list[int]
    batch_size: int
    max_epochs: int | None
    lr: float
    lr_final: float
    loss: dict[str, Any]
    max_steps: int | None = None
    crop: list[int] | None = None
    trainable: list[str] | None = None
    lr_path: str = "cosine"
    lr_every: int | None = None
    warmup: float | None = None
    # Any: groups of keys, or None, in whose place OmegaConf cannot put a dict from a command line otherwise.
    scheduler: Any = None
    groups: Any = None
    optimizer: dict[str, Any] = field(default_factory=_adam)
    monitor: str = "val/psnr"
    validate_every: int = 1

    def __post_init__(self) -> None:
        self._check_kinds()
        check_image_size(self.image_size)
        if self.crop is not None:
            check_crop(self.crop, self.image_size)
        for name, size in (("image_size", self.image_size), ("crop", self.crop or self.image_size)):
            if min(size) < LEAST:
                raise RequestError(f"`{name}` is {LEAST}×{LEAST} or more, but got {list(size)}: networks need as much.")
        for name in ("batch_size", "max_epochs", "max_steps", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"`{name}` is at least 1, but got {value}.")
        if self.max_epochs is None and self.max_steps is None:
            raise RequestError("`max_epochs` and `max_steps` are both null, and the phase would never end; give one.")
        for name in ("lr", "lr_final"):
            if not 0 < getattr(self, name) < math.inf:
                raise RequestError(f"`{name}` is a positive learning rate, but got {getattr(self, name)}.")
        one_of("lr_path", self.lr_path, LR_PATHS)
        self._check_lr_every()
        self._check_warmup()
        if not re.fullmatch("val/.+", str(self.monitor)):
            raise RequestError(f"`monitor` is val/NAME, NAME a metric, but got {short(self.monitor)}; try val/psnr.")

    def _check_kinds(self) -> None:
        """Refuse what is no group of keys, or no list of names."""
        kinds = {"loss": "terms by name", "groups": "groups of parameters by name"}
        kinds |= dict.fromkeys(("optimizer", "scheduler"), "a `_target_` and its arguments")
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name) or {}, Mapping):
                raise RequestError(f"`{name}` is a group of keys, {kind}, but got {short(getattr(self, name))}.")
        wrong = [name for name, term in self.loss.items() if term is not None and not isinstance(term, Mapping)]
        if wrong:
            raise RequestError(
                f"`loss.{wrong[0]}` is a term {{weight, compares, loss}}, but got {short(self.loss[wrong[0]])}."
            )
        names = self.trainable
        if names is not None and not (isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)):
            raise RequestError(f"`trainable` is a list of beginnings of parameters' names, but got {short(names)}.")

    def _check_lr_every(self) -> None:
        """Refuse epochs between drops that are missing, have nothing to do, or leave no room for a drop."""
        if self.lr_path != "step":
            if self.lr_every is not None:
                raise RequestError(
                    f"`lr_every` belongs to `lr_path: step`, but got {self.lr_every} with {self.lr_path!r}; drop it."
                )
        elif self.lr_every is None:
            raise RequestError(
                f"`lr_path: step` needs `lr_every`, the epochs between drops, but got none; "
                f"give one below `max_epochs` = {self.max_epochs}."
            )
        elif not 1 <= self.lr_every < (self.max_epochs or math.inf):
            raise RequestError(
                f"`lr_every` is at least 1 and below `max_epochs` = {self.max_epochs}, but got {self.lr_every}; "
                "with no drop, use `lr_path: constant`."
            )

    def _check_warmup(self) -> None:
        """Refuse a warm-up that is neither a share nor a number of steps, or that a scheduler would not follow."""
        warmup = self.warmup or 0
        if not 0 <= warmup < math.inf or (warmup >= 1 and warmup % 1):
            raise RequestError(
                f"`warmup` is a whole number of steps, or below 1 a share of the phase's, but got {warmup:g}."
            )
        if self.max_steps is not None and self.max_steps <= warmup:
            raise RequestError(f"`warmup` is {warmup:g} steps of `max_steps` = {self.max_steps}; give fewer.")
        if self.scheduler and warmup:
            raise RequestError(
                f"`warmup` is {warmup:g}, but `scheduler` sets the learning rate by itself; leave one of them out, "
                "or take a scheduler that warms up, such as torch.optim.lr_scheduler.OneCycleLR."
            )

    @property
    def length(self) -> Length:
        """How long it trains."""
        return Length(self.max_epochs, self.max_steps)


@dataclass
class Schedule:
    """Named phases and the order in which they run.

    Attributes:
        run: Names of the phases to train, in order.
        phases: Every phase the schedule knows, by name.
        every_phase: Values that replace those of every phase, e.g. ``{batch_size: 4}``; None keeps each phase's own.
        total_epochs: Epochs that the phases of ``run`` share in proportion to their own, each at least one; drops of
            the learning rate move with them. None keeps each phase's own.
        extend: One of `EXTEND`: what the learning rate of a phase does that is made longer; None stretches.
        extended: What phases were made longer from, by name, in order: the run's own record of it.
    """

    run: list[str]
    phases: dict[str, Phase]
    every_phase: dict[str, Any] = field(default_factory=dict)
    total_epochs: int | None = None
    extend: str | None = None
    extended: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Build a schedule from plain dicts and apply ``every_phase``.

        A ``lr_path`` for every phase also replaces the phases' ``lr_every``, which belongs to the path, and an
        ``image_size`` their ``crop``.

        Raises:
            RequestError: A phase in ``run`` is unknown or repeated, or ``every_phase`` has an unknown key.
        """
        every = _replacements(config.get("every_phase") or {})
        phases = {}
        for name, values in config["phases"].items():
            check_phase_name(name)
            try:
                Phase(**values)  # what is replaced is checked too: it was asked for
                phases[name] = Phase(**{**values, **every})
            except RequestError as error:
                raise RequestError(f"schedule.phases.{name}: {error}") from None
            except (TypeError, ValueError, AttributeError) as error:
                raise RequestError(f"schedule.phases.{name} holds a value of the wrong type: {error}.") from None
        run = list(config["run"])
        for name in run:
            if name not in phases:
                raise RequestError(f"`schedule.run` names the phase {name!r}{nearest(name, list(phases))}")
        if not run or len(set(run)) != len(run):
            raise RequestError(
                f"`schedule.run` lists each phase to train once, but got {run}; there are {list(phases)}."
            )
        total = config.get("total_epochs")
        if total is not None:
            phases |= _shared(total, {name: phases[name] for name in run})
        extend = config.get("extend")
        if extend is not None:
            one_of("schedule.extend", extend, EXTEND)
        extended = _extended(config.get("extended") or {}, list(phases))
        return cls(run=run, phases=phases, every_phase=every, total_epochs=total, extend=extend, extended=extended)

    def extensions(self, phase: str) -> tuple[Extension, ...]:
        """Return what a phase's length was before, in order."""
        return tuple(Extension.from_record(record) for record in self.extended.get(phase, []))


def monitored(phase: Phase, metrics: Mapping[str, M], left_out: Mapping[str, str] | None = None) -> M:
    """Return the metric that a phase monitors.

    Args:
        phase: Names it.
        metrics: Those of the configuration, or their classes, by name.
        left_out: Why metrics of the configuration are not among them.

    Raises:
        RequestError: It is none of these.
    """
    name = phase.monitor.removeprefix("val/")
    if name in metrics:
        return metrics[name]
    if left_out and name in left_out:
        raise RequestError(f"`monitor` is {phase.monitor}, but `{name}` is left out: {left_out[name]}")
    known = [f"val/{known}" for known in metrics] or ["none"]
    raise RequestError(f"`monitor` is {phase.monitor!r}, but no metric is called so{nearest(phase.monitor, known)}")


def check_phase_name(name: str) -> None:
    """Refuse a name that cannot be that of a phase's folder in a run's folder.

    Raises:
        RequestError: It can not.

    Example:
        >>> check_phase_name("../phase1")
        Traceback (most recent call last):
        lensblend.errors.RequestError: A phase is called '../phase1', but its name is that of a folder: printable, up \
to 100 bytes, without slashes, not beginning with a dot or a dash.
    """
    if not is_name(name):
        raise RequestError(
            f"A phase is called {name[:120]!r}, but its name is that of a folder: printable, up to 100 bytes, without "
            "slashes, not beginning with a dot or a dash."
        )
    if name in RESERVED:
        raise RequestError(
            f"A phase is called {name!r}, which is the name of another folder of a run; {', '.join(RESERVED)} are "
            "taken."
        )


def _replacements(every_phase: Mapping[str, Any]) -> dict[str, Any]:
    """Return what replaces the values of every phase, with what hangs on it."""
    every = {key: value for key, value in every_phase.items() if value is not None}
    known = [f.name for f in fields(Phase)]
    for key in every:
        if key not in known:
            raise RequestError(f"`schedule.every_phase.{key}` is not a phase's key{nearest(key, known)}")
    if "lr_path" in every:
        every.setdefault("lr_every", None)
    if "image_size" in every:
        every.setdefault("crop", None)
    return every


def _extended(extended: Any, phases: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Refuse a record of longer phases that no training has written."""
    try:
        for name, records in extended.items():
            whole = name in phases and all(set(record) == set(EXTENSION) for record in records)
            if not whole or any(Extension.from_record(record).before.total(1) < 1 for record in records):
                raise ValueError
    except (TypeError, KeyError, ValueError, AttributeError):
        raise RequestError(
            "`schedule.extended` is a run's own record of phases that were made longer, but got "
            f"{short(extended)}; leave it as the run has it, or out."
        ) from None
    return {name: list(records) for name, records in extended.items()}


def _shared(total: int, phases: Mapping[str, Phase]) -> dict[str, Phase]:
    """Give phases other numbers of epochs, which add up to a total and are as their own were to each other."""
    if total < len(phases):
        raise RequestError(
            f"`schedule.total_epochs` gives each of the phases {list(phases)} an epoch at least, but got {total}."
        )
    by_steps = [name for name, phase in phases.items() if phase.max_epochs is None]
    if by_steps:
        raise RequestError(f"`schedule.total_epochs` shares out epochs, but {by_steps[0]} has `max_steps` alone.")
    whole = sum(phase.max_epochs or 0 for phase in phases.values())
    # In whole numbers: a share of a huge total is no float, and what is left to move is fewer epochs than phases.
    epochs = {name: max(total * (phase.max_epochs or 0) // whole, 1) for name, phase in phases.items()}
    wanted = {name: total * (phase.max_epochs or 0) for name, phase in phases.items()}
    while sum(epochs.values()) != total:
        more = sum(epochs.values()) < total
        # One epoch to the phase that is farthest below its share, or from the one that is farthest above.
        movable = [name for name in epochs if more or epochs[name] > 1]
        name = (max if more else min)(movable, key=lambda n: wanted[n] - whole * epochs[n])
        epochs[name] += 1 if more else -1
    return {name: _of_length(phase, epochs[name]) for name, phase in phases.items()}


def _of_length(phase: Phase, epochs: int) -> Phase:
    """Return a phase of other length, whose learning rate drops after the same shares of it."""
    if phase.lr_every is None:
        return replace(phase, max_epochs=epochs)
    if epochs == 1:
        return replace(phase, max_epochs=1, lr_path="constant", lr_every=None)
    every = max(round(phase.lr_every * epochs / (phase.max_epochs or epochs)), 1)
    return replace(phase, max_epochs=epochs, lr_every=min(every, epochs - 1))
