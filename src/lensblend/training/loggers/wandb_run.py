"""One Weights & Biases run per phase, named, tagged and filled so that the runs of a sweep compare by themselves."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, Interrupted, RequestError, printable, short
from lensblend.inference.pictures import sheet
from lensblend.runs.building import metric_classes
from lensblend.runs.checkpoint_files import BEST, LAST
from lensblend.runs.documents import read_json
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.redaction import holds_secret, redact
from lensblend.storage import json_text, write_atomically
from lensblend.training.loggers.phase_logger import LONGEST_NAME, PhaseLogger, Rows, is_copy, panel_key, place
from lensblend.training.phase_run import PhaseRun

STEP = "trainer/global_step"
CHECKPOINTS, WATCHED = ("best", "all"), ("gradients", "parameters", "all")
LONGEST_TAG = 64
PLACE = "wandb_place.json"


class PhaseWandbLogger(PhaseLogger, WandbLogger):
    """Log a phase to its own run, found again by the id that the phase's folder keeps.

    ``WANDB_MODE=offline`` keeps the run on disk, in the training's folder.

    Args:
        phase_run: The phase to record.
        project: W&B's project.
        entity: W&B's team or user; default: the account's own.
        tags: Further ones, beside what was combined, those of ``WANDB_TAGS`` and those that a run got on the page.
        notes: What the page says of the run; default: ``WANDB_NOTES``.
        log_model: Keep ``best``, or ``all`` of the phase's checkpoints, as versions of an artifact; false keeps none.
        alert: Whether W&B tells its users of a phase that failed.
        watch: Draw histograms of ``gradients``, ``parameters`` or ``all``, as often as the training loss.

    Raises:
        RequestError: W&B cannot start, or checkpoints that hold a secret would be kept.
    """

    takes_numbers = True

    def __init__(
        self,
        phase_run: PhaseRun,
        project: str = "lensblend",
        entity: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        log_model: bool | str = False,
        alert: bool = False,
        watch: str | None = None,
    ) -> None:
        self._run_dir, self._phase_run = phase_run.run_dir, phase_run
        self._kept_checkpoints, self._alerts, self._watches = log_model, alert, watch
        self._watched: nn.Module | None = None
        if log_model and redact(dict(phase_run.config)) != phase_run.config:
            raise RequestError(
                f"`logger.wandb.log_model={log_model}` would upload checkpoints, whose configuration holds a secret; "
                "leave it out, or the secret."
            )
        identity = phase_run.identity
        name = f"{identity.label} / {phase_run.phase}" if identity.label else f"{phase_run.group}/{phase_run.phase}"
        super().__init__(
            name=_fitting(redact(name), " / "),
            save_dir=phase_run.run_dir,
            id=_run_id(phase_run.folder),
            project=project,
            entity=entity,
            group=_fitting(redact(phase_run.group), ": "),
            job_type=phase_run.phase,
            notes=notes,
            config=redact(_columns(phase_run)),
            resume="allow",
            settings=wandb.Settings(
                # W&B notes the command line, which it has from `sys.argv`; its other notes go with it.
                x_disable_meta=holds_secret(sys.argv[1:]),
                # Seconds; by default `kill -9` costs the last 15 of the file, and no restart does those steps again.
                x_transaction_log_flush_interval=1.0,
            ),
        )
        # Lightning hands on a setting that W&B warns about, whatever its value.
        self._wandb_init.pop("anonymous", None)
        try:
            # W&B itself reads them once in a process.
            named = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
            self._define(phase_run, redact([*identity.tags, *tags, *named]))
        except wandb.errors.Error as error:
            raise RequestError(
                f"W&B could not start ({error}); log in with `wandb login`, set WANDB_MODE=offline, or use logger=csv."
            ) from error

    @rank_zero_only
    def _define(self, phase_run: PhaseRun, tags: Sequence[str]) -> None:
        """Start the run; let scores be drawn over optimizer steps and summarised by their best value."""
        # Only now: given before, they would replace those of the environment and of a run that goes on.
        self.experiment.tags = list(dict.fromkeys([*(self.experiment.tags or ()), *tags]))
        for name, metric in metric_classes(phase_run.config.get("metrics") or {}).items():
            best = "max" if metric.higher_is_better else "min"
            self.experiment.define_metric(f"val/{name}", STEP, step_sync=True, summary=f"{best},last")
        for name in ("epoch", STEP):
            self.experiment.define_metric(name, hidden=True)

    @classmethod
    def check(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse tags that W&B does not take, and what cannot be kept or watched."""
        given = {"log_model": arguments.get("log_model") or False, "watch": arguments.get("watch")}
        for name, known in (("log_model", CHECKPOINTS), ("watch", WATCHED)):
            if given[name] not in (None, False, *known):
                raise RequestError(
                    f"`logger.wandb.{name}` is {' or '.join(known)}, or {'false' if name == 'log_model' else 'null'}, "
                    f"but got {short(given[name])}."
                )
        for tag in arguments.get("tags") or ():
            if not 0 < len(str(tag)) <= LONGEST_TAG:
                raise RequestError(
                    f"A tag of `logger.wandb.tags` has 1 to {LONGEST_TAG} letters, but got {short(tag)}."
                )

    @rank_zero_only
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Watch the network that is about to be trained, where that is asked for."""
        if self._watches is not None:
            self._watched = model.network
            # The first, in every phase: W&B would number the networks that a process has watched.
            every = model.trainer.log_every_n_steps
            self.experiment.watch(model.network, log=self._watches, log_freq=every, idx=0)

    @rank_zero_only
    def log_failure(self, reason: str) -> None:
        """Tell the users of W&B, where that is asked for."""
        if self._alerts:
            name = self._phase_run.run_dir.name
            self.experiment.alert(redact(f"{name}, {self._phase_run.phase} failed"), redact(reason), level="ERROR")

    @rank_zero_only
    def log_panels(self, rows: Rows, step: int) -> None:
        """Log one strip of pictures per pair, each under a key of its own, so that runs show the same pair together."""
        strips = {name: wandb.Image(sheet({name: row}), caption=printable(name)) for name, row in rows.items()}
        self.experiment.log({**{panel_key(name): strip for name, strip in strips.items()}, STEP: step})

    @rank_zero_only
    def log_final(self, rows: Rows, scores: Mapping[str, Mapping[str, float]], step: int) -> None:
        """Log the phase's final table: one row per pair, with its pictures and scores; ``id`` joins tables of runs."""
        pictures = list(dict.fromkeys(caption for row in rows.values() for caption in row))
        names = list(dict.fromkeys(name for row in scores.values() for name in row))
        table = wandb.Table(columns=["id", *pictures, *names])
        for name, row in rows.items():
            images = [wandb.Image(row[c]) if c in row else None for c in pictures]
            table.add_data(printable(name), *images, *(scores[name].get(n) for n in names))
        with _staged_in(self._run_dir / "wandb"):
            self.experiment.log({"final": table, STEP: step})

    @rank_zero_only
    def log_numbers(self, numbers: Mapping[str, float], device: str, step: int) -> None:
        """Log what the phase is compared by: a bar per run in the workspace, and a column of the runs table.

        W&B can sort by such names.
        """
        self.experiment.log({**numbers, STEP: step})
        self.experiment.summary["device"] = device

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Close the run, so that the next phase gets its own; one that a signal stopped is marked as preempted."""
        if self._experiment is not None:
            if self._watched is not None:
                self._experiment.unwatch(self._watched)
            self._keep_checkpoints()
            if exit_code == Interrupted.exit_code:
                self._experiment.mark_preempting()
            self._experiment.finish(exit_code=exit_code)
            self._experiment = None

    def _keep_checkpoints(self) -> None:
        """Add what the phase has saved to its artifact, a version for each checkpoint."""
        names = {"best": (BEST,), "all": (LAST, BEST)}.get(str(self._kept_checkpoints), ())
        phase = self._phase_run.phase
        for file in (self._phase_run.folder / name for name in names):
            if file.exists():
                artifact = wandb.Artifact(f"{phase}-{self.experiment.id}", "model", metadata={"phase": phase})
                with _staged_in(self._run_dir / "wandb"):
                    artifact.add_file(str(file), name=file.name)
                    self.experiment.log_artifact(artifact, aliases=[file.stem, phase])


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Let W&B keep a table's pictures with the run, not in the home folder, where `wandb sync` looks for them."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _columns(phase_run: PhaseRun) -> dict[str, Any]:
    """Return the whole configuration, and what the runs table is filtered and grouped by."""
    identity = phase_run.identity
    told = {"label": identity.label, "choices": dict(identity.choices), "sweep": identity.sweep, "job": identity.job}
    told["commits"] = dict(phase_run.commits)
    return {**phase_run.config, **{key: value for key, value in told.items() if value not in ("", None, {})}}


def _fitting(text: str, before_end: str) -> str:
    """Return a name that W&B takes: of one that is too long its end, which tells it from others, is kept whole.

    Example:
        >>> _fitting(f"{'long ' * 30}: sweep/0", ": ")[-20:]
        'g long lon…: sweep/0'
    """
    if len(text) <= LONGEST_NAME:
        return text
    start, mark, end = text.rpartition(before_end)
    kept = LONGEST_NAME - len(mark + end) - 1
    return f"{start[:kept]}…{mark}{end}" if kept > 0 else text[-LONGEST_NAME:]


def _run_id(folder: Path) -> str | None:
    """Return the phase's run id, choosing one at the first call; None for a process that logs nothing.

    A run's folder that was copied gets new ones: two trainings in one W&B run would spoil both. One that was moved or
    renamed keeps its own.
    """
    if not is_first_process():
        # Two that choose at once would leave one's id in the file and log under the other's.
        return None
    file = folder / "wandb_id"
    if file.exists() and (original := _copied_from(folder)):
        say(
            f"{folder} is a copy of {original}, whose W&B run it leaves alone: it logs to a new one. To go on in that "
            f"one instead, put {read_text(file).strip()} into {file} and start again."
        )
        file.unlink()
    if not file.exists():
        write_atomically(file, secrets.token_hex(4) + "\n")
    found = read_text(file).strip()
    if not re.fullmatch(r"[\w-]{1,64}", found):
        raise DataError(f"{file} is damaged: it holds no id of a W&B run; remove it, and a new run is begun.")
    write_atomically(folder / PLACE, json_text(place(folder)) + "\n")
    return found


def _copied_from(folder: Path) -> str | None:
    """Return the folder of which this one is a copy; None where it is itself, or does not know."""
    try:
        noted = read_json(folder / PLACE)
    except (FileNotFoundError, DataError):
        return None
    if not isinstance(noted, dict) or not isinstance(noted.get("path"), str):
        return None
    return noted["path"] if is_copy(noted, folder) else None
