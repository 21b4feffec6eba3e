"""Run a schedule: one fit after the other on the same network, each resumable."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from lensblend.data.pairs import Source
from lensblend.errors import RequestError, WeightsMissingError
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.priors.depth import is_megadepth_file, load_megadepth
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.checkpoints import AtomicCheckpointIO, describe, find_checkpoint, load_weights, read_checkpoint
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.instantiate import build
from lensblend.training.messages import is_first_process, say
from lensblend.training.phase_run import PhaseRun
from lensblend.training.phases import Phase, Schedule
from lensblend.training.status import Status

# Keys that may differ when a run is continued: they change what is watched or how fast, not what is learned.
FREE_KEYS = (
    "run_dir",
    "logger",
    "callbacks",
    "trainer",
    "schedule.run",
    "loader.num_workers",
    "data.cache",
    "data.root",
)


def build_metrics(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Build the metrics, leaving out those set to null and, with one sentence, those whose weights are not here."""
    metrics = {}
    for name, node in nodes.items():
        try:
            if node:
                metrics[name] = build(node, f"metrics.{name}")
        except WeightsMissingError as error:
            say(f"`{name}` is left out: {error}")
    return metrics


class Training:
    """One training in one folder: phases in order, each from its predecessor's best weights.

    The same configuration in the same folder goes on where it stopped: finished phases are skipped, an unfinished one
    continues from its ``last.ckpt``.

    Args:
        config: The whole configuration as plain dicts.
        run_dir: The training's folder.
        tags: What was combined, for W&B.
    """

    def __init__(self, config: Mapping[str, Any], run_dir: Path, tags: Sequence[str] = ()) -> None:
        self.config = dict(config)
        self.run_dir = run_dir
        self.tags = list(tags)
        self.schedule = Schedule.from_config(config["schedule"])
        self.status = Status(run_dir)
        self._keep_config()

    def _keep_config(self) -> None:
        """Write config.yaml; where the folder holds trained weights, compare with what they were trained with."""
        file = self.run_dir / "config.yaml"
        if file.exists() and any(self.run_dir.glob("*/last.ckpt")):
            before = _flat(yaml.safe_load(file.read_text(encoding="utf-8")))
            now = _flat(self.config)
            changed = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k) and not _is_free(k)]
            if changed:
                differences = "; ".join(f"{k}: {before.get(k)!r} then, {now.get(k)!r} now" for k in changed)
                raise RequestError(
                    f"{self.run_dir} was started with another configuration ({differences}). "
                    "Repeat that command to continue it, or give another `run_dir`."
                )
        if is_first_process():
            self.run_dir.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")

    def run(self) -> None:
        """Train every phase of ``schedule.run`` that is not done, and record how it ended."""
        self._update_status(state="running", exit_code=None)
        try:
            self._run_phases()
        except BaseException as error:
            stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
            code = 143 if stopped else getattr(error, "exit_code", 1)
            self._update_status(state="interrupted" if stopped else "failed", exit_code=code)
            if stopped:
                say(
                    f"Interrupted. The same command with `run_dir={self.run_dir}` goes on from the last finished epoch."
                )
                raise SystemExit(code) from None
            raise
        self._update_status(state="done", exit_code=0)

    def _run_phases(self) -> None:
        # Lightning's notes on devices and tips would stand between the lines that a person reads.
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        source: Source = build(self.config["data"], "data")
        train, val = len(source.split("train").ids), len(source.split("val").ids)
        say(source.summary() if hasattr(source, "summary") else f"Data: {train} training and {val} validation pairs")
        if val == 0:
            say("There are no validation pairs: validation is skipped, and `best` is `last`.")
        metrics = build_metrics(self.config["metrics"])
        for name in self.schedule.run:
            if self.status.is_done(name):
                say(f"{name}: done before, skipped ({self.run_dir / name})")
            else:
                self._fit(name, self.schedule.phases[name], source, metrics)

    @rank_zero_only
    def _update_status(self, **values: Any) -> None:
        self.status.update(**values)

    @rank_zero_only
    def _update_phase(self, name: str, **values: Any) -> None:
        self.status.update_phase(name, **values)

    def _fit(self, name: str, phase: Phase, source: Source, metrics: Mapping[str, Any]) -> None:
        last = self.run_dir / name / "last.ckpt"
        unfinished = read_checkpoint(last) if last.exists() else None
        first_epoch = int(unfinished["epoch"]) if unfinished else 0
        first_step = int(unfinished["global_step"]) if unfinished else 0
        pl.seed_everything(self.config["seed"], verbose=False)
        network: nn.Module = build(self.config["model"], "model")
        parent = "" if unfinished else self._start_weights(network)
        phase_run = PhaseRun(self.run_dir, name, self._group(), self.tags, self.config, first_step)
        data = self._data(phase, source, first_epoch)
        self._introduce(name, phase, network, data, f"continues after step {first_step}" if unfinished else parent)
        self._update_phase(name, state="running", parent=parent)
        module = self._module(name, phase, network, metrics)
        loggers = [build(node, f"logger.{key}")(phase_run) for key, node in self.config["logger"].items() if node]
        exit_code = 1
        try:
            trainer = self._trainer(name, phase, loggers, validate=len(data.val) > 0)
            _fit_quietly(trainer, module, data, last if unfinished else None)
            exit_code = 0
        finally:
            for logger in loggers:
                if hasattr(logger, "finish"):
                    logger.finish(exit_code)
        scores = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        self._update_phase(name, state="done", step=trainer.global_step, scores=scores)

    def _start_weights(self, network: nn.Module) -> str:
        """Load what the phase starts from and say what that was: the phase before, ``init_from``, or chance."""
        before = self.status.last_done()
        init_from = self.run_dir / before if before else self.config.get("init_from")
        if init_from is None:
            return f"starts from random weights, seed {self.config['seed']}"
        if is_megadepth_file(init_from):
            load_megadepth(network, init_from)
            return f"starts from the depth weights of {init_from}"
        file = find_checkpoint(init_from)
        load_weights(network, read_checkpoint(file)["state_dict"], file)
        return f"starts from {file}"

    def _group(self) -> str:
        """Name this training, and no other of the same experiment, by its folder."""
        folder = "/".join(self.run_dir.resolve().parts[-2:])
        name = self.config.get("name")
        return f"{name}: {folder}" if name else folder

    def _data(self, phase: Phase, source: Source, first_epoch: int) -> PairsDataModule:
        loader = self.config["loader"]
        height, width = phase.image_size
        return PairsDataModule(
            source,
            (height, width),
            phase.batch_size,
            seed=self.config["seed"],
            first_epoch=first_epoch,
            **loader,
        )

    def _module(self, name: str, phase: Phase, network: nn.Module, metrics: Mapping[str, Any]) -> pl.LightningModule:
        terms = {key: build({"_": node}, f"loss.{key}")["_"] for key, node in phase.loss.items() if node}
        module: pl.LightningModule = build(
            self.config["module"],
            "module",
            network=network,
            loss=WeightedSum(terms),
            metrics=metrics,
            optimizer=build({**phase.optimizer, "_partial_": True, "lr": phase.lr}, "optimizer"),
            lr_path=phase.lr_path,
            lr_ratio=phase.lr_final / phase.lr,
            record=describe(self.config["model"], name, phase.image_size, yaml.safe_dump(self.config, sort_keys=False)),
        )
        return module

    def _trainer(self, name: str, phase: Phase, loggers: list[Any], validate: bool) -> pl.Trainer:
        callbacks = [build(node, f"callbacks.{key}") for key, node in self.config["callbacks"].items() if node]
        folder = self.run_dir / name
        try:
            return pl.Trainer(
                **self.config["trainer"] | ({} if validate else {"limit_val_batches": 0}),
                default_root_dir=folder,
                max_epochs=phase.max_epochs,
                check_val_every_n_epoch=min(phase.validate_every, phase.max_epochs),
                logger=loggers or False,
                callbacks=[*callbacks, KeepLastAndBest(folder, phase.monitor)],
                plugins=[AtomicCheckpointIO()],
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                enable_model_summary=False,
            )
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise RequestError(f"`trainer` was refused by Lightning: {error}") from error

    def _introduce(self, name: str, phase: Phase, network: nn.Module, data: PairsDataModule, start: str) -> None:
        parameters = sum(p.numel() for p in network.parameters())
        height, width = phase.image_size
        say(
            f"\n{name}: {phase.max_epochs} epochs at {height}×{width} (height×width), batch {phase.batch_size}, "
            f"{' + '.join(phase.loss)}, learning rate {phase.lr:g} → {phase.lr_final:g}; "
            f"{parameters:,} parameters; {start}"
        )


def _fit_quietly(trainer: pl.Trainer, module: pl.LightningModule, data: PairsDataModule, resume: Path | None) -> None:
    """Fit without the advice that does not apply here."""
    with warnings.catch_warnings():
        # Lightning 2.6 asks PyTorch in a way that PyTorch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=".*treespec.*LeafSpec.*")
        # The module converts batches also without this data module; that it does so with one is meant.
        warnings.filterwarnings("ignore", message="You have overridden `on_after_batch_transfer`.*")
        # Few workers are right for small data sets and few cores; the loader group sets them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Small data sets have fewer batches than `log_every_n_steps`; each epoch logs its means all the same.
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return ``{"a.b": value}`` for a nested mapping.

    Example:
        >>> _flat({"a": {"b": 1}, "c": [2]})
        {'a.b': 1, 'c': [2]}
    """
    if not isinstance(node, Mapping):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat.update(_flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS)
