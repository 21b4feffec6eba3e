"""The typed part of the configuration: a misspelt key or a wrong type is refused before anything starts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from dataclasses import MISSING as NOTHING
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

import lensblend
from lensblend.cli.arguments import is_multirun, is_one_run
from lensblend.cli.presets import presets
from lensblend.errors import RequestError
from lensblend.runs.messages import is_first_process
from lensblend.storage import new_folder
from lensblend.training.phases import Phase

SMOKE_SIDE = 32  # pixels; every network takes it


@dataclass
class Loader:
    """How pairs reach the network: flips, workers, and how many of them.

    Attributes:
        flips: ``random`` (horizontal and vertical, p = 0.5 each), ``expand`` (the paper's: original, horizontal and
            vertical copies, three samples a pair and epoch), ``horizontal`` (p = 0.5) or ``none``.
        num_workers: Processes that read and resize; 0 reads in the training process.
        val_batch_size: Pairs of one validation batch and device, whatever a phase's ``batch_size``: validation sees
            whole photos where training sees crops. Scores are per image; only memory and time depend on it.
        cache: Keep the pairs of files resized to each phase's size, so that epochs need not decode them; the batches
            are the same.
        limit_train: Use the first so many training pairs only.
        limit_val: Use the first so many validation pairs only, and of test pairs as many.
    """

    flips: str = "random"
    num_workers: int = 2
    val_batch_size: int = 1
    cache: bool = False
    limit_train: int | None = None
    limit_val: int | None = None


@dataclass
class Checkpoint:
    """When a training saves, besides after every epoch and when a signal stops it.

    Attributes:
        every_steps: After so many optimizer steps.
        every_minutes: After so much time; what a crash can cost at most.
        background: Whether files are written while the training goes on, from a copy in memory.
    """

    every_steps: int | None = None
    every_minutes: float | None = 10.0
    background: bool = False


@dataclass
class NotFinite:
    """What happens when a loss or a gradient is NaN or infinite.

    Attributes:
        policy: ``stop`` (an error that names the pairs), ``skip`` (leave the step out) or ``roll_back`` (also go back
            to the last checkpoint's weights).
        limit: Stop after so many in one phase.
    """

    policy: str = "stop"
    limit: int = 10


def phase_schemas(phase: type) -> tuple[Any, Any]:
    """Return the types of a phase, and of the values that replace those of every phase; null keeps each phase's own.

    They are no more than types: the phase itself checks the values, once they are complete.
    """
    one, every = [], []
    for known in fields(phase):
        kind = get_type_hints(phase)[known.name]
        is_required = known.default is NOTHING and known.default_factory is NOTHING
        default = field(default=MISSING if is_required else known.default, default_factory=known.default_factory)
        one.append((known.name, kind, default))
        # Not `dict | None`: OmegaConf cannot put a dict from a command line in the place of such a None.
        every.append((known.name, Any if get_origin(kind) is dict else kind | None, None))
    return make_dataclass("PhaseSchema", one), make_dataclass("EveryPhaseSchema", every)


PhaseSchema, EveryPhaseSchema = phase_schemas(Phase)


@dataclass
class ScheduleSchema:
    """Types of a schedule."""

    run: list[str] = MISSING
    phases: dict[str, PhaseSchema] = MISSING  # type: ignore[valid-type]
    every_phase: EveryPhaseSchema = field(default_factory=EveryPhaseSchema)  # type: ignore[valid-type]
    total_epochs: int | None = None


@dataclass
class Train:
    """Top level of ``lensblend train``.

    Attributes:
        run_dir: The run's folder; the same folder again continues it. Default: a new one under outputs/.
        resume: A run's folder; its configuration is restored and its training goes on. Nothing else is needed.
        resume_overrides: Keys (or their beginnings) that may have changed when a run goes on, e.g. ``[loader]``.
        init_from: A checkpoint, an exported network, `default` (the model in the box), hf://OWNER/NAME or a file that
            the network's authors published (docs/models/authors.md), whose weights the first phase starts from; or a
            mapping with what is wanted of it (`lensblend.runs.starts.Start`).
        seed: Fixes initial weights, order of the pairs and flips.
        deterministic: Choose deterministic GPU algorithms: bitwise repeatable, slower. The CPU always is.
        ema: Largest share of itself that a moving average of the weights keeps in a step, such as 0.999; the average
            is what is validated and kept as best. None averages nothing.
        swa: Share of a phase from which on the weights at the ends of epochs are averaged instead, such as 0.75.
        saliency: Where saliency comes from, for networks that take it and losses that compare with it.
        disparity: The same for disparity.
        focus: Where the map of what is in focus comes from, with which a loss compares a predicted mask.
        name: Names the run where a folder's name would not do (W&B's group, tables).
    """

    data: dict[str, Any] = MISSING
    kernels: dict[str, Any] = MISSING
    backbone: dict[str, Any] = MISSING
    model: dict[str, Any] = MISSING
    saliency: dict[str, Any] | None = None
    disparity: dict[str, Any] | None = None
    focus: dict[str, Any] | None = None
    module: dict[str, Any] = MISSING
    schedule: ScheduleSchema = field(default_factory=ScheduleSchema)
    metrics: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    loader: Loader = field(default_factory=Loader)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    not_finite: NotFinite = field(default_factory=NotFinite)
    run_dir: str = MISSING
    resume: str | None = None
    resume_overrides: list[str] = field(default_factory=list)
    init_from: Any = None
    ema: float | None = None
    swa: float | None = None
    seed: int = 0
    deterministic: bool = False
    name: str | None = None


@dataclass
class Evaluate:
    """Top level of ``lensblend evaluate``.

    Attributes:
        data: The data set; default: the one that the checkpoint was trained on.
        metrics: What to score.
        saliency: Where a network's saliency comes from; default: as in its training.
        disparity: The same for disparity.
        checkpoint: A checkpoint, an exported network, a run's or a phase's folder, `default` (the model in the box),
            hf://OWNER/NAME, or a list of them, whose renderings are averaged.
        network: What a ``checkpoint`` that the network's authors published holds, by the name of a baseline: ``dbsi``.
        predictions: Instead of a checkpoint: a folder of renderings, scored against ``targets``.
        targets: A folder of targets with the same names as ``predictions``.
        split: ``val``, ``train`` or ``test``.
        output: The folder that receives scores.csv and metrics.json.
        image_size: Height and width at which the network runs; default: the size its phase was trained at.
        blend_at: ``network`` (section 5.1: render at the network's size, bilinear back) or ``photo`` (weights
            upsampled, blurs and blending at the photo's full size).
        score_at: ``photo`` (the pairs' own size, as the published tables do) or ``network`` (photo and target resized
            to the network's size first).
        references: Score the unmodified photo and each uniform blur of the bank as well.
        gallery: Write gallery.html and sheet.png with photo, target, bokeh and weight maps.
        limit: Evaluate the first so many pairs only.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: What computes the network: ``torch``, ``compile``, ``onnx`` or ``openvino``; the last two on the CPU.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``, as the engine offers.
        fast: Blur on coarser grids: Gaussians, within half a level of 8 bits.
    """

    data: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    saliency: dict[str, Any] | None = None
    disparity: dict[str, Any] | None = None
    output: str = MISSING
    checkpoint: Any = None
    network: str | None = None
    predictions: str | None = None
    targets: str | None = None
    split: str = "val"
    image_size: list[int] | None = None
    blend_at: str = "network"
    score_at: str = "photo"
    references: bool = False
    gallery: bool = False
    limit: int | None = None
    device: str = "auto"
    engine: str = "torch"
    precision: str = "fp32"
    fast: bool = False


def config_folder() -> Path:
    """Return the folder of the shipped configurations: beside src/ in a checkout, inside the package in a wheel."""
    package = Path(lensblend.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def run_folder(resume: str | None, run_dir: str | None, overrides: str) -> str:
    """Return the folder of a run: the one it goes on in, the one it was given, or a new one.

    A new one is named by the time, with a number where two start in one second. On a cluster it is not: a SLURM job
    may be preempted and started again, so there it is named by the job's number (an array's, with the task's) and a
    hash of the overrides.

    Args:
        resume: The configuration's ``resume``.
        run_dir: The configuration's ``run_dir``.
        overrides: The command's overrides as one text.
    """
    if resume or run_dir:
        return str(resume or run_dir)
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    if not job:
        return _fresh_folder("outputs/train", overrides, is_one_run(sys.argv[1:]))
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    number = f"{job}_{task}" if task else job
    return f"outputs/train/slurm-{number}/{hashlib.sha256(overrides.encode(errors='surrogateescape')).hexdigest()[:8]}"


def sweep_folder(overrides: str) -> str:
    """Return the folder of a new sweep, named by the time.

    Args:
        overrides: The command's overrides as one text.
    """
    return _fresh_folder("outputs/multirun", overrides, is_multirun(sys.argv[1:]))


@functools.cache  # one command has one folder, however often its configuration is looked at
def _fresh_folder(kind: str, _: str, is_wanted: bool) -> str:
    """Return a folder named by the time; where it is wanted, it is made, and no other command has the same."""
    if is_wanted and _is_one_of_several():
        raise RequestError(
            "The processes that torchrun or the like starts cannot agree on a new folder, named by the time: give "
            "`run_dir`, the same to each."
        )
    folder = Path(datetime.now().strftime(f"{kind}/%Y-%m-%d/%H-%M-%S"))
    # The other processes of a training cannot know what the first has made.
    return str(new_folder(folder) if is_wanted and is_first_process() else folder)


def _is_one_of_several() -> bool:
    """Tell whether a launcher has started this process as one of several that train together."""
    told = "RANK" in os.environ or "LOCAL_RANK" in os.environ
    return told and (os.environ.get("WORLD_SIZE") or "1") != "1"


def smoke_size(*, _root_: DictConfig) -> list[int]:
    """Return the smallest height and width at which every loss of a schedule can be computed, 32 and 48 or more.

    Args:
        _root_: The configuration, as OmegaConf passes it.
    """
    # Imported here: composing a configuration needs no PyTorch, and what is not valid is refused with its place later.
    from lensblend.losses.sizes import SMALLEST_SIDES
    from lensblend.runs.instantiate import classes_in
    from lensblend.runs.roles import LOSS

    phases: Any = OmegaConf.select(_root_, "schedule.phases")
    content: Any = OmegaConf.to_container(phases, resolve=True) if phases else {}
    side = SMOKE_SIDE
    for phase in content.values():
        for term in phase["loss"].values():
            with contextlib.suppress(RequestError, TypeError, KeyError):
                side = max([side, *(SMALLEST_SIDES.get(kind, 0) for kind in classes_in(term["loss"], "loss", LOSS))])
    return [side, side + SMOKE_SIDE // 2]


def register() -> None:
    """Make the schemas, resolvers and sweep presets known to Hydra under the names that conf/ and commands use."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("smoke_size", smoke_size, replace=True)
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    store.store(name="evaluate_schema", node=Evaluate)
    for name, node in presets().items():
        store.store(group="sweep", name=name, node=node, package="_global_")
