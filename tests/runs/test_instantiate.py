"""Nodes become objects of the classes that may stand where they stand, and nothing else happens meanwhile."""

import importlib
import inspect
import os
import pkgutil
import random
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import torch
from torch import nn

from lensblend.errors import DataError, LensblendError, RequestError
from lensblend.losses.pixel import L1
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.runs import roles
from lensblend.runs.checkpoints import describe, load_network
from lensblend.runs.instantiate import build, build_recorded, classes_in
from lensblend.runs.recorded import sketch
from lensblend.runs.roles import (
    BACKBONE,
    BANK,
    CALLBACK,
    LAYER,
    LOGGER,
    LOSS,
    MAP_SOURCE,
    MODELS,
    NETWORK,
    OPTIMIZER,
    find_class,
    plays,
)
from lensblend.training.checkpoint_io import AtomicCheckpointIO

HOURGLASS = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
KERNELS = {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]}
MODEL = {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": HOURGLASS, "bank": KERNELS}
TIMM = "lensblend.backbones.timm_pyramid.TimmPyramid"
ENSEMBLE = "lensblend.networks.ensemble.Ensemble"
# What a record may name: everything else in it is refused.
FOREIGN = (NETWORK, roles.PRIOR, BACKBONE, BANK, LAYER)

# What starts a process, opens a connection, or changes a file. Audit hooks cannot be removed, so this one sleeps.
_EVENTS = ("subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.kill", "socket.", "exec")
_EVENTS += ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown")
_EVENTS += ("os.truncate", "os.utime", "shutil.", "tempfile.", "ctypes.", "pty.", "urllib.", "webbrowser.", "sqlite3.")
_seen: list[list[str]] = []


def _listen(event, arguments):
    if not _seen or not (event in ("open", "import") or event.startswith(_EVENTS)):
        return
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        return
    if event == "import" and arguments[0].startswith(("lensblend.", "torch.", "timm.", "encodings.")):
        return
    frame = sys._getframe(1)
    if event == "exec" and frame.f_globals["__name__"] == "importlib._bootstrap":
        return  # the import itself is another event
    if not _is_about_types(frame):
        _seen[-1].append(f"{event} {arguments} in {frame.f_globals['__name__']}"[:300])


def _is_about_types(frame):
    """Tell whether an annotation of our own source is being read, by the builder or by the checks of a test run."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib"):
        frame = frame.f_back
    readers = ("typing", "jaxtyping", "beartype", "wadler_lindig")
    return frame is not None and frame.f_globals.get("__name__", "").startswith(readers)


with suppress(Exception):
    DepthBlend(5, 5)  # what a test run's own check of types imports when it first fails
sys.addaudithook(_listen)


@contextmanager
def nothing_happens():
    _seen.append([])
    try:
        yield
    finally:
        happened = _seen.pop()
    assert not happened


@pytest.mark.parametrize(
    "act",
    [
        lambda path: path.write_text("x"),
        lambda path: path.mkdir(),
        lambda path: path.unlink(missing_ok=True),
        lambda path: exec("1"),
        lambda path: subprocess.run(["true"], check=True),
        lambda path: socket.socket().close(),
        lambda path: __import__("antigravity_of_lensblend"),
    ],
)
def test_the_watch_sees_what_it_is_for(act, tmp_path):
    with pytest.raises(AssertionError), nothing_happens(), suppress(ImportError):
        act(tmp_path / "made")


def test_nested_nodes_become_objects():
    network = build(MODEL, "model", *MODELS)
    assert isinstance(network, DepthBlend)
    assert isinstance(network.bank, KernelBank)
    assert network.bank.sizes == (3, 5)
    layers = build({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]}, "net", LAYER)
    assert isinstance(layers[0], nn.ReLU)


def test_arguments_that_look_like_nodes_are_handed_over_untouched():
    made = build({"_target_": "torch.nn.Identity"}, "net", LAYER, record={"_target_": "torch.nn.ReLU"})
    assert isinstance(made, torch.nn.Identity)
    node = {"_target_": "torch.nn.Linear", "in_features": 2}
    assert build(node, "net", LAYER, out_features=3).out_features == 3
    with pytest.raises(RequestError, match=r"`net.in_features` is set by the training itself"):
        build(node, "net", LAYER, in_features=3)


def test_partial_nodes_wait_for_their_call():
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}
    assert isinstance(build(node, "optimizer", OPTIMIZER), partial)


def test_an_argument_that_the_target_does_not_take_names_the_nearest():
    node = {"_target_": "lensblend.backbones.timm_pyramid.TimmPyramid", "decoder_chanels": 8}
    with pytest.raises(RequestError, match=r"backbone.decoder_chanels.*did you mean `decoder_channels`"):
        build(node, "backbone", BACKBONE)


@pytest.mark.parametrize(
    ("node", "role", "says"),
    [
        ({**KERNELS, "sizes": "25"}, BANK, r"`x.sizes` is '25', but it is of type Sequence\[int\]"),
        ({**KERNELS, "sizes": [25, "45"]}, BANK, r"`x.sizes` is"),
        ({**KERNELS, "scale": True}, BANK, r"`x.scale` is True"),
        ({**KERNELS, "family": None}, BANK, r"`x.family` is None"),
        ({**MODEL, "linear_light": 1}, NETWORK, r"`x.linear_light` is 1, but it is of type bool"),
        ({"_target_": "lensblend.training.callbacks.panels.Panels", "count": "x"}, CALLBACK, r"`x.count` is 'x'"),
        (
            {"_target_": "lensblend.training.callbacks.progress.Progress", "every_seconds": []},
            CALLBACK,
            r"`x.every_sec",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_named(node, role, says):
    with pytest.raises(RequestError, match=says):
        build(node, "x", role)


def test_an_unknown_target_is_named():
    with pytest.raises(RequestError, match=r"cannot be found; did you mean `DepthBlend`"):
        build({"_target_": "lensblend.networks.depth_blend.DepthBland"}, "model", *MODELS)
    with pytest.raises(RequestError, match=r"cannot be found: there is no lensblend.networks.depht"):
        build({"_target_": "lensblend.networks.depht.DepthBlend"}, "model", *MODELS)


def test_a_constructors_own_message_reaches_the_user():
    with pytest.raises(RequestError, match="25, 44"):
        build({**KERNELS, "sizes": [25, 44]}, "kernels", BANK)
    with pytest.raises(RequestError, match=r"`net` could not be built from torch.nn.Conv2d: .*divisible"):
        build({"_target_": "torch.nn.Conv2d", "_args_": [3, 4, 1], "groups": 2}, "net", LAYER)


def test_names_of_earlier_versions_still_stand_for_their_classes():
    # As they stand in the configurations of runs that those versions trained.
    for old, role in {
        "lensblend.training.callbacks.progress.progress": CALLBACK,
        "lensblend.training.guidance.FromPair": MAP_SOURCE,
        "lensblend.training.guidance.MapFiles": MAP_SOURCE,
        "lensblend.training.guidance.Truth": MAP_SOURCE,
        "lensblend.training.history.MetricsCsv": LOGGER,
        "lensblend.training.prior_maps.NetworkMap": MAP_SOURCE,
        "lensblend.training.wandb_run.PhaseWandbLogger": LOGGER,
    }.items():
        definition, _ = find_class(old, "x", (role,))
        assert definition.__name__.lower() == old.rpartition(".")[2].lower()


# -- what may not stand in a place ---------------------------------------------------------------------------------

DANGEROUS = [
    "builtins.open", "builtins.eval", "builtins.exec", "builtins.__import__", "os.system", "os.remove", "os.mkdir",
    "shutil.copyfile", "shutil.rmtree", "pathlib.Path", "pathlib.Path.write_text", "subprocess.run",
    "subprocess.Popen", "runpy.run_path", "importlib.import_module", "sys.exit", "webbrowser.open",
    "socket.create_connection", "ctypes.CDLL", "pickle.loads", "functools.partial", "operator.methodcaller",
    "logging.FileHandler", "tempfile.mkdtemp", "hydra.utils.instantiate", "hydra.utils.get_object",
    "omegaconf.OmegaConf.save", "yaml.unsafe_load", "numpy.load", "numpy.save", "PIL.Image.open", "wandb.init",
    "timm.create_model", "torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.export.load",
    "torch.classes.load_library", "torch.nn.parallel.DistributedDataParallel", "torch.nn.DataParallel",
    "torch.nn.Parameter", "torch.nn.init.normal_", "torch.nn.functional.relu", "torch.nn.Module",
    "torch.nn.Transformer", "torch.nn.LSTM", "torch.utils.data.DataLoader", "torch.optim.Adam",
    "torch.nn.modules.os.system", "pytorch_lightning.Trainer", "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.loggers.CSVLogger", "pytorch_lightning.loggers.TensorBoardLogger",
    "pytorch_lightning.strategies.DDPStrategy", "lensblend.launchers.local._Running",
    "lensblend.launchers.jobs.Job", "lensblend.launchers.local.run_jobs",
    "lensblend.launchers.slurm.SlurmRequest", "lensblend.storage.os.mkdir",
    "lensblend.storage.shutil.rmtree", "lensblend.training.runner.Training",
    "lensblend.storage.write_atomically", "lensblend.runs.checkpoint_files.AtomicCheckpointIO",
    "lensblend.runs.status.Lock", "lensblend.training.loggers.wandb_run.PhaseWandbLogger", "lensblend.cli.train.main",
    "lensblend.training.loggers.metrics_csv.MetricsCsv", "lensblend.training.callbacks.panels.Panels",
    "lensblend.inference.guidance.MapFiles", "lensblend.inference.prior_maps.NetworkMap",
    "lensblend.runs.checkpoints.load_network", "lensblend.data.embedded.Embedded",
    "lensblend.data.catalogue.Folders", "lensblend.data.images.write_image", "lensblend.data.images.Image",
    "lensblend.priors.vgg.Vgg19Features", "lensblend.priors.weights.weights_path",
    "lensblend.priors.weights.PretrainedFile", "lensblend.losses.pixel.L1", "lensblend.metrics.perceptual.Lpips",
    "lensblend.networks.depth_blend.nn.Conv2d", "lensblend.networks.depth_blend",
    "lensblend.networks.depth_blend.KernelBank", "lensblend.networks.joint_blend.DepthBlend",
    "lensblend.networks.depth_blend.blend", "lensblend.networks.dss.Dss",
    "lensblend.networks.dual_bokehnet._BokehNet",
    "lensblend.networks.patch_discriminator.MultiscalePatchDiscriminator", "lensblend.nn.rendering.BokehNetwork",
    "lensblend.backbones.hourglass.Inception", "lensblend.backbones.timm_pyramid.timm.create_model",
    "lensblend.backbones.tensor_files.read_tensors",
]  # fmt: skip
ODD = [7, 1.5, None, True, [], {}, ["torch.nn.ReLU"], "", ".", "..", "torch", "torch.nn", "torch.nn.", ".torch.nn.ReLU"]
ODD += ["torch.nn..ReLU", "torch.nn.ReLU ", " torch.nn.ReLU", "torch.nn.ReLU\n", "torch.nn.ReLU\0", "torch/nn/ReLU"]
ODD += ["torch.nn.ReLU.__init__", "torch.nn.ReLU.forward", "torch.nn.__builtins__", "torch.nn.modules.linear.math.exp"]
ODD += ["torch.nn.rélu", "ｔorch.nn.ReLU", "torch.nn." + "x" * 10_000, "a." * 3_000 + "b", b"torch.nn.ReLU", Ellipsis]


def cycle():
    node = {"_target_": "torch.nn.Sequential"}
    node["_args_"] = [node]
    return node


def deep(node, depth):
    for _ in range(depth):
        node = {"_target_": "torch.nn.Sequential", "_args_": [node]}
    return node


def shapes(bad):
    """Yield a node that is bad, in every place that it could hide in."""
    yield {"_target_": bad}
    yield {"_target_": bad, "_partial_": True}
    yield {"_target_": bad, "_args_": ["x"]}
    yield {"_target_": bad, "_recursive_": False}
    yield {"_target_": bad, "_convert_": "all"}
    for inner in ({"_target_": bad}, {"_target_": bad, "_partial_": True}):
        yield {**MODEL, "backbone": inner}
        yield {**MODEL, "bank": {**KERNELS, "sizes": [3, inner]}}
        yield {**MODEL, "bank": {**KERNELS, "sizes": {"a": {"b": [inner]}}}}
        yield {"_target_": ENSEMBLE, "members": [MODEL, inner]}
        yield {"_target_": ENSEMBLE, "_args_": [[MODEL, inner]]}
        yield {"_target_": ENSEMBLE, "members": ({**MODEL, "backbone": inner},)}
        yield {"_target_": ENSEMBLE, "members": [deep(inner, 3)]}
        yield {"_target_": ENSEMBLE, "_partial_": True, "members": [inner]}


@pytest.mark.parametrize("bad", [*DANGEROUS, *ODD], ids=lambda bad: repr(bad)[:60])
def test_what_may_not_stand_there_is_refused_before_anything_happens(bad):
    for node in shapes(bad):
        with nothing_happens(), pytest.raises(RequestError):
            sketch(node, "model")


@pytest.mark.parametrize(
    "text",
    [
        "${oc.create:{_target_: os.system, _args_: [x]}}", "${oc.env:HOME}", "${oc.env:NO_SUCH,x}", "${now:%Y}", "${.}",
        "${run_folder:a,b,c}", "${oc.select:model}", "${hydra:runtime.cwd}", "\\${oc.env:HOME}", "a ${b} c", "${",
        "${${a}}",
    ],
)  # fmt: skip
def test_an_interpolation_is_refused_with_its_path(text):
    places = {
        "_target_": {"_target_": text},
        r"bank\.sizes": {**MODEL, "bank": {**KERNELS, "sizes": text}},
        r"bank\.sizes\[1\]": {**MODEL, "bank": {**KERNELS, "sizes": [3, text]}},
        r"backbone\._target_": {**MODEL, "backbone": {"_target_": text}},
        r"members\[0\]\.bank\._args_\[0\]": {"_target_": ENSEMBLE, "members": [{**MODEL, "bank": {"_args_": [text]}}]},
        "the top": {**MODEL, text: 1},
    }
    for path, node in places.items():
        for act in (sketch, lambda n, w: build(n, w, *MODELS), lambda n, w: list(classes_in(n, w, *MODELS))):
            with nothing_happens(), pytest.raises(RequestError, match=rf"x: `{path}`"):
                act(node, "x")


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (cycle(), "nested over"),
        (deep({"_target_": "torch.nn.ReLU"}, 3_000), "nested over"),
        ({**MODEL, "members": [[0] * 1000] * 1000}, "more than"),
        ({**MODEL, "_args_": "ab"}, "`x._args_` is a list"),
        ({**MODEL, "_partial_": "yes"}, "`x._partial_` is true or false"),
        ({**MODEL, "_mode_": 1}, "`x._mode_` is none of"),
        ({**MODEL, "_partial_": True}, "`x._partial_` is true, but a network that renders bokeh is built at once"),
        ({**MODEL, "bank": {**KERNELS, "_partial_": True}}, "`x.bank._partial_` is true, but a kernel bank"),
        ({**MODEL, 7: 1}, "keys are plain texts"),
        ({**MODEL, "backbone": b"x"}, "is of type bytes"),
        ({**MODEL, "backbone": nn.ReLU()}, "is of type ReLU"),
        ({**MODEL, "backbone": torch.zeros(3)}, "is of type Tensor"),
        ({**MODEL, "backbone": {"_args_": [1]}}, "belongs beside a `_target_`"),
        ({}, "by its `_target_`"),
        ([MODEL], "by its `_target_`"),
        (None, "by its `_target_`"),
        ("lensblend.networks.depth_blend.DepthBlend", "by its `_target_`"),
        ({**MODEL, "backbone": KERNELS}, "out_channels|parameter 'backbone'"),
        ({**MODEL, "backbone": {"_target_": TIMM, "weights": "/dev/zero"}}, "no files"),
        ({**MODEL, "backbone": {"_target_": TIMM, "_args_": ["resnet18", 16, "/dev/zero"]}}, "no files"),
        ({**MODEL, "bank": {"_target_": KERNELS["_target_"], "_args_": [5]}}, "`x.bank.family` is 5"),
        ({**MODEL, "bank": {**KERNELS, "sizes": [100_001]}}, "at most 4096 pixels wide"),
        ({**MODEL, "bank": {**KERNELS, "scale": 1e9}}, "at most 4096 pixels wide"),
        ({"_target_": "lensblend.networks.saliency_rrdb.SaliencyRrdb", "blocks": 10**9}, "more than 10,000 parts"),
        ({"_target_": "lensblend.networks.attention_unet.AttentionUnet", "width": 2**62}, "could not be built"),
    ],
)  # fmt: skip
def test_odd_nodes_are_refused_in_one_line(node, says):
    with nothing_happens(), pytest.raises(RequestError, match=says) as raised:
        sketch(node, "x")
    assert len(str(raised.value)) < 2_000


def test_every_role_takes_its_own_and_no_others():
    own = {
        "NETWORK": MODEL["_target_"],
        "PRIOR": "lensblend.priors.scrn.Scrn",
        "BACKBONE": HOURGLASS["_target_"],
        "BANK": KERNELS["_target_"],
        "LAYER": "torch.nn.Conv2d",
        "DISCRIMINATOR": "lensblend.networks.patch_discriminator.MultiscalePatchDiscriminator",
        "LOSS": "lensblend.losses.pixel.L1",
        "METRIC": "lensblend.metrics.fidelity.Psnr",
        "OPTIMIZER": "torch.optim.Adam",
        "SCHEDULER": "torch.optim.lr_scheduler.StepLR",
        "DATA": "lensblend.data.catalogue.Folders",
        "GENERATED_DATA": "lensblend.data.scenes.Scenes",
        "MAP_SOURCE": "lensblend.inference.guidance.MapFiles",
        "MODULE": "lensblend.training.estimation.Estimation",
        "CALLBACK": "pytorch_lightning.callbacks.EarlyStopping",
        "LOGGER": "lensblend.training.loggers.wandb_run.PhaseWandbLogger",
        "STRATEGY": "lensblend.training.strategies.DDP",
    }
    assert own.keys() == {name for name, value in vars(roles).items() if isinstance(value, roles.Role)}
    for name, target in own.items():
        for other in own:
            takes = other == name or (name, other) in (("GENERATED_DATA", "DATA"),)
            if takes:
                assert find_class(target, "x", (getattr(roles, other),))[1] is getattr(roles, other)
            else:
                with pytest.raises(RequestError, match="may not be built there"):
                    find_class(target, "x", (getattr(roles, other),))
    assert isinstance(build({"_target_": own["LOSS"]}, "x", LOSS), L1)


# -- everything that a record can name -----------------------------------------------------------------------------


def reachable():
    """Return every class that a record of unknown origin can name."""
    found = {}
    for role in FOREIGN:
        for package in role.packages:
            module = importlib.import_module(package)
            names = [package]
            if hasattr(module, "__path__"):
                names += [info.name for info in pkgutil.walk_packages(module.__path__, f"{package}.")]
            for name in names:
                for value in vars(importlib.import_module(name)).values():
                    if inspect.isclass(value) and value.__module__ == name and plays(value, role):
                        found[f"{name}.{value.__qualname__}"] = value
    return found


REACHABLE = reachable()
VALUES = [
    None,
    True,
    0,
    -1,
    10**9,
    2**63,
    0.5,
    1e30,
    float("nan"),
    "",
    "zeros",
    "/etc/passwd",
    "https://example.invalid/x",
]
VALUES += [[], [3, 5], [10**9], ["x"], {}, {"a": 1}, [[1, 2], [3]]]
VALUES += [KERNELS, HOURGLASS, MODEL, [MODEL, MODEL], {"_target_": "torch.nn.ReLU"}, {"_target_": "os.system"}]


def test_there_is_something_to_reach():
    assert len(REACHABLE) > 120
    assert {"DepthBlend", "Hourglass", "TimmPyramid", "Conv2d", "Scrn", "Ensemble"} <= {
        c.__name__ for c in REACHABLE.values()
    }
    assert "Vgg19Features" not in {c.__name__ for c in REACHABLE.values()}


@pytest.fixture(scope="module")
def warm():
    """Import what the classes, and the checks of a test run, import when they are first used."""
    sketch(MODEL, "x")
    sketch({**MODEL, "backbone": {"_target_": TIMM, "name": "resnet18"}}, "x")
    with pytest.raises(RequestError):
        sketch({**MODEL, "bank": HOURGLASS}, "x")


def attempt(node):
    """Build a node as `sketch` does; refusals are well, any other exception is not."""
    with nothing_happens():
        try:
            with torch.device("meta"):
                build_recorded(node, "x", *FOREIGN)
        except LensblendError:
            return False
    return True


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of odd values
@pytest.mark.parametrize("target", REACHABLE)
def test_no_argument_of_any_class_makes_something_happen(target, warm):
    takes = [p for p in inspect.signature(REACHABLE[target]).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    nodes = {"backbone": HOURGLASS, "bank": KERNELS, "members": [MODEL]}
    plain = {p.name: nodes.get(p.name, 4) for p in takes if p.default is p.empty}
    plain |= {p.name: 2 for p in takes if p.name == "blocks"}
    attempt({"_target_": target, **plain})
    for parameter in takes:
        if parameter.name == "blocks":
            continue  # however many: `sketch` counts them, see above
        for value in VALUES[::5] if parameter.name in nodes else VALUES:
            attempt({"_target_": target, **plain, parameter.name: value})
        assert not attempt({"_target_": target, **plain, parameter.name: "${oc.env:HOME}"})


@pytest.mark.filterwarnings("ignore")
def test_nothing_happens_while_ten_thousand_generated_nodes_are_built(warm):
    draw = random.Random(0)
    light = [t for t in REACHABLE if t.startswith("torch.") or "kernel_bank" in t]
    names = [
        "_args_",
        "_partial_",
        "_recursive_",
        "backbone",
        "bank",
        "sizes",
        "width",
        "members",
        "in_channels",
        "weights",
    ]
    names += [
        "out_channels",
        "kernel_size",
        "num_features",
        "family",
        "scale",
        "download",
        "p",
        "inplace",
        "device",
        "x",
        7,
    ]

    def value(depth):
        kind = draw.random()
        if depth < 4 and kind < 0.45:
            return node(depth + 1)
        if depth < 4 and kind < 0.6:
            return [value(depth + 1) for _ in range(draw.randrange(4))]
        return draw.choice([v for v in VALUES if v is not MODEL])

    def node(depth):
        targets = draw.choice([light, light, light, DANGEROUS, ODD, list(REACHABLE) if depth == 0 else light])
        made = {"_target_": draw.choice(targets)} if draw.random() < 0.95 else {}
        for _ in range(draw.randrange(4)):
            made[draw.choice(names)] = value(depth)
        return made

    built = sum(attempt(node(0)) for _ in range(10_000))
    assert built > 300  # most are refused; those that are not matter as much


# -- the two proofs, through the reader of checkpoints --------------------------------------------------------------


def save(path, node):
    record = describe(node, "phase1", [32, 48], {"seed": 0}, {})
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "lensblend": record}, path)
    return path


def test_a_foreign_checkpoint_writes_no_file(tmp_path):
    made = tmp_path / "made"
    path = f"{{_target_: pathlib.Path, _args_: [{made}]}}"
    evil = f"${{oc.create:{{_target_: pathlib.Path.write_text, _args_: [{path}, text]}}}}"
    for node in ({"_target_": "torch.nn.Sequential", "_args_": [evil]}, {**MODEL, "bank": {**KERNELS, "sizes": evil}}):
        file = save(tmp_path / "best.ckpt", node)
        with nothing_happens(), pytest.raises(DataError, match="interpolations are not resolved"):
            load_network(file)
    assert not made.exists()


def test_a_foreign_checkpoint_starts_no_process(tmp_path):
    folder = f"${{oc.create:{{_target_: pathlib.Path, _args_: [{tmp_path}]}}}}"
    for where in (folder, str(tmp_path)):
        job = {"_target_": "lensblend.launchers.jobs.Job", "number": 0, "overrides": [], "folder": where}
        job["command"] = ["/bin/sh", "-c", f"touch {tmp_path / 'made'}"]
        running = {"_target_": "lensblend.launchers.local._Running", "job": job, "environment": {}, "gpus": []}
        node = {"_target_": ENSEMBLE, "members": [{**running, "to_log": False}]}
        file = save(tmp_path / "best.ckpt", node)
        with nothing_happens(), pytest.raises((DataError, RequestError)):
            load_network(file)
    assert not (tmp_path / "made").exists()
