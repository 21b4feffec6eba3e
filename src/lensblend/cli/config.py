"""The typed part of the configuration: a misspelt key or a wrong type is refused before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

import lensblend


@dataclass
class Loader:
    """How pairs reach the network: flips, workers, and how many of them.

    Attributes:
        flips: ``random`` (horizontal and vertical, p = 0.5 each), ``expand`` (the paper's: original, horizontal and
            vertical copies, three samples a pair and epoch) or ``none``.
        num_workers: Processes that read and resize; 0 reads in the training process.
        limit_train: Use the first so many training pairs only.
        limit_val: Use the first so many validation pairs only.
    """

    flips: str = "random"
    num_workers: int = 2
    limit_train: int | None = None
    limit_val: int | None = None


@dataclass
class PhaseSchema:
    """Types of one phase; `lensblend.training.phases.Phase` says what each key means and checks the ranges."""

    image_size: list[int] = MISSING
    batch_size: int = MISSING
    max_epochs: int = MISSING
    lr: float = MISSING
    lr_final: float = MISSING
    loss: dict[str, Any] = MISSING
    lr_path: str = "cosine"
    optimizer: dict[str, Any] = field(
        default_factory=lambda: {"_target_": "torch.optim.Adam", "betas": [0.9, 0.999]},
    )
    monitor: str = "val/psnr"
    validate_every: int = 1


@dataclass
class EveryPhaseSchema:
    """Values that replace those of every phase; null keeps each phase's own."""

    image_size: list[int] | None = None
    batch_size: int | None = None
    max_epochs: int | None = None
    lr: float | None = None
    lr_final: float | None = None
    loss: dict[str, Any] | None = None
    lr_path: str | None = None
    optimizer: dict[str, Any] | None = None
    monitor: str | None = None
    validate_every: int | None = None


@dataclass
class ScheduleSchema:
    """Types of a schedule."""

    run: list[str] = MISSING
    phases: dict[str, PhaseSchema] = MISSING
    every_phase: EveryPhaseSchema = field(default_factory=EveryPhaseSchema)


@dataclass
class Train:
    """Top level of ``lensblend train``.

    Attributes:
        run_dir: The run's folder; the same folder again continues it. Default: a new one under outputs/.
        init_from: A checkpoint, or the MegaDepth authors' file, whose weights the first phase starts from.
        seed: Fixes initial weights, order of the pairs and flips.
        name: Names the run where a folder's name would not do (W&B's group, tables).
    """

    data: dict[str, Any] = MISSING
    kernels: dict[str, Any] = MISSING
    backbone: dict[str, Any] = MISSING
    model: dict[str, Any] = MISSING
    module: dict[str, Any] = MISSING
    schedule: ScheduleSchema = field(default_factory=ScheduleSchema)
    metrics: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    loader: Loader = field(default_factory=Loader)
    run_dir: str = MISSING
    init_from: str | None = None
    seed: int = 0
    name: str | None = None


@dataclass
class Evaluate:
    """Top level of ``lensblend evaluate``.

    Attributes:
        data: The data set; default: the one that the checkpoint was trained on.
        metrics: What to score.
        checkpoint: A checkpoint, or a run's or a phase's folder.
        predictions: Instead of a checkpoint: a folder of renderings, scored against ``targets``.
        targets: A folder of targets with the same names as ``predictions``.
        split: ``val`` or ``train``.
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
    """

    data: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    output: str = MISSING
    checkpoint: str | None = None
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


def config_folder() -> Path:
    """Return the folder of the shipped configurations: beside src/ in a checkout, inside the package in a wheel."""
    package = Path(lensblend.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def register() -> None:
    """Make the schemas known to Hydra under the names that conf/train.yaml and conf/evaluate.yaml use."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    store.store(name="evaluate_schema", node=Evaluate)
