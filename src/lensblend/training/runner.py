"""Run a schedule: one fit after the other on the same network, each resumable."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.progress import track
from torch import nn

from lensblend.data.pairs import Source, Split
from lensblend.errors import Interrupted, LensblendError, RequestError
from lensblend.inference.guidance import KNOWN, build_guides, guidance_of
from lensblend.inference.guided_pairs import GuidedSource, give_maps
from lensblend.metrics.per_image import PerImageMetric
from lensblend.nn.rendering import Network
from lensblend.runs.building import build_loss, build_metrics, freeze_all_but
from lensblend.runs.checkpoints import describe, start_from
from lensblend.runs.commands import command, override
from lensblend.runs.configuration import config_hash
from lensblend.runs.files import below, clear_temporaries, file_sha256
from lensblend.runs.fingerprints import changes, fingerprint
from lensblend.runs.hub import origin
from lensblend.runs.instantiate import build, classes_in
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.provenance import provenance
from lensblend.runs.roles import DATA, MODELS, MODULE, OPTIMIZER
from lensblend.runs.starts import Start
from lensblend.runs.status import Lock, Status
from lensblend.runs.weights import load_weights
from lensblend.training.batches import batch_of_process
from lensblend.training.callbacks.weight_average import average_words
from lensblend.training.cluster import tell_lightning_its_rank
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.devices import device_of_process, gpus_of_training
from lensblend.training.fit import Fit
from lensblend.training.fitting import PhaseFit
from lensblend.training.held_out import score_test
from lensblend.training.interruption import Interruption
from lensblend.training.introduction import introduce
from lensblend.training.kept_config import KeptConfig
from lensblend.training.lightning import quiet_lightning, trainer_arguments
from lensblend.training.phase_run import Identity, PhaseRun
from lensblend.training.phases import RESERVED, Phase, Schedule, monitored
from lensblend.training.resume import Stopped, find_stopped
from lensblend.training.schedulers import learning_rate
from lensblend.training.speed import optimizer_node, tf32_as_chosen
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
        command: As it was typed, for ``provenance.json``; default: this process's own.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        run_dir: Path,
        identity: Identity | None = None,
        overrides_hash: str = "",
        command: Sequence[str] = (),
    ) -> None:
        self._kept = KeptConfig(config, run_dir)
        self.run_dir = run_dir
        self.interruption = Interruption()
        self._first_identity, self._overrides_hash = identity or Identity(), overrides_hash
        self._command = command or sys.argv

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that is trained with."""
        return self._kept.content

    def run(self) -> None:
        """Train every phase of ``schedule.run`` that is not done, and record how it ended."""
        tell_lightning_its_rank()
        with self.interruption, Lock(self.run_dir), tf32_as_chosen(self.config["trainer"]), self._recorded():
            schedule = Schedule.from_config(self.config["schedule"])
            trainer_arguments(self.config["trainer"])
            source, metrics = self._data_and_metrics(schedule)
            for name in schedule.run:
                if self.status.is_finished(name) and name not in self._kept.longer:
                    say(f"{name}: {self.status.state_of(name)} before, skipped ({self.run_dir / name})")
                    continue
                self.interruption.check()
                if name in self._kept.longer:
                    self.status.update_phase(name, state="running")
                fit = self._phase_fit(name, schedule.phases[name], source, metrics)
                fit.run()
                self.status.update_phase(name, **fit.outcome())
                if fit.was_pruned:
                    return
            self._score_test(source, metrics)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Keep ``status.json``: who this training is, where it stands and how it ends."""
        self.status = Status(self.run_dir)
        # The folder's first start decides, so that a requeued job stays the same.
        first = vars(self._first_identity)
        self.identity = Identity(**{key: self.status.content.setdefault(key, first[key]) for key in first})
        self.status.content.setdefault("overrides_hash", self._overrides_hash)
        for name in RESERVED:
            below(self.run_dir, name)
        self._kept.check(self.status)
        gpus = partial(gpus_of_training, self.config["trainer"])
        with provenance(self.run_dir, self._command, gpus) as self._commits, self._ending_recorded():
            yield

    @contextmanager
    def _ending_recorded(self) -> Iterator[None]:
        self.status.update(state="running", exit_code=None, error=None)
        try:
            yield
        except Interrupted as stop:
            self._ended("interrupted", stop.exit_code, f"stopped by {stop.signal}")
            kept = "the last finished step is saved" if stop.saved else "what was saved before is kept"
            again = command("train", override("resume", self.run_dir))
            say(f"\nStopped by {stop.signal}: {kept}. `{again}` goes on.")
            # The other processes of a training do not fail: Lightning would kill the first one for it.
            raise SystemExit(stop.exit_code if is_first_process() else 0) from None
        except BaseException as error:
            exit_code = error.exit_code if isinstance(error, LensblendError) else 1
            self._ended("failed", exit_code, str(error) or type(error).__name__)
            raise
        self.status.update(state=self.status.end(), exit_code=0)

    def _ended(self, state: str, exit_code: int, error: str) -> None:
        """Record an end; on a full disk that may fail too, and must not hide why."""
        try:
            self.status.update(state=state, exit_code=exit_code, error=error.splitlines()[0])
        except LensblendError as failed:
            say(f"{failed}")

    def _data_and_metrics(self, schedule: Schedule) -> tuple[Source, dict[str, Any]]:
        """Build what all phases share, and say what there is to train on."""
        quiet_lightning()
        source: Source = build(self.config["data"], "data", DATA)
        say("\n".join([source.summary(), *(f"Doubt: {doubt}" for doubt in source.doubts())]))
        self._check_pairs(source)
        if note := source.enlargement([schedule.phases[name].image_size for name in schedule.run]):
            say(note)
        if not source.split("val").ids:
            say("There are no validation pairs: validation is skipped, and `best` is `last`.")
        metrics, left_out = build_metrics(self.config["metrics"])
        for phase in (schedule.phases[name] for name in schedule.run if not self.status.is_finished(name)):
            monitored(phase, metrics, left_out)
        return self._guided(source, [schedule.phases[name] for name in schedule.run], metrics.values()), metrics

    def _check_pairs(self, source: Source) -> None:
        """Refuse to go on with other pairs than those that were trained with, unless that may change; note them."""
        changed = changes(self.status.content.get("ids"), source) if any(self.run_dir.glob("*/*.ckpt")) else []
        if changed and not any(key == "data" or key.startswith("data.") for key in self._kept.allowed):
            raise RequestError(
                f"{self.run_dir} was trained with other pairs ({'; '.join(changed)}). Put them back, give the folders "
                "that hold them, or allow the change: 'resume_overrides=[data]'."
            )
        for line in changed:
            say(f"Changed, as allowed: {line}")
        self.status.update(ids=fingerprint(source))

    def _guided(self, source: Source, phases: Sequence[Phase], metrics: Collection[PerImageMetric]) -> Source:
        """Let pairs carry the maps that the network or a metric takes, or that a loss of any phase compares with."""
        compared = [str(term.get("compares")) for phase in phases for term in phase.loss.values() if term]
        scored = [metric.compares for metric in metrics]
        trained = needed_maps([*compared, *scored], guidance_of(self.config["model"], "model"))
        names = dict.fromkeys([*trained, *(name for metric in metrics for name in metric.beside)])
        kind: Any = next(classes_in(self.config["module"], "module", MODULE))
        dropped = set(KNOWN).difference(compared, scored, kind.reads)
        guided = GuidedSource(source, build_guides(names, self.config), dropped, set(names) - set(trained))
        loader = self.config["loader"]
        limits: dict[Split, int | None] = {"train": loader["limit_train"], "val": loader["limit_val"]}
        device, key = device_of_process(self.config["trainer"]), config_hash(self.config["data"])
        give_maps(source, self.config, key, device, _tracked)
        guided.prepare(key, limits, device, _tracked)
        return guided

    def _phase_fit(self, name: str, phase: Phase, source: Source, metrics: Mapping[str, Any]) -> PhaseFit:
        """Put together what a phase trains, from where it stopped or from its start, and say what that is."""
        folder = below(self.run_dir, name)
        if is_first_process():
            clear_temporaries(folder)
        stopped = find_stopped(folder, self.config, self.status.steps_saved(name), self._kept.consent)
        if stopped is not None:
            self._kept.extend(name, stopped)
        pl.seed_everything(self.config["seed"], verbose=False)
        network: Network = build(self.config["model"], "model", *MODELS)
        parent, start = self._start(network, stopped)
        freeze_all_but(network, phase.trainable)
        data = self._data(phase, source, stopped, network.takes_coordinates)
        kind: type[Fit] = next(classes_in(self.config["module"], "module", MODULE))
        average = average_words(phase.max_epochs or 0, self.config.get("ema"), self.config.get("swa"))
        introduce(name, phase, network, kind.own_terms, self.config["trainer"], start, average)
        self.status.update_phase(name, state="running", parent=parent)
        module = self._module(name, phase, network, metrics, parent)
        step = stopped.step if stopped else 0
        phase_run = PhaseRun(self.run_dir, name, self._group(), self.identity, self.config, step, self._commits)
        return PhaseFit(phase_run, phase, module, data, self.interruption, self.status, stopped, self._kept.keep)

    def _start(self, network: Network, stopped: Stopped | None) -> tuple[dict[str, str], str]:
        """Load what the phase starts from; return it, and how to say it: a checkpoint, ``init_from``, or chance."""
        if stopped is not None:
            load_weights(network, stopped.state, stopped.path)
            epoch, batch, batches = stopped.position
            within = f", {batch} of {batches} batches of epoch {epoch + 1} done" if batch else ""
            return stopped.parent, f"continues after step {stopped.step}{within} ({stopped.path})"
        before = self.status.last_finished()
        start = Start(str(self.run_dir / before)) if before else Start.from_config(self.config.get("init_from"))
        if start is None:
            return {"path": "", "sha256": ""}, f"starts from random weights, seed {self.config['seed']}"
        file, kind = start_from(network, start)
        place = origin(file) or str(file)
        return {"path": place, "sha256": file_sha256(file)}, f"starts from {kind}{place}"

    def _score_test(self, source: Source, metrics: Mapping[str, Any]) -> None:
        """Score the last phase's best checkpoint on the test split, once, if there is one."""
        phase, scored = self.status.last_finished(), self.status.content.get("test") or {}
        if phase is None or not is_first_process():
            return
        # Of a phase that was made longer since, once more.
        which = {"phase": phase, "step": self.status.steps_saved(phase)}
        if which.items() <= scored.items():
            return
        limit, device = self.config["loader"]["limit_val"], device_of_process(self.config["trainer"])
        scores = score_test(self.run_dir / phase, source, metrics, device, limit, self.interruption.check)
        if scores:
            self.status.update(test={**which, **scores})

    def _group(self) -> str:
        """Name this training, and no other of the same experiment, by its folder."""
        folder = "/".join(self.run_dir.resolve().parts[-2:])
        name = self.identity.label or self.config.get("name")
        return f"{name}: {folder}" if name else folder

    def _data(self, phase: Phase, source: Source, stopped: Stopped | None, coordinates: bool) -> PairsDataModule:
        loader = self.config["loader"]
        height, width = phase.image_size
        return PairsDataModule(
            source,
            (height, width),
            batch_of_process(phase.batch_size, self.config["trainer"]),
            crop=phase.crop,
            coordinates=coordinates,
            seed=self.config["seed"],
            start=stopped.position if stopped else (0, 0, 0),
            **loader,
        )

    def _module(
        self, name: str, phase: Phase, network: nn.Module, metrics: Mapping[str, Any], parent: Mapping[str, str]
    ) -> Fit:
        loss, left_out = build_loss(phase.loss)
        self.status.update_phase(name, left_out=left_out)
        trainer = self.config["trainer"]
        parts = {
            key: optimizer_node(part, trainer) if key.endswith("optimizer") and isinstance(part, Mapping) else part
            for key, part in self.config["module"].items()
        }
        extensions = Schedule.from_config(self.config["schedule"]).extensions(name)
        optimizer = {**optimizer_node(phase.optimizer, trainer), "_partial_": True, "lr": phase.lr}
        module: Fit = build(
            parts,
            "module",
            MODULE,
            network=network,
            loss=loss,
            metrics=metrics,
            optimizer=build(optimizer, "optimizer", OPTIMIZER),
            learning_rate=learning_rate(phase, monitored(phase, metrics).higher_is_better, extensions),
            groups=phase.groups,
            record={
                **describe(self.config["model"], name, phase.image_size, self.config, parent),
                "commits": self._commits,
            },
        )
        return module


def _tracked(indices: Iterable[int], title: str) -> Iterable[int]:
    return track(list(indices), title, disable=not is_first_process())
