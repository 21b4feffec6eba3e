"""S2: runs' folders from somebody else, given to every verb that takes one."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import yaml

from reliability.hostile import PRIOR, Box, Hostile, Verb, cases
from reliability.hostile_checkpoints import (
    ARCHIVES,
    CALLS,
    CREATED,
    FIFO,
    FILES,
    FOLDER,
    HASHES,
    LAUGHS,
    LOOP,
    PHOTO,
    PICKLES,
    REMOVED,
    RUNNING,
    SPARSE,
    STATES,
    TEXTS,
    YAML,
    Damage,
    change,
    link,
    net,
    put,
    read,
    turns,
    write,
)
from reliability.rows import Bench, Case

VERBS = {
    "resume": Verb("train", ("resume=@given",), "stopped", ("@given",)),
    "compare": Verb(
        "compare",
        ("@given", "--output", "@out", "--limit", "1", "--gallery-limit", "1"),
        "done",
        ("@out", "@given/compare"),
    ),
    "evaluate": Verb("evaluate", ("checkpoint=@given", "output=@out", "metrics.lpips=null"), "done"),
    "render": Verb("render", (PHOTO, "--model", "@given", "--output", "@out"), "done"),
}
VERB_TURNS = tuple((name,) for name in VERBS)
RESUME, COMPARE, BOTH = ("resume",), ("compare",), ("resume", "compare")
# What is said where the newest checkpoint of the stopped run cannot be used, but the one before it.
FALLS_BACK = ("continues after step 2",)
# What is said where the finished run's last phase has no such file, but the phase before it.
OF_ANOTHER_PHASE = ("1 of 1 photos rendered", "Means over")


def current(run: Path) -> Path:
    """Return the checkpoint that a verb takes: the stopped run's last, or the finished run's best."""
    done = run / "phase3" / "best.ckpt"
    return done if done.parent.is_dir() else run / "phase2" / "last.ckpt"


def inside(damage: Damage) -> Damage:
    """Damage the checkpoint that a verb takes."""
    return lambda run, box: damage(current(run), box)


def at(name: str, damage: Damage) -> Damage:
    """Damage, or make, a file of the folder."""

    def make(run: Path, box: Box) -> None:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        damage(run / name, box)

    return make


def over(target: str) -> Damage:
    """Put a link in the place of a file or folder."""

    def damage(path: Path, box: Box) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        link(target)(path, box)

    return damage


def both(*damages: Damage) -> Damage:
    """Do several damages, one after the other."""
    return lambda run, box: [damage(run, box) for damage in damages]


def fresh(run: Path, box: Box) -> None:
    """Leave nothing but the configuration, as if the run had not begun."""
    for name in ("phase1", "phase2", "phase3", "compare"):
        shutil.rmtree(run / name, ignore_errors=True)
    (run / "status.json").unlink()


def config(where: str, value: Any) -> Damage:
    """Change a value of the configuration, and what the checkpoints of the phase say of it, so that they agree."""

    def damage(run: Path, box: Box) -> None:
        file = run / "config.yaml"
        node = yaml.safe_load(file.read_text())
        change(node, where, value, box)
        file.write_text(yaml.safe_dump(node, sort_keys=False))
        for path in current(run).parent.glob("*.ckpt"):
            content = read(path)
            content["lensblend"]["config"] = file.read_text()
            if where.startswith("model"):
                content["lensblend"]["network"] = node.get("model")
            write(content, path, box)

    return damage


def phase(name: Any) -> Damage:
    """Let the run go on with a phase of another name."""

    def damage(run: Path, box: Box) -> None:
        filled = box.fill(name)
        config("schedule/run", ["phase1", filled])(run, box)
        # A copy: one that is the same would be an alias in YAML.
        config("schedule/phases", lambda old: {**old, filled: deepcopy(old["phase2"])})(run, box)

    return damage


def status(where: str, value: Any) -> Damage:
    """Change a value of ``status.json``."""

    def damage(run: Path, box: Box) -> None:
        node = json.loads((run / "status.json").read_text())
        change(node, where, value, box)
        (run / "status.json").write_text(json.dumps(node))

    return damage


def about(where: str, value: Any) -> Damage:
    """Change a value of what the comparison before has kept."""

    def damage(run: Path, box: Box) -> None:
        file = run / "compare" / "phase3" / "about.json"
        node = json.loads(file.read_text())
        change(node, where, value, box)
        file.write_text(json.dumps(node))

    return damage


def text(value: str | bytes | Callable[[str], str]) -> Damage:
    """Put another text in the place of a file's."""

    def damage(path: Path, box: Box) -> None:
        new = value(path.read_text()) if callable(value) else value
        path.write_bytes(box.fill(new).encode("utf-8", "surrogatepass") if isinstance(new, str) else new)

    return damage


def large(old: str) -> str:
    """Put 50 MB into a JSON object."""
    return old.replace("{", '{"evil": [' + "0," * 25_000_000 + "0], ", 1)


DEEP = "[" * 100_000 + "]" * 100_000
# What can lie where a file should.
ODD: dict[str, Damage] = {
    "none": lambda path, box: path.unlink(),
    "empty": text(b""),
    "noise": text(bytes(range(128, 256)) * 10),
    "zeros": text(bytes(1000)),
    "a FIFO": FIFO,
    "a folder": FOLDER,
    "a link to itself": LOOP,
    "a link to a FIFO": link("@fifo"),
    "a link to /dev/zero": link("/dev/zero"),
    "a link to somebody's secret": link("@victim/secret.yaml"),
    "200 GB of nothing": SPARSE,
}
CONFIGS: dict[str, Damage] = {
    **{name: text(value) for name, value in YAML.items() if isinstance(value, (str, bytes))},
    "of 50 MB": text(lambda old: old + "evil:\n" + "- aaaaaaa\n" * 5_000_000),
    "of one long line": text(lambda old: f"{old}evil: {'a' * 50_000_000}\n"),
    "genuine, and laughs": text(lambda old: f"{LAUGHS}{old}evil: *a39\n"),
    "genuine, and laughs in its data": text(lambda old: LAUGHS + old.replace("cache: null", "cache: *a39", 1)),
    "genuine, and holds itself": text(lambda old: f"{old}evil: &a [*a]\n"),
    "genuine, and 3,000 deep": text(lambda old: f"{old}evil: {'[' * 3000}{']' * 3000}\n"),
    "in UTF-16": lambda path, box: path.write_bytes(path.read_text().encode("utf-16")),
    "with a half character": text(lambda old: f'{old}evil: "\\ud800"\n'),
}
# Where a node of the configuration is built, and how it is put there.
SPOTS: dict[str, str] = {
    "data": "data",
    "model": "model",
    "callbacks": "callbacks/evil",
    "logger": "logger/evil",
    "metrics": "metrics/evil",
    "module": "module",
    "optimizer": "schedule/every_phase/optimizer",
    "loss": "schedule/phases/phase2/loss/l1/loss",
    "backbone": "model/backbone",
    "progress": "callbacks/progress",
    "a list": "model/bank/sizes",
    "a loss's weight": "schedule/phases/phase2/loss/l1/weight",
    "an argument of a callback": "callbacks/progress/every_seconds",
}
TARGETS: tuple[str, ...] = (
    *(
        "os.system",
        "builtins.open",
        "shutil.rmtree",
        "pathlib.Path.write_text",
        "torch.load",
        "torch.hub.load",
    ),
    *("runpy.run_path", "sys.exit", "hydra.utils.instantiate", "webbrowser.open", "wandb.init"),
    *("pytorch_lightning.loggers.CSVLogger", "pytorch_lightning.loggers.TensorBoardLogger"),
    *("pytorch_lightning.callbacks.ModelCheckpoint", "pytorch_lightning.Trainer"),
    *("torch.nn.parallel.DistributedDataParallel", "torch.nn.modules.module.torch.os.system"),
    *("lensblend.storage.os.mkdir", "lensblend.storage.write_atomically"),
    *("lensblend.training.runner.Training", "lensblend.runs.checkpoint_files.AtomicCheckpointIO"),
    *("lensblend.training.callbacks.keep.KeepLastAndBest", "lensblend.data.embedded.Embedded"),
    *("lensblend.inference.guidance.MapFiles", "lensblend.priors.vgg.Vgg19Features", "lensblend.losses.pixel.L1"),
)


def dangerous() -> Iterator[Hostile]:
    """Put a job that would be started everywhere, and each dangerous node somewhere."""
    for target, spot in [*((RUNNING, spot) for spot in SPOTS), *zip(TARGETS, cycle(SPOTS), strict=False)]:
        node: Any = {"_target_": target, **CALLS[target]}
        damage = config(SPOTS[spot], [25, 45, node] if spot == "a list" else node)
        verbs = BOTH if spot in ("data", "model", "a list") else RESUME
        yield Hostile(f"{target} as {spot}", damage, verbs, says=words(SPOTS[spot]))
    opened = {"_target_": "builtins.open", "file": "@canary", "mode": "w", "_partial_": True}
    writes = {"_target_": "lensblend.storage.write_atomically", "path": "@canary", "_partial_": True}
    for name, node in {"builtins.open": opened, "a function of ours": writes}.items():
        yield Hostile(f"{name} as a logger, to be called later", config("logger/evil", node), RESUME, says=("logger",))
    keep = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "@canary", "save_last": True}
    yield Hostile("a callback that saves elsewhere", config("callbacks/evil", keep), RESUME, says=("callbacks",))
    table = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "@canary"}
    yield Hostile("a logger that writes elsewhere", config("logger/evil", table), RESUME, says=("logger",))
    placed = {"_target_": "pytorch_lightning.loggers.CSVLogger", "_args_": ["@canary"]}
    yield Hostile("a logger that writes elsewhere by position", config("logger/evil", placed), RESUME, says=("_args_",))
    save = {"_target_": "pytorch_lightning.callbacks.LambdaCallback", "on_fit_start": opened}
    yield Hostile("a callback that calls", config("callbacks/evil", save), RESUME, says=("callbacks",))
    guide = {**PRIOR, "weights": "@fifo"}
    guided = both(config("saliency", guide), config("schedule/phases/phase2/loss/l1/compares", "saliency_logits"))
    yield Hostile("a loss that needs a map of weights from a FIFO", guided, RESUME, says=("saliency", "l1"))
    for where, node in (("data/cache", "@canary"), ("data/cache", "~/evil")):
        yield Hostile(f"a cache in {node}", both(config(where, node)), BOTH, passes=BOTH, says=("cache",))


def words(where: str) -> tuple[str, ...]:
    """Return the names of a key and those above it, of which a message has one."""
    return tuple(part for part in where.split("/") if not part.isdecimal())


def interpolations() -> Iterator[Hostile]:
    """Put texts that OmegaConf would resolve somewhere; beside one the key's own value goes on, as a genuine run's."""
    writes = CREATED["writes a file"]
    spots = ("model/bank/family", "data/cache", "callbacks/progress", "name", "run_dir", "seed", "trainer/accelerator")
    for spot in (*spots, "data", "model", "logger", "schedule/run", "schedule/every_phase/optimizer", "init_from"):
        verbs = BOTH if spot in ("data", "model") else RESUME
        passes = RESUME if spot in ("run_dir", "init_from", "name") else ()
        yield Hostile(f"writes a file as {spot}", config(spot, writes), verbs, passes, says=words(spot))
    for (name, text), spot in zip([*CREATED.items(), *TEXTS.items()][1:], cycle(spots), strict=False):
        passes = RESUME if spot in ("run_dir", "name") else ()
        yield Hostile(f"{name}, as {spot}", config(spot, text), RESUME, passes, says=words(spot))
    yield Hostile("writes a file as a key", config(writes, 1), RESUME, RESUME, says=("oc.create",))
    yield Hostile("writes a file as a phase", phase(writes), RESUME, says=("schedule", "phase"))


# Names for a phase that would lie elsewhere, or where the run has something else.
NAMES: tuple[Any, ...] = (
    *("../evil", "@box/evil", "..", ".", "", "a/b", "phase2/../../evil", "../../victim", "a\0b", "a\nb", "a\x1b[2Jb"),
    *("x" * 300, "compare", "panels", "wandb", ".hydra", "config.yaml", "status.json", "metrics.csv", ".lock"),
    *(5, None, True, 1.5),
)
# Values of the wrong kind, by key.
VALUES: dict[str, tuple[Any, ...]] = {
    "seed": ("x", -1, 10**30, None, [1]),
    "data": (None, [], "x", {}, {"image_size": [32, 48]}),
    "data/image_size": ("x", [10**6, 10**6]),
    "data/train": (-1, 1.5, 10**12),
    "model": (None, "x", {}),
    "model/backbone/width_divisor": (0, 10**9),
    "model/bank/sizes": ("x", [10**30 + 1]),
    "module": (None, [], {}),
    "module/compile": ("evil", 5),
    "metrics": (None, [], {"psnr": 5}, {"psnr": {"a": 1}}),
    "callbacks": (None, [], {"evil": 5}),
    "logger": (None, [], {"csv": 5}, {"evil": {"a": 1}}),
    "loader": (None, []),
    "loader/num_workers": (-1, "x"),
    "loader/limit_train": ("x", -5),
    "loader/flips": ("evil",),
    "loader/evil": (1,),
    "checkpoint": (None, [], {"evil": 1}),
    "checkpoint/every_steps": ("x",),
    "checkpoint/every_minutes": ("x",),
    "not_finite": (None, [], {"policy": "evil"}, {"policy": "stop", "limit": "x"}),
    "schedule": (None, [], {}, {"run": ["phase1"]}),
    "schedule/run": (None, [], "phase2", [5], [["phase2"]], ["phase2", "phase2"], ["evil"]),
    "schedule/phases": (None, [], {}),
    "schedule/phases/phase2": (None, [], {}),
    "schedule/phases/phase2/evil": (1,),
    "schedule/phases/phase2/loss": (None, "l1", {}, {"l1": 5}, {"l1": {}}),
    "schedule/phases/phase2/loss/l1/weight": ("x", math.nan, -1),
    "schedule/phases/phase2/loss/l1/compares": ("evil", 5),
    "schedule/every_phase": ("x", {"evil": 1}),
    "schedule/every_phase/image_size": ("x", [32], [0, 0], [10**6, 10**6], [32.5, 48], {"a": 1}),
    "schedule/every_phase/batch_size": (0, "x", 1.5),
    "schedule/every_phase/max_epochs": (0, "x", 1.5),
    "schedule/every_phase/lr": (-1, "x", math.nan),
    "schedule/every_phase/optimizer": ("adam", [1], {"_target_": "torch.optim.LBFGS"}, {"lr": 1}),
    "schedule/every_phase/monitor": ("evil", 5, [1]),
    "schedule/every_phase/trainable": (5, ["evil"], [5]),
    "schedule/every_phase/crop": ("x", [10**6, 10**6]),
    "schedule/total_epochs": ("x", 0, 1.5),
    "trainer": (None, [], {"evil": 1}, {"_target_": "os.system", "_args_": ["touch @canary"]}),
    "trainer/accelerator": ("tpu", "evil", 5),
    "trainer/devices": ("x", 0, -5, []),
    "trainer/precision": ("evil",),
    "trainer/strategy": ("evil", {"_target_": RUNNING, **CALLS[RUNNING]}),
    "trainer/log_every_n_steps": ("x",),
    "trainer/callbacks": ([{"_target_": "os.system", "_args_": ["touch @canary"]}],),
    "trainer/plugins": ([{"_target_": "os.system", "_args_": ["touch @canary"]}], "evil"),
    "trainer/default_root_dir": ("@canary",),
    "trainer/logger": (True,),
    "trainer/limit_train_batches": ("x",),
    "trainer/fast_dev_run": (True,),
    "trainer/max_time": ("00:00:00:01",),
    "trainer/accumulate_grad_batches": (0,),
}
# Keys of which a run can do without a value, or whose odd value does no harm.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "name": (None, 5, ["a"], {"a": 1}, "a\x1b[2Jb", "x" * 100_000, "../../evil"),
    "run_dir": (None, 5, "@box/evil", "@victim"),
    "evil": (1, {"a": [1]}),
    "resume_overrides": (5, [5]),
    "deterministic": ("x", [1]),
    "loader": ({},),
    "checkpoint/every_steps": (-1,),
    "schedule/every_phase": ([],),
    "schedule/run": ({"phase2": 1},),
    "saliency": (None, "x", {"_target_": "os.system", "_args_": ["touch @canary"]}),
    "trainer/profiler": ("simple", "pytorch"),
    "trainer/enable_progress_bar": (False, "x"),
}
# Those that have a default, which is taken where they are missing.
DEFAULTS = ("metrics", "callbacks", "logger", "checkpoint")
MISSING = (
    *("data", "model", "module", "metrics", "callbacks", "logger", "loader", "checkpoint", "not_finite", "seed"),
    *("deterministic", "schedule", "schedule/run", "schedule/phases", "schedule/phases/phase2", "trainer"),
    *("schedule/phases/phase2/lr", "schedule/phases/phase2/loss/l1/weight", "model/_target_", "data/_target_"),
)
# Where a run that has not begun would start, and how that ends.
STARTS: dict[Any, str] = {
    name: name.rpartition("/")[2].strip("@")
    for name in (
        "@fifo",
        "/dev/zero",
        "@victim/secret.yaml",
        "@box/given/evil.pkl",
        "@box/nowhere",
        "@victim/photo.png",
    )
}
STATUS: dict[str, Damage] = {
    **{name: damage for name, damage in ODD.items() if name != "none"},
    "not JSON": text("{"),
    "a list": text("[]"),
    "a number": text("5"),
    "nothing": text("null"),
    "100,000 deep": text(DEEP),
    "a number of a million digits": text(lambda old: old.replace("{", '{"evil": ' + "9" * 1_000_000 + ", ", 1)),
}
# What both verbs read of it, and what only a training does.
STANDS: dict[str, tuple[Any, ...]] = {
    "phases": (None, [], "x", 5, {"../../victim": {"state": "done"}}, {"phase2": 5}, {"phase2": None}, {"phase2": []}),
    "phases/phase1": (None, "done", {"state": 5}),
    "phases/phase2/step": ("x", None, -1, 10**30, [1], {"a": 1}, 1.5),
    "phases/phase2/state": (5, None, ["done"]),
    "phases/..": ({"state": "done", "step": 1},),
    "state": (5, None, ["done"], {"a": 1}, "evil"),
    "tags": (5, "x", [5], {"a": 1}, ["a\x1b[2J"]),
    "error": ("a\n" * 1000, "\x1b[2J", 5, {"a": 1}),
}
IDENTITIES: dict[str, tuple[Any, ...]] = {
    "choices": (5, [1], None),
    "label": (5, None, ["x"], "a\x1b[2Jb" * 1000),
    "sweep": (5, {"a": 1}),
    "job": ("x", [1]),
    "overrides_hash": (5, None),
}
METRICS: dict[str, Damage] = {
    **{name: damage for name, damage in ODD.items() if name not in ("none", "empty")},
    "other columns": text("a,b\n1,2\n"),
    "no columns": text("\n\n\n"),
    "a step of text": text(lambda old: old + "phase2,0,x,1,1,1,1,1,1\n"),
    "a step of nothing": text(lambda old: old + "phase2,0\n"),
    "a step of NaN": text(lambda old: old + "phase2,0,nan,1\n"),
    "too many cells": text(lambda old: old + "phase2,0,1" + ",1" * 1000 + "\n"),
    "one cell of 50 MB": text(lambda old: f"{old}phase2,0,1,{'1' * 50_000_000}\n"),
    "with NUL": text(lambda old: f"{old}phase2,0,1,\0\n"),
    "a quote that is not closed": text(lambda old: f'{old}phase2,0,1,"evil'),
    "a million rows": text(lambda old: old + "phase2,0,99,1\n" * 1_000_000),
}
LINKS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "the phase's folder": (lambda run, box: over("@victim")(current(run).parent, box), ("resume", "render")),
    "the next phase's folder": (
        both(config("schedule/run", ["phase1", "phase2", "phase3"]), at("phase3", link("@victim"))),
        RESUME,
    ),
    "the phase before": (at("phase1", over("@victim")), RESUME),
    "what comparisons keep": (at("compare", over("@victim")), COMPARE),
    "what the comparison of the phase keeps": (at("compare/phase3", over("@victim")), COMPARE),
    "pictures": (
        both(
            config("callbacks/panels", {"_target_": "lensblend.training.callbacks.panels.Panels", "count": 1}),
            at("panels", over("@victim")),
        ),
        RESUME,
    ),
    "Hydra's folder": (at(".hydra", over("@victim")), BOTH),
    "the lock": (at(".lock", over("@victim/precious.txt")), RESUME),
    "the lock, to a file that is not there": (at(".lock", over("@canary")), RESUME),
    "the configuration": (at("config.yaml", over("@victim/precious.txt")), BOTH),
    "the status": (at("status.json", over("@victim/precious.txt")), BOTH),
    "the metrics": (at("metrics.csv", over("@victim/precious.txt")), RESUME),
    "the metrics, to a file that is not there": (at("metrics.csv", over("@canary")), RESUME),
    "the hash": (
        inside(lambda path, box: over("@victim/precious.txt")(path.with_name(f"{path.name}.sha256"), box)),
        RESUME,
    ),
    "the checkpoint, to another": (inside(over("@victim/best.ckpt")), ("resume", "render", "compare")),
    "the kept picture": (at("compare/phase3/0000.png", over("@victim/photo.png")), COMPARE),
    "the kept picture, to a secret": (at("compare/phase3/0000.png", over("@victim/secret.yaml")), COMPARE),
    "the kept scores": (at("compare/phase3/scores.csv", over("@victim/secret.yaml")), COMPARE),
    "what is kept about them": (at("compare/phase3/about.json", over("@victim/secret.yaml")), COMPARE),
}
LOCKS: dict[str, Damage] = {name: damage for name, damage in ODD.items() if name != "none"}
# Parts of the last checkpoint, which training goes on from.
PARTS: dict[str, tuple[Any, ...]] = {
    "global_step": (REMOVED, "3", -1, 10**30, None, math.nan, [3], torch.ones(2)),
    "lensblend/phase": (REMOVED, "phase1", 5),
    "lensblend/parent": ([1], {"path": 5}),
    "lensblend/config": (REMOVED, "data: [}", f"{LAUGHS}data: *a39\n", 5, "data: !!python/name:os.system\n"),
    "lensblend/position": (REMOVED, {}, "x", [1, 1, 2]),
    "lensblend/position/epoch": (REMOVED, "x", -1, 10**12, None, math.nan),
    "lensblend/position/batch": ("x", -1, 10**12),
    "lensblend/position/batches": ("x", 0),
    "optimizer_states": (REMOVED, None, [], [5], [{}]),
    "optimizer_states/0/param_groups": (REMOVED, [], [{}]),
    "optimizer_states/0/state": (REMOVED, {0: 5}, {0: {"step": "x"}}),
    "optimizer_states/0/state/0/exp_avg": (torch.ones(3), "x", torch.full((8, 3, 7, 7), math.nan)),
    "optimizer_states/0/param_groups/0/lr": ("x", math.nan, {"_target_": "os.system"}),
    "optimizer_states/0/param_groups/0/betas": ("x", [5]),
    "lr_schedulers": (REMOVED, [], [5], [{}]),
    "lr_schedulers/0/last_epoch": ("x",),
    "lr_schedulers/0/step": ("evil",),
    "lr_schedulers/0/lr_lambdas": ("x",),
    "loops": (REMOVED, None, {}),
    "loops/fit_loop": (REMOVED, "x", {}),
    "loops/fit_loop/epoch_progress": ({}, {"total": 5}),
    "loops/fit_loop/epoch_progress/current/completed": ("x", 10**12),
    "loops/fit_loop/epoch_loop.batch_progress/current": ({"ready": "x"},),
    "loops/fit_loop/epoch_loop.state_dict/_batches_that_stepped": ("x",),
    "callbacks": ("x", {"KeepLastAndBest": 5}),
    "callbacks/KeepLastAndBest/best": ("x", [1]),
    "callbacks/KeepLastAndBest/scores": ("x",),
    "pytorch-lightning_version": (REMOVED, 5, "evil", "0.0.1"),
    "state_dict": (REMOVED, None, [1]),
}
# Parts that may be odd: nothing is read of them.
SPARE: dict[str, tuple[Any, ...]] = {
    "callbacks": (REMOVED, {}, {"Evil": {"a": 1}}),
    "epoch": (REMOVED, "x", -1, 10**12),
    "lr_schedulers/0/lr_lambdas": ([{"evil": 1}],),
    "callbacks/KeepLastAndBest/scores": ({"val/psnr": "x"},),
    "callbacks/Finite": ({"count": "x"},),
    "pytorch-lightning_version": ("999.0.0",),
    "evil": (1, {"_target_": "os.system"}),
    "lr_schedulers/0/last_epoch": (10**30,),
    "loops/fit_loop/epoch_progress/current/completed": (-5,),
    "loops/fit_loop/epoch_loop.batch_progress/current": ({},),
    "hyper_parameters": ({"_class_path": "os.system"},),
    "PairsDataModule": ({"a": 1},),
    "lensblend/parent": (REMOVED,),
    "lensblend/versions": ("x", None),
    "lensblend/config_hash": (5, "x"),
}
KEPT: dict[str, Damage] = {
    **{f"about.json: {name}": at("compare/phase3/about.json", damage) for name, damage in ODD.items()},
    "about.json: 100,000 deep": at("compare/phase3/about.json", text(DEEP)),
    "about.json: a list": at("compare/phase3/about.json", text("[]")),
    "about.json: of 50 MB": at(
        "compare/phase3/about.json", text(lambda old: old.replace("{", '{"a": "' + "x" * 50_000_000 + '", ', 1))
    ),
    **{f"scores.csv: {name}": at("compare/phase3/scores.csv", damage) for name, damage in ODD.items()},
    "scores.csv: text": at("compare/phase3/scores.csv", text(lambda old: old.replace("0.5", "evil"))),
    "scores.csv: NaN": at("compare/phase3/scores.csv", text(lambda old: old.replace("0.5", "nan"))),
    "scores.csv: infinite": at("compare/phase3/scores.csv", text(lambda old: old.replace("0.5", "1e999"))),
    "scores.csv: a cell of 50 MB": at(
        "compare/phase3/scores.csv", text(lambda old: old + '"' + "x" * 50_000_000 + '",1,1,1\n')
    ),
    **{f"a picture: {name}": at("compare/phase3/0000.png", damage) for name, damage in ODD.items()},
    "a picture: of other name": at("compare/phase3/0000.evil", text(b"x")),
    "a folder among the pictures": both(
        at("compare/phase3/about.json", text("{}")), at("compare/phase3/0001.png/x", text(b"x"))
    ),
    "the folder: a file": both(lambda run, box: shutil.rmtree(run / "compare"), at("compare", text(b"x"))),
    "the folder: a FIFO": both(lambda run, box: shutil.rmtree(run / "compare"), at("compare", FIFO)),
}
ABOUT: dict[str, tuple[Any, ...]] = {
    "maps": (5, None, "x", [5], 10**9, ["x"] * 1000),
    "parameters": ("x", None, -1, [1], 1e999),
    "macs": ("x", None, [1]),
    "seconds": ("x", None, math.nan),
    "hardware": (5, None, "\x1b[2J", "<script>"),
    "device": (5, None),
    "count": ("x", -1),
    "phase": (5, "../x"),
    "image_size": ("x", None, [1]),
    "conventions": (5, None, "x"),
    "guidance": (5, "x"),
    "data": (None, 5),
}
WANDB: dict[str, Damage] = {"a FIFO": FIFO, "noise": text(bytes(range(128, 256))), "a way out": text("../../../evil")}
RUN_ID = {"_target_": "lensblend.training.loggers.wandb_run.PhaseWandbLogger", "_partial_": True}


def logged(damage: Damage) -> Damage:
    """Damage the file with W&B's id, in a run that W&B has recorded."""
    return both(config("logger/wandb", RUN_ID), at("phase2/wandb_id", damage))


def several(
    values: Mapping[str, Sequence[Any]], make: Callable[[str, Any], Damage], verbs: tuple[str, ...], **options: Any
) -> list[Hostile]:
    """Return a case for each value of each key."""
    return [
        Hostile(
            f"{where} = {value!r:.40}",
            make(where, value),
            verbs,
            **{"says": words(where), **options},
        )
        for where, wrong in values.items()
        for value in wrong
    ]


def kinds() -> dict[str, list[Hostile]]:
    """Return all cases."""
    again = {"passes": RESUME, "notes": FALLS_BACK}
    other = {"passes": ("resume", "evaluate", "render"), "notes": (*FALLS_BACK, *OF_ANOTHER_PHASE)}
    return {
        "nothing is wrong": [Hostile("as it was written", lambda run, box: None, tuple(VERBS), codes=(0,))],
        "configuration": [
            Hostile(name, at("config.yaml", damage), BOTH if number % 3 == 0 else RESUME, passes=())
            for number, (name, damage) in enumerate((CONFIGS | ODD).items())
        ],
        "interpolation": list(interpolations()),
        "target": list(dangerous()),
        "phase": [Hostile(f"{name!r:.40}", phase(name), RESUME, says=("phase", "schedule")) for name in NAMES],
        "value": [
            *several(VALUES, config, RESUME),
            *several({key: (REMOVED,) for key in MISSING if key not in DEFAULTS}, config, RESUME),
            *several({key: (REMOVED,) for key in DEFAULTS}, config, RESUME, passes=RESUME),
            *several({"init_from": (5, [1], {"a": 1})}, lambda *where: both(config(*where), fresh), RESUME),
            *several(HARMLESS, config, RESUME, passes=RESUME),
            *(
                Hostile(
                    f"init_from = {start!r}", both(config("init_from", start), fresh), RESUME, says=("init_from", end)
                )
                for start, end in STARTS.items()
            ),
        ],
        "status": [
            *(Hostile(name, at("status.json", damage), BOTH, passes=RESUME) for name, damage in STATUS.items()),
            Hostile("of 50 MB", at("status.json", text(large)), BOTH, passes=BOTH),
            *several(STANDS, status, BOTH, passes=BOTH, says=("status.json",)),
            *several(IDENTITIES, status, RESUME, passes=RESUME, says=("status.json",)),
        ],
        "metrics": [Hostile(name, at("metrics.csv", damage), RESUME, RESUME) for name, damage in METRICS.items()],
        "lock": [Hostile(name, at(".lock", damage), RESUME, RESUME) for name, damage in LOCKS.items()],
        "link": [Hostile(name, damage, verbs, verbs) for name, (damage, verbs) in LINKS.items()],
        "last checkpoint": [
            *several(PARTS, lambda where, value: inside(put(where, value)), RESUME, **again),
            *several(SPARE, lambda where, value: inside(put(where, value)), RESUME, passes=RESUME),
        ],
        "checkpoint": [
            *turns({f"a file that is {name}": inside(damage) for name, damage in FILES.items()}, VERB_TURNS, **other),
            *turns({f"a pickle: {name}": inside(damage) for name, damage in PICKLES.items()}, VERB_TURNS, **again),
            *turns({f"an archive: {name}": inside(damage) for name, damage in ARCHIVES.items()}, VERB_TURNS, **again),
            *turns(
                {f"weights: {name}": inside(damage) for name, damage in list(STATES.items())[::2]}, VERB_TURNS, **again
            ),
            *(
                Hostile(f"a hash that is {name}", inside(damage), ("resume", "evaluate"), passes)
                for name, (damage, readable) in HASHES.items()
                for passes in [("resume", "evaluate") if readable else RESUME]
            ),
            *(
                Hostile(f"network: {name}", inside(net("bank", node)), ("compare", "evaluate"), says=("bank",))
                for name, node in CREATED.items()
            ),
        ],
        "comparison": [
            *(Hostile(name, damage, COMPARE, COMPARE) for name, damage in KEPT.items()),
            *several(ABOUT, about, COMPARE, passes=COMPARE),
        ],
        "other files": [
            *(Hostile(f"W&B's id: {n}", logged(d), RESUME, says=("wandb_id",)) for n, d in WANDB.items()),
            *(
                Hostile(f"Hydra's {name} is {odd}", at(f".hydra/{name}", ODD[odd]), BOTH, BOTH)
                for name, odd in {"config.yaml": "a FIFO", "overrides.yaml": "noise", "hydra.yaml": "a folder"}.items()
            ),
        ],
    }


def run_folders(bench: Bench) -> Iterator[Case]:
    """S2: hostile runs' folders."""
    yield from cases(bench, "s2", "foreign-run", VERBS, kinds())
