"""Stop a training of an Optuna search early when the trainings before it were better after as many epochs."""

from __future__ import annotations

import fcntl
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lensblend.errors import RequestError
from lensblend.runs.building import metric_classes
from lensblend.runs.configuration import read_config
from lensblend.runs.messages import say
from lensblend.runs.redaction import redact
from lensblend.training.phases import Schedule, monitored

PRUNED, FOLDER = "pruned", "folder"
_WITHOUT = "or search without pruning: callbacks.prune=null."


class Prune(pl.Callback):
    """Report each validation's monitored score to the training's own trial, and stop where Optuna's median rule says.

    The rule: the trial's best score so far is worse than the median of the scores that finished trials had after as
    many epochs, counted over all phases. Pruned trials do not take part in the median. The epoch ends as any other,
    with its checkpoints; no further phase starts. The very last epoch is never pruned.

    The trial is the newest running one that drew what this training was given. Its user attributes say ``folder``, by
    which a restarted training finds it again, and ``pruned: true``.

    Args:
        storage: Where the study is kept: a URL of Optuna's.
        study_name: Its name.
        overrides: The training's, as the sweep gave them.
        n_startup_trials: Nothing is pruned before so many trials have been trained to their end.
        n_warmup_steps: No trial is pruned in fewer than so many epochs.
    """

    def __init__(
        self,
        storage: str | None,
        study_name: str | None,
        overrides: Sequence[str],
        n_startup_trials: int = 5,
        n_warmup_steps: int = 0,
    ) -> None:
        for name, value in (("n_startup_trials", n_startup_trials), ("n_warmup_steps", n_warmup_steps)):
            if value < 0:
                raise RequestError(f"`callbacks.prune.{name}` is at least 0, but got {value}.")
        self.storage = storage
        self.study_name = study_name
        self.overrides = list(overrides)
        self.n_startup_trials = n_startup_trials
        self.n_warmup_steps = n_warmup_steps
        self.pruned = False
        self._is_validated = False
        self._storage: Any = None
        self._study: Any = None
        self._trial: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the trial, in the first process.

        Raises:
            RequestError: The study cannot be opened, or its scores cannot be compared; in every process.
        """
        problem = ""
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            try:
                config = read_config(folder.parent)
                schedule = Schedule.from_config(config["schedule"])
                self._before, self._all = epochs(schedule, folder.name)
                self._monitor = schedule.phases[folder.name].monitor
                metric = monitored(schedule.phases[folder.name], metric_classes(config["metrics"]))
                self._open()
                self._check_scores(schedule, "maximize" if metric.higher_is_better else "minimize")
                with self._reached():
                    self._trial = self._claim(folder.parent.resolve())
            except RequestError as error:
                problem = str(error)
        problem = trainer.strategy.broadcast(problem)
        if problem:
            raise RequestError(problem)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch has a score."""
        self._is_validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, ask, and let all processes stop together."""
        if not self._is_validated:
            return
        self._is_validated = False
        score = trainer.callback_metrics.get(self._monitor) if trainer.is_global_zero else None
        stop = score is not None and self._ask(self._before + trainer.current_epoch + 1, float(score))
        self.pruned = trainer.strategy.broadcast(stop)
        if self.pruned:
            trainer.should_stop = True

    def _ask(self, epoch: int, score: float) -> bool:
        """Report a score and return whether to stop; a study that cannot be asked stops nothing."""
        if self._trial is None:
            return False
        if not math.isfinite(score):
            say(f"{self._monitor} is {score} after epoch {epoch} and is not reported to trial {self._name()}.")
            return False
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            # A restart may report an epoch again, with the same score.
            self._storage.set_trial_intermediate_value(self._trial, epoch, score)
            if epoch == self._all or not self._is_worse(self._storage.get_trial(self._trial)):
                return False
            self._storage.set_trial_user_attr(self._trial, PRUNED, True)
        except (OptunaError, SQLAlchemyError, RuntimeError) as error:
            say(f"Trial {self._name()} could not be asked after epoch {epoch}, nothing is pruned: {_line(error)}")
            return False
        say(f"Pruned after epoch {epoch} of {self._all}: finished trials were better by the median ({self._name()}).")
        return True

    def _is_worse(self, trial: Any) -> bool:
        import optuna

        finished = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        # The sweeper records a pruned trial as complete; here it is what Optuna itself would call pruned.
        compared = optuna.create_study(direction=self._study.direction)
        with warnings.catch_warnings():
            # Optuna 2 is pinned; that it may still change this is of no interest to who searches.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            compared.add_trials([other for other in finished if not other.user_attrs.get(PRUNED)])
        return bool(optuna.pruners.MedianPruner(self.n_startup_trials, self.n_warmup_steps).prune(compared, trial))

    def _open(self) -> None:
        """Open the study; a database that is not there is not made."""
        if not isinstance(self.storage, str) or not self.study_name:
            raise RequestError(
                f"`hydra.sweeper.storage={redact(self.storage)}` and `hydra.sweeper.study_name={self.study_name}`: "
                "a training finds its trial in a study with a name and a storage, such as sqlite:///optuna.db; "
                f"{_WITHOUT}"
            )
        with self._reached():
            import optuna
            from sqlalchemy.engine import make_url

            optuna.logging.set_verbosity(logging.WARNING)
            url = make_url(self.storage)
            file = Path(url.database) if url.drivername.startswith("sqlite") and url.database else None
            if file is not None and not file.is_file():
                raise FileNotFoundError(f"{file.absolute()} does not exist")
            self._storage = optuna.storages.get_storage(self.storage)
            self._study = optuna.load_study(self.study_name, self._storage)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Say what to do where the study cannot be opened, read or written."""
        where = f"The study {self.study_name!r} in {redact(self.storage)}"
        # It names its plugins when it is imported.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            import optuna
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError as error:
            raise RequestError(f"{where} needs Optuna: pip install 'lensblend[optuna]' ({error}); {_WITHOUT}") from None
        try:
            yield
        except (optuna.exceptions.OptunaError, SQLAlchemyError, ImportError, OSError, KeyError) as error:
            reason = "there is no such study" if isinstance(error, KeyError) else _line(error)
            raise RequestError(
                f"{where} cannot be reached: {reason}. Start the search with `lensblend train --multirun "
                "hparams_search=optuna`, give another hydra.sweeper.storage (in a run that goes on: "
                f"callbacks.prune.storage), {_WITHOUT}"
            ) from None

    def _check_scores(self, schedule: Schedule, wanted: str) -> None:
        """Refuse scores that cannot be compared, or would be compared the wrong way round."""
        monitors = {schedule.phases[name].monitor for name in schedule.run}
        directions = [direction.name.lower() for direction in self._study.directions]
        if len(monitors) > 1:
            raise RequestError(
                f"The phases monitor {' and '.join(sorted(monitors))}, which cannot be compared: set "
                f"schedule.every_phase.monitor={self._monitor}, {_WITHOUT}"
            )
        if directions != [wanted]:
            raise RequestError(
                f"The study {self.study_name!r} is to {' and '.join(directions)}, but {self._monitor} is to {wanted}: "
                f"set hydra.sweeper.direction={wanted} and a new hydra.sweeper.study_name, {_WITHOUT}"
            )

    def _claim(self, folder: Path) -> int | None:
        """Return the id of this training's trial; None, and a sentence, where there is none to report to."""
        import optuna

        with _alone(folder.parent):
            trials = self._study.get_trials(deepcopy=False)[::-1]
            running = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
            ours = [trial for trial in trials if trial.user_attrs.get(FOLDER) == str(folder)]
            free = [trial for trial in running if FOLDER not in trial.user_attrs and self._has_drawn(trial.params)]
            for trial in [trial for trial in ours if trial in running] + free:
                self._storage.set_trial_user_attr(trial._trial_id, FOLDER, str(folder))
                return int(trial._trial_id)
        ended = f"Trial {ours[0].number} has ended" if ours else "No running trial drew what this training was given"
        say(f"{ended} (study {self.study_name!r} in {redact(self.storage)}): nothing is reported, nothing is pruned.")
        return None

    def _has_drawn(self, params: dict[str, Any]) -> bool:
        # As the sweeper writes them.
        return all(f"{name}={value}" in self.overrides for name, value in params.items())

    def _name(self) -> str:
        return f"{self._storage.get_trial(self._trial).number} of study {self.study_name!r}"


def epochs(schedule: Schedule, phase: str) -> tuple[int, int]:
    """Return how many epochs a schedule has before a phase, and altogether."""
    lengths = [schedule.phases[name].max_epochs or 0 for name in schedule.run]
    if 0 in lengths:
        name = schedule.run[lengths.index(0)]
        raise RequestError(f"Pruning compares by epochs, but {name} ends by `max_steps` alone; give its `max_epochs`.")
    return sum(lengths[: schedule.run.index(phase)]), sum(lengths)


def is_pruned(trainer: pl.Trainer) -> bool:
    """Tell whether a fit was stopped by `Prune`."""
    return any(isinstance(callback, Prune) and callback.pruned for callback in trainer.callbacks)  # type: ignore[attr-defined]


@contextmanager
def _alone(sweep: Path) -> Iterator[None]:
    """Let jobs of a sweep that drew the same values choose their trials one after the other."""
    with (sweep / ".prune.lock").open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _line(error: Exception) -> str:
    return str(redact(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__))
