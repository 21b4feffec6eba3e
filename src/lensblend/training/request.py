"""Whether a training can be what its configuration asks for, looked at before anything is rendered or downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import StochasticWeightAveraging
from torch import nn

from lensblend.data.pairs import Source
from lensblend.data.transforms import FLIP_PROBABILITIES
from lensblend.errors import RequestError, nearest, one_of, short
from lensblend.inference.guidance import guidance_of
from lensblend.losses.weighted_sum import check_term
from lensblend.metrics.fidelity import Psnr
from lensblend.runs.building import check_parts, freeze_all_but, metric_classes
from lensblend.runs.checkpoints import without_weights
from lensblend.runs.hub import is_address, parse_address
from lensblend.runs.instantiate import build, check_arguments, check_node, classes_in, given_arguments
from lensblend.runs.models import is_model
from lensblend.runs.recorded import sketch
from lensblend.runs.roles import CALLBACK, DATA, LOSS, MODULE
from lensblend.training.batches import batch_of_process
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.cluster import check_machines, cluster_plugins, without_srun
from lensblend.training.datamodule import check_loader
from lensblend.training.failures import first_line
from lensblend.training.fit import Fit
from lensblend.training.lightning import OWN, quiet_lightning, trainer_arguments
from lensblend.training.optimizing import check_optimizing, try_optimizer
from lensblend.training.parameter_groups import parameter_groups
from lensblend.training.phases import Phase, Schedule, monitored
from lensblend.training.speed import check_speed
from lensblend.training.truths import needed_maps

# What Lightning can do of it and networks here cannot: their blurs, losses and scores are single precision.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_MEANS = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def check_request(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that no training can carry out.

    Args:
        config: The whole configuration as plain dicts.

    Raises:
        RequestError: A key is not one that its receiver takes, a value is of the wrong kind or out of range, or two of
            them do not go together; the message names the key.
    """
    check_parts(config, "kernels", "backbone", "metrics", "model", "saliency", "disparity", "focus", "data", "logger")
    schedule = Schedule.from_config(config["schedule"])
    metrics = metric_classes(config["metrics"])
    for name, phase in schedule.phases.items():
        where = f"schedule.phases.{name}"
        _check_losses(phase, where)
        chosen_by = monitored(phase, metrics) if name in schedule.run else None
        check_optimizing(phase, where, chosen_by is None or chosen_by.higher_is_better)
    module = _check_module(config["module"])
    _check_settings(config)
    _check_trainer(config["trainer"], module, config["module"])
    for name in schedule.run:
        batch_of_process(schedule.phases[name].batch_size, config["trainer"], f"schedule.phases.{name}.batch_size")
    _check_callbacks(config, schedule, module)
    network = sketch(without_weights(config["model"]), "model")
    if module.renders is not None and module.renders != network.renders:
        does = "renders bokeh" if network.renders else "estimates maps"
        kind = "restoration" if network.renders else "estimation"
        raise RequestError(
            f"`module` is {module.__qualname__}, but `model` is {type(network).__name__}, which {does}; use "
            f"module={kind}, or another model."
        )
    for name in schedule.run:
        phase = schedule.phases[name]
        try:
            parameter_groups(network, phase.groups or {})
        except RequestError as error:
            raise RequestError(f"schedule.phases.{name}: {error}") from None
        freeze_all_but(network, phase.trainable)


def maps_asked_for(config: Mapping[str, Any]) -> list[str]:
    """Return the maps, of ``saliency``, ``disparity`` and ``focus``, that a training or its data set asks for.

    Args:
        config: The whole configuration as plain dicts, known to be valid.
    """
    schedule = Schedule.from_config(config["schedule"])
    terms = [term for name in schedule.run for term in schedule.phases[name].loss.values() if term]
    compared = [str(term.get("compares")) for term in terms]
    scored = [metric.compares for metric in metric_classes(config["metrics"]).values()]
    kind: Any = next(classes_in(config["data"], "data", DATA)) if config.get("data") else Source
    return needed_maps([*compared, *scored], [*guidance_of(config["model"], "model"), *kind.asks])


def _check_losses(phase: Phase, where: str) -> None:
    """Refuse loss terms that could not be built."""
    for name, term in phase.loss.items():
        if term is None:
            continue
        if not isinstance(term, Mapping) or "loss" not in term:
            raise RequestError(
                f"`{where}.loss.{name}` is a term {{weight, compares, loss}} with a `loss`, but got {short(term)}."
            )
        check_node(term["loss"], f"{where}.loss.{name}.loss", LOSS)
        try:
            check_term(name, {**term, "loss": nn.Identity()})
        except RequestError as error:
            raise RequestError(f"`{where}.loss.{name}`: {error}") from None


def _check_module(node: Mapping[str, Any]) -> type[Fit]:
    """Refuse a module's node that could not be built; return its class."""
    check_node(node, "module", MODULE, arguments=Fit.given)
    for key, part in node.items():
        if isinstance(part, Mapping) and part.get("_partial_"):
            try_optimizer(part, f"module.{key}")
    return next(classes_in(node, "module", MODULE))


def _check_settings(config: Mapping[str, Any]) -> None:
    """Refuse values of the small groups that those who take them refuse."""
    FiniteGuard(Path(), **config["not_finite"])
    KeepLastAndBest(Path(), "val/psnr", Psnr.beats, **config["checkpoint"])
    loader = {key: value for key, value in config["loader"].items() if key != "cache"}
    one_of("flips", loader.pop("flips"), FLIP_PROBABILITIES)
    check_loader(**loader)
    start = config.get("init_from")
    if start is not None and is_address(start):
        parse_address(start)
    elif start is not None and not Path(start).exists() and not is_model(start):
        raise RequestError(
            f"`init_from` {start} does not exist; give a checkpoint, a run's folder, a published file or hf://OWNER/NAME."
        )


def _check_trainer(node: Mapping[str, Any], module: type[Fit], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that Lightning's trainer does not take, or that a module cannot follow."""
    own = (*OWN, "num_nodes")  # of which null is a value
    check_arguments({key: value for key, value in node.items() if key not in own}, "trainer", pl.Trainer)
    check_speed(node, module.steps_by_itself(arguments))
    precision = node.get("precision")
    if precision is not None and _MEANS.get(str(precision), str(precision)) not in PRECISIONS:
        raise RequestError(
            f"`trainer.precision` is {precision!r}, but networks, losses and scores here compute in single precision, "
            f"or their convolutions in half under autocast: use {', '.join(PRECISIONS)}."
        )
    if module.steps_by_itself(arguments):
        clips = node.get("gradient_clip_val")
        several = node.get("accumulate_grad_batches", 1)
        for key, value, asked in (
            ("gradient_clip_val", clips, clips is not None),
            ("accumulate_grad_batches", several, several not in (None, 1)),
        ):
            if asked:
                raise RequestError(
                    f"`trainer.{key}` is {value}, but {module.__qualname__} takes its optimizers' steps itself, "
                    "where Lightning cannot do that; leave it out, or use module=restoration."
                )
    quiet_lightning()
    given = trainer_arguments(node)
    check_machines(node)
    aside: dict[str, Any] = {"logger": False, "callbacks": None, "enable_progress_bar": False, "profiler": None}
    try:
        with without_srun(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            pl.Trainer(**{**given, **aside, "enable_model_summary": False, "plugins": cluster_plugins()})
    except Exception as error:  # Lightning refuses values in a dozen ways
        raise RequestError(f"`trainer` was refused by Lightning: {first_line(error)}") from error


def _check_callbacks(config: Mapping[str, Any], schedule: Schedule, module: type[Fit]) -> None:
    """Refuse callbacks that could not be built, or wait for a score that nothing gives."""
    terms = {name for phase in schedule.run for name, term in schedule.phases[phase].loss.items() if term}
    logged = [*(f"val/{name}" for name in metric_classes(config["metrics"])), "train/loss", "lr", "epoch", "step"]
    logged += sorted(f"train/{name}" for name in (*terms, *module.own_terms, *module.further_losses))
    if config["not_finite"]["policy"] != "stop":
        logged.append("train/not_finite")
    for key, node in config["callbacks"].items():
        if node is None:
            continue
        where = f"callbacks.{key}"
        check_node(node, where, CALLBACK)
        build(node, where, CALLBACK)
        if any(issubclass(kind, StochasticWeightAveraging) for kind in classes_in(node, where, CALLBACK)):
            raise RequestError(
                f"`{where}` is StochasticWeightAveraging, which takes the learning rate from the phase and averages "
                "only after its checkpoints are written; use pytorch_lightning.callbacks.EMAWeightAveraging."
            )
        monitor = given_arguments(node, where, CALLBACK).get("monitor")
        # A module or callback of somebody's own may log more.
        if monitor is not None and module.__module__.startswith("lensblend.") and monitor not in logged:
            raise RequestError(
                f"`{where}.monitor` is {short(monitor)}, which nothing logs{nearest(str(monitor), logged)}"
            )
