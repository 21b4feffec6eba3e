"""Run a schedule: one fit after the other on the same network, each resumable."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.progress import track
from torch import nn

from lensblend.data.pairs import Source, Split
from lensblend.errors import Interrupted, LensblendError, RequestError
from lensblend.inference.guidance import GuidedSource, build_guides, guidance_of
from lensblend.inference.rendering import choose_device
from lensblend.runs.building import build_loss, build_metrics, freeze_all_but
from lensblend.runs.checkpoints import describe, start_from
from lensblend.runs.configuration import check_unchanged, config_hash, read_config
from lensblend.runs.files import below, clear_temporaries, file_sha256
from lensblend.runs.instantiate import build
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.roles import CALLBACK, DATA, LOGGER, MODELS, MODULE, OPTIMIZER, Role
from lensblend.runs.status import Lock, Status
from lensblend.runs.weights import load_weights
from lensblend.storage import write_atomically
from lensblend.training.callbacks.final_scores import FinalScores
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.callbacks.prune import is_pruned
from lensblend.training.callbacks.reseed import Reseed
from lensblend.training.callbacks.same_config import SameConfig
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.cluster import cluster_plugins, tell_lightning_its_rank, without_srun
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.failures import explain_failure, explain_restart, first_line
from lensblend.training.fitting import fit_quietly
from lensblend.training.interruption import Interruption
from lensblend.training.phase_run import Identity, PhaseRun
from lensblend.training.phases import RESERVED, Phase, Schedule
from lensblend.training.resume import Stopped, find_stopped
from lensblend.training.truths import needed_maps


class Training:
    """One training in one folder: phases in order, each from its predecessor's best weights.

    The same configuration in the same folder goes on where it stopped: finished phases are skipped, an unfinished one
    continues exactly, from its newest valid checkpoint.

    Args:
        config: The whole configuration as plain dicts.
        run_dir: The training's folder.
        identity: What tells it from other trainings, for W&B; that of the folder's first start stays.
        overrides_hash: Of the command's overrides; that of the folder's first start stays.
    """

    def __init__(
        self, config: Mapping[str, Any], run_dir: Path, identity: Identity | None = None, overrides_hash: str = ""
    ) -> None:
        self.config = dict(config)
        self.run_dir = run_dir
        self.interruption = Interruption()
        self._first_identity, self._overrides_hash = identity or Identity(), overrides_hash

    def run(self) -> None:
        """Train every phase of ``schedule.run`` that is not done, and record how it ended."""
        tell_lightning_its_rank()
        with self.interruption, Lock(self.run_dir):
            self.status = Status(self.run_dir)
            self.identity = self._identify()
            self.status.content.setdefault("overrides_hash", self._overrides_hash)
            self._keep_config()
            self.status.update(state="running", exit_code=None, error=None, config_hash=config_hash(self.config))
            try:
                state = self._run_phases(Schedule.from_config(self.config["schedule"]))
            except Interrupted as stop:
                self._ended("interrupted", stop.exit_code, f"stopped by {stop.signal}")
                kept = "the last finished step is saved" if stop.saved else "what was saved before is kept"
                say(f"\nStopped by {stop.signal}: {kept}. `lensblend train resume={self.run_dir}` goes on.")
                # The other processes of a training do not fail: Lightning would kill the first one for it.
                raise SystemExit(stop.exit_code if is_first_process() else 0) from None
            except BaseException as error:
                self._ended("failed", getattr(error, "exit_code", 1), str(error) or type(error).__name__)
                raise
            self.status.update(state=state, exit_code=0)

    def _keep_config(self) -> None:
        """Write config.yaml; where something has been saved, compare with what that was trained with."""
        file = self.run_dir / "config.yaml"
        for name in RESERVED:
            below(self.run_dir, name)
        if file.exists() and any(self.run_dir.glob("*/*.ckpt")):
            allowed = self.config.get("resume_overrides") or []
            for line in check_unchanged(read_config(self.run_dir), self.config, self.run_dir, allowed):
                say(f"Changed, as allowed: {line}")
        if is_first_process():
            clear_temporaries(self.run_dir)
            write_atomically(file, yaml.safe_dump(self.config, sort_keys=False))

    def _identify(self) -> Identity:
        """Return who this training is: the folder's first start decides, and a requeued job stays the same."""
        names = [field.name for field in fields(Identity)]
        return Identity(**{n: self.status.content.setdefault(n, getattr(self._first_identity, n)) for n in names})

    def _ended(self, state: str, exit_code: int, error: str) -> None:
        """Record an end; on a full disk that may fail too, and must not hide why."""
        try:
            self.status.update(state=state, exit_code=exit_code, error=error.splitlines()[0])
        except LensblendError as failed:
            say(f"{failed}")

    def _run_phases(self, schedule: Schedule) -> str:
        # Lightning's notes on devices and tips would stand between the lines that a person reads.
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        source: Source = build(self.config["data"], "data", DATA)
        train, val = len(source.split("train").ids), len(source.split("val").ids)
        say(source.summary() if hasattr(source, "summary") else f"Data: {train} training and {val} validation pairs")
        if val == 0:
            say("There are no validation pairs: validation is skipped, and `best` is `last`.")
        metrics = build_metrics(self.config["metrics"])
        source = self._guided(source, [schedule.phases[name] for name in schedule.run])
        for name in schedule.run:
            if self.status.is_done(name):
                say(f"{name}: done before, skipped ({self.run_dir / name})")
            else:
                self.interruption.check()
                if self._fit(name, schedule.phases[name], source, metrics) == "pruned":
                    return "pruned"
        return "done"

    def _guided(self, source: Source, phases: Sequence[Phase]) -> Source:
        """Let pairs carry the maps that the network takes, or that a loss of any phase compares with."""
        compared = [str(term.get("compares")) for phase in phases for term in phase.loss.values() if term]
        names = needed_maps(compared, guidance_of(self.config["model"], "model"))
        if not names:
            return source
        guided = GuidedSource(source, build_guides(names, self.config))
        loader = self.config["loader"]
        limits: dict[Split, int | None] = {"train": loader["limit_train"], "val": loader["limit_val"]}
        device = choose_device("cpu" if self.config["trainer"].get("accelerator") == "cpu" else "auto")
        guided.prepare(config_hash(self.config["data"]), limits, device, lambda i, title: track(list(i), title))
        return guided

    def _fit(self, name: str, phase: Phase, source: Source, metrics: Mapping[str, Any]) -> str:
        folder = below(self.run_dir, name)
        if is_first_process():
            clear_temporaries(folder)
        allowed = self.config.get("resume_overrides") or []
        stopped = find_stopped(folder, self.config, self.status.steps_saved(name), allowed)
        pl.seed_everything(self.config["seed"], verbose=False)
        network: nn.Module = build(self.config["model"], "model", *MODELS)
        parent, start = self._start(network, stopped)
        freeze_all_but(network, phase.trainable)
        data = self._data(phase, source, stopped)
        self._introduce(name, phase, network, start)
        self.status.update_phase(name, state="running", parent=parent)
        step = stopped.step if stopped else 0
        phase_run = PhaseRun(self.run_dir, name, self._group(), self.identity, self.config, step)
        module = self._module(name, phase, network, metrics, parent)
        loggers = [make(phase_run) for make in self._configured("logger", LOGGER)]
        exit_code = 1
        try:
            keep = self._keep(name, phase)
            limits = {} if len(data.val) > 0 else {"limit_val_batches": 0}
            if not any(parameter.requires_grad for parameter in network.parameters()):
                limits |= {"limit_train_batches": 1, "max_epochs": 1}
            trainer = self._trainer(phase, folder, [*loggers], keep, limits)
            with self.interruption.deferred():
                fit_quietly(trainer, module, data, stopped.path if stopped else None)
            exit_code = 0
        except SIGTERMException:
            # The signal came before Lightning's handler had been replaced; it stops after the first step.
            exit_code = Interrupted.exit_code
            raise Interrupted("SIGTERM") from None
        except Interrupted as stop:
            exit_code = stop.exit_code
            raise
        except Exception as error:
            explained = explain_failure(error, name, phase)
            if explained is error and stopped and not keep.began:
                explained = explain_restart(error, stopped.path)
            if explained is error:
                raise
            raise explained from error
        finally:
            for logger in loggers:
                if hasattr(logger, "finish"):
                    logger.finish(exit_code)
        best = {} if keep.best is None else {phase.monitor: keep.best}
        state = "pruned" if is_pruned(trainer) else "done"
        self.status.update_phase(name, state=state, step=trainer.global_step, scores=keep.scores, best=best)
        # No process may look for this phase's best weights before the first one has written them.
        trainer.strategy.barrier("phase")
        return state

    def _start(self, network: nn.Module, stopped: Stopped | None) -> tuple[dict[str, str], str]:
        """Load what the phase starts from; return it, and how to say it: a checkpoint, ``init_from``, or chance."""
        if stopped is not None:
            load_weights(network, stopped.state, stopped.path)
            epoch, batch, batches = stopped.position
            within = f", {batch} of {batches} batches of epoch {epoch + 1} done" if batch else ""
            return stopped.parent, f"continues after step {stopped.step}{within} ({stopped.path})"
        before = self.status.last_done()
        init_from = self.run_dir / before if before else self.config.get("init_from")
        if init_from is None:
            return {"path": "", "sha256": ""}, f"starts from random weights, seed {self.config['seed']}"
        file, kind = start_from(network, init_from)
        return {"path": str(file), "sha256": file_sha256(file)}, f"starts from {kind}{file}"

    def _group(self) -> str:
        """Name this training, and no other of the same experiment, by its folder."""
        folder = "/".join(self.run_dir.resolve().parts[-2:])
        name = self.identity.label or self.config.get("name")
        return f"{name}: {folder}" if name else folder

    def _data(self, phase: Phase, source: Source, stopped: Stopped | None) -> PairsDataModule:
        loader = self.config["loader"]
        height, width = phase.image_size
        return PairsDataModule(
            source,
            (height, width),
            phase.batch_size,
            crop=phase.crop,
            seed=self.config["seed"],
            start=stopped.position if stopped else (0, 0, 0),
            **loader,
        )

    def _module(
        self, name: str, phase: Phase, network: nn.Module, metrics: Mapping[str, Any], parent: Mapping[str, str]
    ) -> pl.LightningModule:
        loss, left_out = build_loss(phase.loss)
        self.status.update_phase(name, left_out=left_out)
        module: pl.LightningModule = build(
            self.config["module"],
            "module",
            MODULE,
            network=network,
            loss=loss,
            metrics=metrics,
            optimizer=build({**phase.optimizer, "_partial_": True, "lr": phase.lr}, "optimizer", OPTIMIZER),
            lr_path=phase.lr_path,
            lr_every=phase.lr_every,
            lr_ratio=phase.lr_final / phase.lr,
            record=describe(self.config["model"], name, phase.image_size, self.config, parent),
        )
        return module

    def _keep(self, name: str, phase: Phase) -> KeepLastAndBest:
        return KeepLastAndBest(
            self.run_dir / name,
            phase.monitor,
            self.interruption,
            on_saved=lambda step: self.status.update_phase(name, step=step),
            **self.config["checkpoint"],
        )

    def _configured(self, group: str, role: Role) -> list[Any]:
        """Build what a group of the configuration names, leaving out what is set to null."""
        return [build(node, f"{group}.{key}", role) for key, node in self.config[group].items() if node]

    @without_srun()
    def _trainer(
        self, phase: Phase, folder: Path, loggers: list[Any], keep: KeepLastAndBest, limits: Mapping[str, Any]
    ) -> pl.Trainer:
        configured = self._configured("callbacks", CALLBACK)
        agree, reseed = SameConfig(self.config, self.run_dir), Reseed(self.config["seed"])
        finite = FiniteGuard(folder, **self.config["not_finite"])
        try:
            return pl.Trainer(
                **self.config["trainer"] | {"max_epochs": phase.max_epochs} | limits,
                default_root_dir=folder,
                check_val_every_n_epoch=min(phase.validate_every, phase.max_epochs),
                logger=loggers or False,
                callbacks=[agree, *configured, reseed, finite, keep, FinalScores(keep)],
                plugins=[AtomicCheckpointIO(), *cluster_plugins()],
                deterministic=self.config["deterministic"],
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                enable_model_summary=False,
            )
        except Exception as error:  # Lightning refuses values in a dozen ways
            raise RequestError(f"`trainer` was refused by Lightning: {first_line(error)}") from error

    def _introduce(self, name: str, phase: Phase, network: nn.Module, start: str) -> None:
        parameters, trained = ([p for p in network.parameters() if p.requires_grad or every] for every in (True, False))
        height, width = phase.image_size
        if not trained:
            say(f"\n{name}: at {height}×{width} (height×width); no weights to train, scored as it is")
            return
        count, of_it = (sum(p.numel() for p in some) for some in (parameters, trained))
        crops = f", crops of {phase.crop[0]}×{phase.crop[1]}" if phase.crop else ""
        say(
            f"\n{name}: {phase.max_epochs} epochs at {height}×{width} (height×width){crops}, batch {phase.batch_size}, "
            f"{' + '.join(phase.loss)}, learning rate {phase.lr:g} → {phase.lr_final:g}; "
            f"{count:,} parameters{'' if of_it == count else f', {of_it:,} of them trained'}; {start}"
        )
