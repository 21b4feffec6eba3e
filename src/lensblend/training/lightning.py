"""Arguments of Lightning's trainer: which a person sets, which this project sets, and where its own keys stand."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from typing import Any

from lensblend.errors import RequestError, nearest, short
from lensblend.runs.instantiate import build
from lensblend.runs.roles import STRATEGY

# Passed on as they are given.
PASSED = (
    *("accelerator", "strategy", "devices", "num_nodes", "precision", "sync_batchnorm", "benchmark"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "val_check_interval"),
    *("limit_train_batches", "limit_val_batches", "min_epochs", "min_steps", "inference_mode"),
    *("log_every_n_steps", "enable_progress_bar", "enable_autolog_hparams", "profiler", "detect_anomaly"),
)
# Beside Lightning's: what PyTorch, the optimizer and the loader are asked for.
OWN = ("tf32", "fused_optimizer", "global_batch")
# Set by the runner, or without any effect on what it runs: what does it instead.
OURS = {
    "logger": "choose a `logger`, such as logger=wandb",
    "callbacks": "add to `callbacks`, such as +callbacks.NAME._target_=CLASS",
    "max_epochs": "set schedule.phases.PHASE.max_epochs, schedule.every_phase.max_epochs or schedule.total_epochs",
    "check_val_every_n_epoch": "set schedule.phases.PHASE.validate_every or schedule.every_phase.validate_every",
    "num_sanity_val_steps": "debug=smoke tries a whole training, with validation, in seconds",
    "overfit_batches": "set loader.limit_train",
    "limit_test_batches": "a training tests nothing; `lensblend evaluate limit=N` scores the first N pairs",
    "limit_predict_batches": "a training predicts nothing; `lensblend render` does",
    "enable_checkpointing": "every training writes checkpoints; `checkpoint` says how often",
    "enable_model_summary": "each phase says how many parameters it has; add "
    "+callbacks.summary._target_=pytorch_lightning.callbacks.ModelSummary for a table",
    "deterministic": "set deterministic=true",
    "use_distributed_sampler": "the pairs are shared among processes already",
    "barebones": "leave out what takes time by itself: logger=none callbacks.panels=null",
    "plugins": "give `trainer.strategy` and `trainer.precision` by their names",
    "reload_dataloaders_every_n_epochs": "each epoch has its own order and crops already",
    "default_root_dir": "set run_dir",
    "model_registry": "no checkpoint leaves the run's folder",
}
# These would end a phase before its epochs are done.
ENDING = {
    "max_steps": "set schedule.phases.PHASE.max_steps, or schedule.every_phase.max_steps",
    "max_time": "a phase ends after its epochs: set schedule.phases.PHASE.max_epochs; to stop in time and go on later, "
    "send SIGTERM (`timeout 1h lensblend train ...`), which saves",
    "fast_dev_run": "debug=smoke tries a whole training in seconds",
}

# Numbers with which Lightning would train nothing, validate nothing, or do nothing at all.
ABOVE_ZERO = {
    "accumulate_grad_batches": "leave it out to take a step on every batch",
    "limit_train_batches": "a phase trains on one batch at least; loader.limit_train keeps the first pairs alone",
    "limit_val_batches": "a phase's best.ckpt is chosen by validation; schedule.every_phase.validate_every lets "
    "epochs pass between two",
    "gradient_clip_val": "leave it out, or null, to clip nothing",
    "val_check_interval": "leave it out to validate after the epoch",
    "log_every_n_steps": "choose logger=none to log nothing",
}


def trainer_arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is passed on to Lightning's trainer, a strategy built; null stands for what was not given.

    Args:
        node: The configuration's ``trainer``; of this project's own keys nothing is returned.

    Raises:
        RequestError: An argument is not one of Lightning's, or not to be set there; the message names the key that is.
            Or it would have no effect, or keep anything from being trained or validated. Or one of this project's own
            is neither true nor false.

    Example:
        >>> trainer_arguments({"devices": 1, "max_time": None})
        {'devices': 1}
        >>> trainer_arguments({"default_root_dir": "x"})
        Traceback (most recent call last):
        lensblend.errors.RequestError: `trainer.default_root_dir='x'` would have no effect: set run_dir.
    """
    given = {key: value for key, value in node.items() if value is not None}
    for key in OWN:
        value = given.pop(key, None)
        if not isinstance(value, bool | None):
            raise RequestError(f"`trainer.{key}` is true, false or null, but got {short(value)}.")
    for key, value in given.items():
        if key in OURS:
            raise RequestError(f"`trainer.{key}={short(value)}` would have no effect: {OURS[key]}.")
        if key in ENDING:
            raise RequestError(f"`trainer.{key}={short(value)}` is not taken: {ENDING[key]}.")
        if key not in PASSED:
            raise RequestError(
                f"`trainer.{key}` is not an argument of Lightning's trainer{nearest(str(key), (*PASSED, *OWN))}"
            )
        if key in ABOVE_ZERO and isinstance(value, int | float) and not 0 < value < math.inf:
            raise RequestError(f"`trainer.{key}` is above 0 and finite, but got {short(value)}; {ABOVE_ZERO[key]}.")
    if "gradient_clip_algorithm" in given and "gradient_clip_val" not in given:
        raise RequestError(
            f"`trainer.gradient_clip_algorithm={short(given['gradient_clip_algorithm'])}` would have no effect: set "
            "trainer.gradient_clip_val, or leave it out."
        )
    if isinstance(given.get("strategy"), Mapping):
        given["strategy"] = build(given["strategy"], "trainer.strategy", STRATEGY)
    return given


def quiet_lightning() -> None:
    """Keep Lightning's notes on devices, and its tips, from standing between the lines that a person reads."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Where SLURM is installed, every training that is none of its jobs would be advised against.
    warnings.filterwarnings("ignore", message="The `srun` command is available.*")
