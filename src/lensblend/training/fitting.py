"""The fit of one phase: its loggers, callbacks and trainer, and what is said when it ends badly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lensblend.errors import Interrupted, LensblendError, RequestError
from lensblend.runs.instantiate import build
from lensblend.runs.messages import is_first_process, say
from lensblend.runs.roles import CALLBACK
from lensblend.runs.status import Status
from lensblend.training.callbacks.end import EndAfterSteps
from lensblend.training.callbacks.final_scores import FinalScores
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.callbacks.prune import is_pruned
from lensblend.training.callbacks.reseed import Reseed
from lensblend.training.callbacks.same_config import SameConfig
from lensblend.training.callbacks.weight_average import WeightAverage
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.cluster import cluster_plugins, without_srun
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.failures import explain_failure, explain_refusal, explain_restart, first_line
from lensblend.training.fit import Fit
from lensblend.training.interruption import Interruption
from lensblend.training.lightning import trainer_arguments
from lensblend.training.loggers.phase_logger import PhaseLogger, build_loggers
from lensblend.training.phase_run import PhaseRun
from lensblend.training.phases import Phase, monitored
from lensblend.training.resume import Stopped

PROFILE, PROFILE_LINES, PROFILE_WIDTH = "profile", 24, 160
# Each writes fit-profile.txt into the phase's folder.
PROFILERS: dict[Any, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


class PhaseFit:
    """One ordinary fit of Lightning's, with what this project adds to every one of them.

    Args:
        phase_run: The phase's place: its folder, its training's configuration.
        phase: How long it trains, and what chooses its best checkpoint.
        module: What is trained.
        data: On what.
        interruption: Where signals arrive.
        status: Told of every step that is saved.
        stopped: Where to go on.
        began: Called once the training goes on, with all that the checkpoint holds restored.
    """

    def __init__(
        self,
        phase_run: PhaseRun,
        phase: Phase,
        module: Fit,
        data: PairsDataModule,
        interruption: Interruption,
        status: Status,
        stopped: Stopped | None,
        began: Callable[[], None],
    ) -> None:
        self._run, self._phase, self._config = phase_run, phase, phase_run.config
        self._module, self._data, self._resume = module, data, stopped.path if stopped else None
        self._files = AtomicCheckpointIO({stopped.path: stopped.content} if stopped else None)
        self._interruption, self._began = interruption, LambdaCallback(on_train_start=lambda *_: began())
        self._trains = any(parameter.requires_grad for parameter in module.network.parameters())
        # As many as steps at most, where these alone end it: `EndAfterSteps` knows better once an epoch is known.
        epochs = phase.max_epochs or (stopped.position[0] if stopped else 0) + (phase.max_steps or 1)
        self._epochs = epochs if self._trains else 1
        averages = {key: self._config[key] for key in ("ema", "swa") if self._config.get(key) is not None}
        self._average = WeightAverage(self._epochs, **averages) if averages else None
        self._finite = FiniteGuard(
            phase_run.folder,
            before_reading=self._files.settle,
            average=self._average,
            **self._config["not_finite"],
        )
        self._keep = KeepLastAndBest(
            phase_run.folder,
            phase.monitor,
            monitored(phase, module.scores).beats,
            interruption,
            files=self._files,
            before_saving=self._finite.settle,
            on_saved=lambda step: status.update_phase(phase_run.phase, step=step),
            **self._config["checkpoint"],
        )

    def run(self) -> None:
        """Train the phase to its end.

        Raises:
            LensblendError: It cannot go on; the message says why and what to do.
            Interrupted: A signal asked it to stop, and what is done is saved.
        """
        loggers = build_loggers(self._config["logger"], self._run)
        exit_code = 1
        try:
            self._trainer = self._build_trainer(loggers)
            with self._interruption.deferred(), _without_advice():
                self._trainer.fit(self._module, datamodule=self._data, ckpt_path=self._resume, weights_only=True)
            exit_code = 0
            self._show_profile()
        except SIGTERMException:
            # The signal came before Lightning's handler had been replaced; it stops after the first step.
            exit_code = Interrupted.exit_code
            raise Interrupted("SIGTERM") from None
        except Interrupted as stop:
            exit_code = stop.exit_code
            raise
        except Exception as error:
            explained = self._explained(error)
            for logger in _ours(loggers):
                logger.log_failure(str(explained) or type(explained).__name__)
            if explained is error:
                raise
            raise explained from error
        finally:
            self._files.close()
            for logger in _ours(loggers):
                logger.finish(exit_code)
        # No process may look for this phase's best weights before the first one has written them.
        self._trainer.strategy.barrier("phase")

    def _explained(self, error: Exception) -> BaseException:
        """Return the error that a user can act on, or the same one."""
        explained = explain_failure(error, self._run.phase, self._phase)
        if explained is error and self._resume and not self._keep.began:
            explained = explain_restart(error, self._resume)
        if explained is error:
            explained = explain_refusal(error, self._run.phase) or error
        return explained

    def _show_profile(self) -> None:
        """Show the beginning of what a profiler has written into the phase's folder, and where the rest is."""
        if self._config["trainer"].get("profiler") not in PROFILERS or not is_first_process():
            return
        for report in sorted(self._run.folder.glob(f"fit-{PROFILE}*.txt"))[:1]:
            lines = report.read_text(encoding="utf-8").strip().splitlines()
            shown = [line[:PROFILE_WIDTH].rstrip() for line in lines[:PROFILE_LINES]]
            say("\n".join([*shown, f"{self._run.phase}: all {len(lines)} lines of the profile are in {report}"]))

    @property
    def was_pruned(self) -> bool:
        """Whether a search ended the fit early."""
        return is_pruned(self._trainer)

    def outcome(self) -> dict[str, Any]:
        """Return what ``status.json`` says of the phase from now on."""
        keep = self._keep
        best = {} if keep.best is None else {self._phase.monitor: keep.best}
        epochs = self._trainer.current_epoch
        step = self._trainer.global_step
        is_over = epochs >= self._epochs or step >= (self._phase.max_steps or math.inf)
        state = "pruned" if self.was_pruned else "done" if is_over else "stopped"
        if state == "stopped":
            say(f"{self._run.phase}: a callback stopped it after {epochs} of {self._epochs} epochs")
        return {"state": state, "epochs": epochs, "step": step, "scores": keep.scores, "best": best}

    @without_srun()
    def _build_trainer(self, loggers: list[Logger]) -> pl.Trainer:
        nodes = self._config["callbacks"].items()
        configured = [build(node, f"callbacks.{key}", CALLBACK) for key, node in nodes if node]
        same, reseed = SameConfig(self._config, self._run.run_dir), Reseed(self._config["seed"])
        # After those that look at a validation's end, so that they see what was validated.
        average = [self._average] if self._average is not None else []
        end = (EndAfterSteps(self._phase.max_steps), *average, self._keep)
        chosen = trainer_arguments(self._config["trainer"])
        if chosen.get("profiler") in PROFILERS:
            # By its name alone, Lightning would give its report to a logger that is silent here.
            chosen["profiler"] = PROFILERS[chosen["profiler"]](dirpath=self._run.folder, filename=PROFILE)
        if self._config["deterministic"]:
            chosen["benchmark"] = False  # the fastest convolution is another one in another run
        try:
            return pl.Trainer(
                **chosen | self._limits(),
                default_root_dir=self._run.folder,
                check_val_every_n_epoch=min(self._phase.validate_every, self._epochs),
                logger=loggers or False,
                callbacks=[same, *configured, reseed, self._finite, *end, self._began, FinalScores(self._keep)],
                plugins=[self._files, *cluster_plugins()],
                deterministic=self._config["deterministic"],
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                enable_model_summary=False,
            )
        except LensblendError:
            raise
        except Exception as error:  # Lightning refuses values in a dozen ways
            raise RequestError(f"`trainer` was refused by Lightning: {first_line(error)}") from error

    def _limits(self) -> dict[str, int]:
        """Return how long the trainer trains; a network without weights to train is scored once."""
        limits = {"max_epochs": self._epochs}
        if len(self._data.val) == 0:
            limits["limit_val_batches"] = 0
        if not self._trains:
            limits["limit_train_batches"] = 1
        return limits


def _ours(loggers: Iterable[Logger]) -> list[PhaseLogger]:
    return [logger for logger in loggers if isinstance(logger, PhaseLogger)]


@contextmanager
def _without_advice() -> Iterator[None]:
    """Fit without the advice of Lightning that does not apply here."""
    with warnings.catch_warnings():
        # Lightning 2.6 asks PyTorch in a way that PyTorch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=".*treespec.*LeafSpec.*")
        # The module moves and converts batches also without this data module; that it does so with one is meant.
        hooks = "(transfer_batch_to_device|on_after_batch_transfer)"
        warnings.filterwarnings("ignore", message=f"You have overridden `{hooks}`.*")
        # The metrics add up over processes by themselves; training values are the first process's.
        warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist=True.*")
        # Few workers are right for small data sets and few cores; the loader group sets them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # It is: `KeyedSampler` starts at the batch that the checkpoint names.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch.*")
        # Networks without weights to train are scored all the same; the run says so itself.
        warnings.filterwarnings("ignore", message=".*configure_optimizers` returned `None`.*")
        warnings.filterwarnings("ignore", message="`training_step` returned `None`.*")
        # Small data sets have fewer batches than `log_every_n_steps`; each epoch logs its means all the same.
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        yield
