"""S3: classes and functions that nobody may name, in folders of configurations, overrides and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from reliability.hostile import TINY, Box, Hostile, Verb, cases, genuine
from reliability.hostile_checkpoints import CALLS, PHOTO, put
from reliability.rows import Bench, Case

COUNT = 40
# Classes of these play a role somewhere.
_OF_A_ROLE = (
    "pytorch_lightning.",
    *(f"lensblend.{name}." for name in ("data", "losses", "metrics", "priors", "inference", "networks")),
    "lensblend.training.callbacks.",
)
TARGETS = [target for target in CALLS if not target.startswith(_OF_A_ROLE)][:COUNT]
# Where a node of a configuration is built.
SPOTS = (
    *("model", "model.backbone", "model.bank", "data", "metrics.evil", "module", "callbacks.evil", "logger.evil"),
    *("saliency", "schedule.every_phase.optimizer", "schedule.phases.phase1.loss.l1.loss"),
)
# Those that `lensblend evaluate` builds too.
SCORED = ("data", "metrics.evil", "saliency")
GIVEN = ("--config-dir", "@given", "+evil=evil")
FOLDER = "nothing"
VERBS = {
    "train": Verb("train", (*GIVEN, *TINY, "run_dir=@out"), FOLDER),
    "evaluate": Verb(
        "evaluate", (*GIVEN, "checkpoint=@base/network.ckpt", "output=@out", "metrics.lpips=null"), FOLDER
    ),
}
RENDER = {"render": Verb("render", (PHOTO, "--model", "@given", "--output", "@out"), "network.ckpt")}


def targets(bench: Bench) -> Iterator[Case]:
    """S3: forty targets; the quick form tries one in each place."""
    (genuine(bench) / FOLDER).mkdir(exist_ok=True)
    verbs, kinds = dict(VERBS), {spot: list[Hostile]() for spot in SPOTS}
    for target, spot in zip(TARGETS, cycle(SPOTS), strict=False):
        node = {"_target_": target, **CALLS[target]}
        verbs[f"override {target}"] = Verb("train", (*TINY, *_overrides(spot, node), "run_dir=@out"), FOLDER)
        names = (f"override {target}", "train", *(("evaluate",) if spot in SCORED else ()))
        kinds[spot].append(Hostile(target, partial(_write, spot, node), names, says=tuple(spot.split("."))))
    yield from cases(bench, "S3", "conf", verbs, kinds)
    whole = [Hostile(t, put("lensblend/network", {"_target_": t, **CALLS[t]}), ("render",)) for t in TARGETS]
    yield from cases(bench, "S3-render", "network.ckpt", RENDER, {"a checkpoint's network": whole})


def _overrides(spot: str, node: dict[str, Any]) -> list[str]:
    return [f"++{spot}.{key}={_flow(value)}" for key, value in node.items()]


def _flow(value: Any) -> str:
    """Write a value as Hydra's grammar reads it."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_flow(part)}' for key, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_flow, value))}]"
    return json.dumps(value)


def _write(spot: str, node: dict[str, Any], folder: Path, box: Box) -> None:
    """Write a folder of configurations whose one option puts a node into a place."""
    content: Any = box.fill(node)
    for key in reversed(spot.split(".")):
        content = {key: content}
    (folder / "evil").mkdir()
    (folder / "evil" / "evil.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(content)}")
