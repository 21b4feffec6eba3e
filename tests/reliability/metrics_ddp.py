"""R13: a validation over several processes against one plain loop over the same images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from lensblend.data.catalogue import Folders
from lensblend.data.samples import Samples
from lensblend.metrics.fidelity import Psnr, Ssim, SsimWang
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.training.loggers.metrics_csv import read_rows
from lensblend.training.restoration import Restoration
from reliability.children import start
from reliability.resumes import before_call, tidy
from reliability.rows import Bench, Case, expect
from reliability.streams import folder_of_pairs

SCORES = {"psnr": Psnr, "ssim": Ssim, "ssim_wang": SsimWang}
WORLDS, IMAGES = (1, 2, 3, 4), (7, 8, 294)


def ddp_metrics(bench: Bench) -> Iterator[Case]:
    """R13: processes × validation images, each a training of one step and one validation through the command line."""
    everything = [(world, images) for images in IMAGES for world in WORLDS]
    chosen = everything if bench.full else [(1, 8), (2, 7), (3, 7)]
    # Several processes compute in each: one case at a time.
    yield from (_validated(bench, *case) for case in chosen)


def _validated(bench: Bench, world: int, images: int) -> Case:
    case = Case(f"{world} processes, {images} images")
    data = folder_of_pairs(bench.folder / "r13-data" / f"{world}-{images}", world, images)
    run = bench.fresh(f"r13-{world}-{images}")
    seen = bench.fresh(f"r13-seen-{world}-{images}")
    seen.mkdir()
    arguments = [
        *("data=folder", *(f"data.{key}={value}" for key, value in data.items()), f"run_dir={run}"),
        *("+backbone.width_divisor=16", "metrics.lpips=null", "callbacks.panels=null", "schedule.run=[phase1]"),
        # Batches of one: what a network gives for an image may depend on the batch's size, in the last bits.
        "schedule.every_phase={image_size: [32, 48], batch_size: 1, max_epochs: 1}",
        "loader.num_workers=0",
        "trainer=cpu",
    ]
    code = start(arguments, run.with_name(f"{run.name}.log"), world, before=partial(_write_ids, seen)).wait()
    case.failures = expect((code == 0, f"exit code {code}; see {run}.log"))
    if not case.failures:
        ids = sorted(line for file in seen.iterdir() for line in file.read_text().split())
        logged = [row for row in read_rows(run / "metrics.csv") if row.get("val/psnr")][-1]
        expected = _plain_means(run, data)
        apart = {name: abs(float(logged[f"val/{name}"]) - mean) for name, mean in expected.items()}
        whole = sorted(str(10_000 + index) for index in range(images))
        case.failures = expect(
            (ids == whole, f"{len(ids)} images scored, {len(set(ids))} different ones, of {images}"),
            (len(list(seen.iterdir())) == world, f"{len(list(seen.iterdir()))} processes validated"),
            *((value < 1e-6, f"{name} is off by {value:.1e}") for name, value in apart.items()),
        )
        case.name += f", off by at most {max(apart.values()):.0e}"
    return tidy(run, case)


def _write_ids(folder: Path) -> None:
    """Let this process note the id of each image that it scores."""

    def act(_: Restoration, batch: dict[str, Any], *__: Any) -> None:
        with (folder / str(os.getpid())).open("a") as file:
            file.writelines(f"{name}\n" for name in batch["id"])

    before_call(Restoration, "validation_step", act)


def _plain_means(run: Path, data: dict[str, str]) -> dict[str, float]:
    """Score the run's last weights image by image, and find their loss: no loader, no Lightning, no metric state."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    network = build(config["model"], "model", *MODELS).eval().to(memory_format=torch.channels_last)
    network.load_state_dict(read_checkpoint(run / "phase1" / "last.ckpt")["state_dict"])
    samples = Samples(Folders(**data).split("val"), [32, 48])
    values: dict[str, list[float]] = {name: [] for name in (*SCORES, "loss")}
    for index in range(len(samples)):
        photo, target = (samples[index][name][None].float() / 255 for name in ("photo", "target"))
        with torch.no_grad():
            bokeh = network(photo).bokeh.float()
        for name, metric in SCORES.items():
            values[name] += metric().per_image(bokeh, target).double().tolist()
        values["loss"].append((bokeh - target).abs().mean().item())
    return {name: sum(scores) / len(scores) for name, scores in values.items()}
