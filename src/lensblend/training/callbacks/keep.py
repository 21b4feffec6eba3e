"""Keep the last and the best checkpoint of a phase, each from a moment at which training can go on exactly."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, WeightAveraging

from lensblend.errors import DataError, Interrupted, RequestError, TrainingError
from lensblend.runs.checkpoint_files import BEST, LAST, copy_checkpoint
from lensblend.runs.contents import RECORD
from lensblend.training.agreement import Agreement, take_over_signals
from lensblend.training.callbacks.weight_average import TRAINED
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.interruption import Interruption
from lensblend.training.logged import is_score
from lensblend.training.rates import is_whole_epoch

# What a process wants between two steps; what is above SAVE by a signal's number is to save and stop for that signal.
NOTHING, SAVE = 0, 1
_MID_EVALUATION = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
_NOT_STARTED = {"ready": 0, "started": 0, "processed": 0, "completed": 0}


class KeepLastAndBest(Checkpoint):
    """Write ``last.ckpt`` after every epoch and in between, and ``best.ckpt`` whenever the monitored score improves.

    In between is when a signal asks the training to stop, every so many steps or minutes, and always between two
    optimizer steps: at no other moment would the loggers' files and the checkpoint agree on which steps are done.
    Several processes agree on that; on GPUs they save or stop at most one step later (`Agreement`). A
    signal during a validation saves as well; the restart repeats the validation. Without validation pairs, or where no
    score was a finite number, ``best`` is ``last``.

    Args:
        folder: The phase's folder.
        monitor: The validation score that decides, e.g. ``val/psnr``.
        beats: Tells whether a value of it is better than another.
        interruption: Where signals arrive.
        every_steps: Also save after so many optimizer steps.
        every_minutes: Also save after so much time.
        background: Whether files are written while the training goes on, see `AtomicCheckpointIO`.
        files: What writes them; the trainer's own.
        before_saving: Called before each save; may raise where what would be saved is known to be wrong.
        on_saved: Called with the number of finished steps after each save.

    Raises:
        RequestError: Steps or minutes are not positive.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        beats: Callable[[float, float], bool],
        interruption: Interruption | None = None,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        background: bool = False,
        files: AtomicCheckpointIO | None = None,
        before_saving: Callable[[], None] | None = None,
        on_saved: Callable[[int], None] | None = None,
    ) -> None:
        for name, value in (("every_steps", every_steps), ("every_minutes", every_minutes)):
            if value is not None and not value > 0:
                raise RequestError(f"`checkpoint.{name}` is positive, or null for never, but got {value}.")
        self.folder = folder
        self.monitor = monitor
        self._beats = beats
        self.best: float | None = None
        self.scores: dict[str, float] = {}
        self.best_scores: dict[str, float] = {}
        self._interruption = interruption or Interruption()
        self._every_steps = every_steps
        self._every_seconds = None if every_minutes is None else 60 * every_minutes
        self._files = files or AtomicCheckpointIO()
        self._files.background = background
        self._before_saving, self._on_saved = before_saving, on_saved
        self._agreement = Agreement()
        self._saved_step = 0
        self._saved_at = time.monotonic()
        self._position = (0, 0)
        self._is_validating = self._is_cut = False
        # Whether a step has been done: what a restart failed on before that lies in its checkpoint.
        self.began = False
        self._restored: tuple[int, int, int] | None = None
        self._restored_epoch: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals, and see whether all of the checkpoint has been found.

        Raises:
            DataError: Lightning has not found all that the checkpoint is to hold, and would go on with something new.
        """
        take_over_signals(trainer, self._interruption)
        now = (len(trainer.optimizers), len(trainer.lr_scheduler_configs), trainer.global_step)
        # At an epoch's end the next one is the position, and Lightning counts the one before.
        epoch = self._restored_epoch
        strayed = epoch is not None and abs(trainer.current_epoch - epoch) > 1
        if self._restored is not None and (self._restored != now or strayed):
            raise DataError(
                f"{trainer.ckpt_path} is damaged: it says {self._restored} of optimizers, learning rates and steps, in "
                f"epoch {epoch}, but training would go on with {now} in epoch {trainer.current_epoch}. "
                f"Put another copy in its place, or remove {self.folder} to train this phase from its start."
            )
        self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save, or save and stop, between two optimizer steps."""
        self._files.settle(is_awaited=False)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.began = self.began or trainer.global_step > self._saved_step
            self._position = (trainer.current_epoch, batch_idx)
            self._answer(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, or save and stop, before a validation."""
        self._is_validating = True
        self._position = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.completed)
        self._answer(trainer)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Save and stop within a validation, as long as every process still has batches and the weights are its own."""
        if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            return  # Lightning's has put the averages in their place, and saves them as if they were trained
        loader: Any = trainer.val_dataloaders
        sampler = loader.sampler if trainer.world_size > 1 else None
        if sampler is None or batch_idx + 1 < sampler.length // sampler.world_size // loader.batch_size:
            self._answer(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the validation is over."""
        self._is_validating = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the epoch's validation."""
        scores = trainer.callback_metrics
        self.scores.update({k: float(v) for k, v in scores.items() if is_score(k)})
        value = float(scores[self.monitor]) if self.monitor in scores else None
        validates = sum(trainer.num_val_batches) > 0
        # A score that is no finite number chooses nothing: no later one would ever be better.
        improved = not validates or (value is not None and self._improves(value))
        if improved and value is not None:
            self.best, self.best_scores = value, dict(self.scores)
        # A phase that its steps have ended within an epoch can be made longer there.
        within = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        self._is_cut = not is_whole_epoch(trainer)
        self._position = (trainer.current_epoch, within) if self._is_cut else (trainer.current_epoch + 1, 0)
        self._save(trainer, BEST if improved else LAST)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let ``best`` be ``last`` where no validation chose one."""
        self._files.settle()
        best = self.folder / BEST
        if trainer.is_global_zero and not best.exists() and (self.folder / LAST).exists():
            copy_checkpoint(self.folder / LAST, best)

    def _answer(self, trainer: pl.Trainer) -> None:
        request = self._agreement.of(trainer, self._request(trainer.global_step))
        if request == NOTHING:
            return
        self._agreement.forget()
        if trainer.global_step > self._saved_step:
            self._save(trainer)
        if request != SAVE:
            self._files.settle()
            saved = trainer.global_step == self._saved_step and trainer.global_step > 0
            raise Interrupted(signal.Signals(request - SAVE).name, saved)

    def _request(self, step: int) -> int:
        if self._interruption.received is not None:
            return SAVE + self._interruption.received
        steps, seconds = step - self._saved_step, time.monotonic() - self._saved_at
        by_steps = self._every_steps is not None and steps >= self._every_steps
        by_time = self._every_seconds is not None and seconds >= self._every_seconds and steps > 0
        return SAVE if by_steps or by_time else NOTHING

    def _save(self, trainer: pl.Trainer, name: str = LAST) -> None:
        if self._before_saving is not None:
            self._before_saving()
        # First what the loggers know, then the checkpoint: a restart may find a step logged that it does again, and
        # drops it, but never a step done that is not logged.
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.folder / name)
        copies = name == BEST and trainer.is_global_zero
        self._files.then(partial(self._saved, trainer.global_step, copies))
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _saved(self, step: int, copies: bool) -> None:
        if copies:
            # In this order: a restart after a crash in between finds the best one, and it is the newest.
            copy_checkpoint(self.folder / BEST, self.folder / LAST)
        if self._on_saved is not None:
            self._on_saved(step)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Record the position, and describe it to Lightning as a moment between two steps.

        Raises:
            TrainingError: Weights, or an average of them, are not finite.
        """
        states = (checkpoint["state_dict"], checkpoint.get(TRAINED, {}))
        wrong = list(dict.fromkeys(k for state in states for k, v in state.items() if not v.isfinite().all()))
        if wrong:
            raise TrainingError(
                f"{len(wrong)} weights are not finite after step {trainer.global_step} (first: {wrong[0]}) and "
                f"are not saved; {self.folder / LAST} holds the state before. Lower the learning rate, or train with "
                "trainer.precision=32-true."
            )
        epoch, batch = self._position
        data = _data(trainer)
        batches = data.batches_per_epoch() if data is not None else int(trainer.num_training_batches)
        checkpoint[RECORD] = {
            **checkpoint.get(RECORD, {}),
            "step": trainer.global_step,
            "position": {"epoch": epoch, "batch": batch, "batches": batches},
        }
        fit = checkpoint["loops"]["fit_loop"]
        # Lightning counts a step after the validation that may follow it.
        checkpoint[RECORD]["rows"] = fit["epoch_loop.state_dict"]["_batches_that_stepped"] + self._is_validating
        if self._is_validating:
            # A restart repeats this validation from its start: the scores so far are in no checkpoint.
            fit["epoch_loop.val_loop.batch_progress"].update(total=dict(_MID_EVALUATION), current=dict(_NOT_STARTED))
        elif batch > 0:
            if self._is_cut:
                # Lightning has counted the epoch as done.
                for progress in (fit["epoch_progress"][kind] for kind in ("total", "current")):
                    progress["processed"] -= 1
            # The batch that has been fetched has not been used.
            for progress in (fit["epoch_loop.batch_progress"][kind] for kind in ("total", "current")):
                progress["ready"] = progress["completed"]
            fit["epoch_loop.batch_progress"]["is_last_batch"] = False
            if batch % int(trainer.val_check_batch or batch + 1) == 0:
                # Lightning counts the step of a validation within an epoch once more when it goes on after it.
                fit["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Begin an epoch anew whose batches are others than when the checkpoint was written."""
        optimizers, rates = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
        self._restored = (len(optimizers), len(rates), checkpoint["global_step"])
        self._restored_epoch = checkpoint.get(RECORD, {}).get("position", {}).get("epoch")
        data = _data(trainer)
        if data is not None and data.batches_done() != data.start[1]:
            fit, done = checkpoint["loops"]["fit_loop"], data.batches_done()
            fit["epoch_loop.batch_progress"].update(current=dict.fromkeys(_NOT_STARTED, done), is_last_batch=done > 0)
            if not done and "rows" in checkpoint[RECORD]:  # earlier versions did not keep it
                # Lightning takes the start of an epoch for a validation, too, whose step it counts once more.
                fit["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint[RECORD]["rows"] - 1

    def _improves(self, value: float) -> bool:
        return math.isfinite(value) and (self.best is None or self._beats(value, self.best))

    def state_dict(self) -> dict[str, Any]:
        """Remember the best score over a restart."""
        return {"best": self.best, "scores": self.scores, "best_scores": self.best_scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best score before a restart, unless its checkpoint is gone."""
        best = state_dict.get("best")
        # Earlier versions kept infinite ones, which nothing could follow.
        self.best = best if best is not None and math.isfinite(best) and (self.folder / BEST).exists() else None
        self.scores = dict(state_dict.get("scores", {}))
        # Absent in checkpoints of earlier versions.
        self.best_scores = dict(state_dict.get("best_scores", {})) if self.best is not None else {}


def _data(trainer: pl.Trainer) -> PairsDataModule | None:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return data if isinstance(data, PairsDataModule) else None
