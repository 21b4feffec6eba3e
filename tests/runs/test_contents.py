"""What a checkpoint of unknown origin may hold, and what of it is used."""

import copy
import os
import warnings
import zipfile

import pytest
import torch
import yaml

from lensblend.data.embedded import Embedded
from lensblend.errors import DataError, LensblendError, RequestError
from lensblend.inference.guidance import guides_of
from lensblend.runs.checkpoint_files import (
    DamagedError,
    hash_file,
    newest_valid,
    read_checkpoint,
)
from lensblend.runs.checkpoints import describe, load_ensemble, load_network, start_from
from lensblend.runs.instantiate import build
from lensblend.runs.recorded import recorded_data
from lensblend.runs.roles import MODELS
from lensblend.training.checkpoint_io import AtomicCheckpointIO

NODE = {
    "_target_": "lensblend.networks.depth_blend.DepthBlend",
    "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16},
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]},
}
SALIENT = {
    "_target_": "lensblend.networks.saliency_blend.SaliencyBlend",
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [5]},
}
RRDB = "lensblend.networks.saliency_rrdb.SaliencyRrdb"
NETWORK = build(NODE, "model", *MODELS)
POSITION = {"epoch": 1, "batch": 2, "batches": 3}


def content(node=NODE, state=None, config=None):
    record = {**describe(node, "phase1", [32, 48], config or {"seed": 0}, {}), "position": dict(POSITION)}
    return {"state_dict": NETWORK.state_dict() if state is None else state, "lensblend": record, "global_step": 7}


def save(path, changed):
    path.parent.mkdir(exist_ok=True)
    torch.save(changed, path)
    return path


def record(**changes):
    made = content()
    made["lensblend"].update(changes)
    return made


def without(key):
    made = content()
    del made["lensblend"][key]
    return made


def state(change):
    return {**content(), "state_dict": change(dict(NETWORK.state_dict()))}


def first(value):
    """Replace the first weight."""
    return state(lambda weights: {**weights, next(iter(weights)): value(next(iter(weights.values())))})


def quantized(weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch will leave them out some day
        return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


def cycle():
    node = copy.deepcopy(NODE)
    node["bank"]["sizes"] = [node]
    return node


HOSTILE = {
    "no state": {key: value for key, value in content().items() if key != "state_dict"},
    "state none": {**content(), "state_dict": None},
    "state list": {**content(), "state_dict": [torch.zeros(1)]},
    "state text": {**content(), "state_dict": "weights"},
    "state numbers": state(lambda w: dict.fromkeys(w, 1.0)),
    "state nested": state(lambda w: {"a": w}),
    "state keys": state(lambda w: dict(enumerate(w.values()))),
    "state empty": state(lambda w: {}),
    "state more": state(lambda w: {**w, "x": torch.zeros(1)}),
    "sparse": first(lambda w: w.to_sparse()),
    "quantized": first(quantized),
    "meta": first(lambda w: w.to("meta")),
    "complex": first(lambda w: w.to(torch.complex64)),
    "boolean": first(lambda w: w > 0),
    "integers": first(lambda w: w.int()),
    "nan": first(lambda w: w * torch.nan),
    "infinite": first(lambda w: w / 0),
    "too large": first(lambda w: w.double() + 1e300),
    "eight bits without end": first(lambda w: (w * torch.nan).to(torch.float8_e4m3fn)),
    "expanded": first(lambda w: torch.zeros(1).expand(10**13)),
    "expanded to its shape": first(lambda w: torch.zeros(1).expand(w.shape)),
    "other shape": first(lambda w: w[None]),
    "a name that steers a terminal": state(lambda w: {**w, "\x1b[2J": torch.zeros(1)}),
    "a name of megabytes": state(lambda w: {**w, "x" * 10**6: torch.zeros(1)}),
    "optimizer of terabytes": {**content(), "optimizer_states": [{"state": {0: torch.zeros(1).expand(10**13)}}]},
    "record none": {**content(), "lensblend": None},
    "record list": {**content(), "lensblend": [1]},
    "no network": without("network"),
    "network text": record(network="DepthBlend"),
    "network list": record(network=[NODE]),
    "network empty": record(network={}),
    "network cycle": record(network=cycle()),
    "network layer": record(network={"_target_": "torch.nn.Conv2d", "_args_": [3, 3, 1]}),
    "network without backbone": record(network={**NODE, "backbone": {"_target_": "torch.nn.ReLU"}}),
    "network of terabytes": record(network={"_target_": RRDB, "width": 10**6}),
    "network without end": record(network={"_target_": RRDB, "blocks": 10**9}),
    "tensor in the record": record(note=torch.zeros(1)),
    "set in the record": record(note={1, 2}),
    "key in the record": record(note={1: 2}),
    "interpolation in the record": record(phase="${oc.env:HOME}"),
    "format text": record(format="2"),
    "format none": record(format=None),
    "format 99": record(format=99),
    "no image size": without("image_size"),
    "image size text": record(image_size="32x48"),
    "image size number": record(image_size=32),
    "image size three": record(image_size=[32, 48, 3]),
    "image size half": record(image_size=[32.5, 48]),
    "image size zero": record(image_size=[0, 48]),
    "image size huge": record(image_size=[10**6, 10**6]),
    "no phase": without("phase"),
    "phase number": record(phase=1),
    "phase leads away": record(phase="../phase1"),
    "no config": without("config"),
    "config mapping": record(config={"seed": 0}),
    "position list": record(position=[1, 2, 3]),
    "position part": record(position={"epoch": 1}),
    "position negative": record(position={**POSITION, "batch": -1}),
    "position text": record(position={**POSITION, "epoch": "1"}),
    "position beyond its epoch": record(position={**POSITION, "batch": 4}),
    "position huge": record(position={**POSITION, "epoch": 10**30}),
    "parent list": record(parent=["x"]),
    "parent number": record(parent={"path": 1}),
    "versions text": record(versions="1.0"),
    "step text": {**content(), "global_step": "7"},
    "step negative": {**content(), "global_step": -7},
    "step true": {**content(), "global_step": True},
    "nothing": {},
    "a list": [1, 2],
    "a tensor": torch.zeros(3),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*quantized")
@pytest.mark.parametrize("name", HOSTILE)
def test_each_is_refused_in_one_line_that_names_the_file(tmp_path, name):
    path = save(tmp_path / "theirs.ckpt", HOSTILE[name])
    with pytest.raises((DataError, RequestError)) as raised:
        load_network(path)
    assert str(path) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 2_000


def test_nothing_of_it_is_spent_memory_on(tmp_path):
    """Neither a claim in the file nor one in the record is believed before the two are compared."""
    huge = {
        "_target_": "lensblend.backbones.timm_pyramid.TimmPyramid",
        "name": "resnet18",
        "decoder_channels": 4 * 10**5,
    }
    view = torch.zeros(1)
    weights = {name: view.expand(1) for name in ("a", "b")}
    for made in (content({**NODE, "backbone": huge}), content({**NODE, "backbone": huge}, weights)):
        with pytest.raises(DataError, match="holds another network"):
            load_network(save(tmp_path / "theirs.ckpt", made))
    # Many weights that are one and the same in the file would each be of its size in memory.
    shared = torch.zeros(4 * 10**6)
    layers = [{"_target_": "torch.nn.Linear", "_args_": [2000, 2000], "bias": False}] * 40
    node = {**NODE, "backbone": {"_target_": "torch.nn.Sequential", "_args_": layers}}
    with pytest.raises(RequestError, match=r"out_channels|parameter 'backbone'"):
        load_network(save(tmp_path / "theirs.ckpt", content(node, {"x": shared})))


def test_a_network_larger_than_its_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lensblend.runs.recorded._ALLOWANCE", 0)
    one = torch.zeros(2_400_000)
    shared = {n: one[: w.numel()].view(w.shape) if w.ndim else w for n, w in NETWORK.state_dict().items()}
    assert load_network(save(tmp_path / "whole.ckpt", content())).image_size == (32, 48)
    monkeypatch.setattr("lensblend.runs.recorded._FACTOR", 0.001)
    with pytest.raises(DataError, match=r"describes a network of .* bytes, but holds"):
        load_network(save(tmp_path / "theirs.ckpt", content(state=shared)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_numbers_of_the_same_kind(tmp_path, dtype):
    kinds = {n: w.to(dtype) if w.is_floating_point() else w for n, w in NETWORK.state_dict().items()}
    network = load_network(save(tmp_path / "half.ckpt", content(state=kinds))).network
    assert {w.dtype for w in network.parameters()} == {torch.float32}


def compressed(path):
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def overlapping(path):
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    largest = max(infos, key=lambda info: info.file_size)
    for info in infos:
        info.header_offset = largest.header_offset
        info.file_size = info.compress_size = largest.file_size
    with zipfile.ZipFile(path, "w") as archive:
        archive.filelist = infos
        archive.start_dir = len(raw)
        archive.fp.write(raw)
        archive._didModify = True


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint"),
    "compressed": compressed,
    "overlapping": overlapping,
    "legacy": lambda path: torch.save(content(), path, _use_new_zipfile_serialization=False),
    "other archive": lambda path: zipfile.ZipFile(path, "w").close(),
    "page": lambda path: path.write_text("<html>404</html>"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_file_that_is_no_archive_of_tensors_is_refused(tmp_path, name):
    path = save(tmp_path / "theirs.ckpt", content())
    DAMAGES[name](path)
    with pytest.raises(DamagedError, match=r"theirs\.ckpt cannot be read as a checkpoint"):
        read_checkpoint(path)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(RequestError, match="pipe or device"):
        load_network(tmp_path / "pipe.ckpt")


@pytest.mark.parametrize("kind", ["binary", "pipe", "folder", "long", "words", "link"])
def test_a_hash_file_of_anything_else_is_said(tmp_path, kind):
    path = save(tmp_path / "theirs.ckpt", content())
    beside = hash_file(path)
    match kind:
        case "binary":
            beside.write_bytes(b"\xff\x00" * 40)
        case "pipe":
            os.mkfifo(beside)
        case "folder":
            beside.mkdir()
        case "long":
            beside.write_bytes(b"a" * 10**6)
        case "words":
            beside.write_text("not a hash\n")
        case "link":
            beside.symlink_to("/dev/zero")
    with pytest.raises(DamagedError, match=r"theirs\.ckpt\.sha256") as raised:
        read_checkpoint(path)
    assert "if theirs.ckpt is whole" in str(raised.value)


def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path):
    folder = tmp_path / "phase1"
    whole = {**content(), "global_step": 5}
    AtomicCheckpointIO().save_checkpoint(whole, folder / "previous.ckpt")
    for name in ("state none", "step text", "position text", "parent list", "expanded", "meta"):
        save(folder / "last.ckpt", HOSTILE[name])
        path, damaged = newest_valid(folder)
        assert path == folder / "previous.ckpt"
        assert [file.name for file, _ in damaged] == ["last.ckpt"]
    made = content()
    del made["global_step"]
    save(folder / "last.ckpt", made)
    assert newest_valid(folder)[0] == folder / "previous.ckpt"


BOMB = "a0: &a0 [x, x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))


# -- what else a checkpoint says -------------------------------------------------------------------------------------

EMBEDDED = {"_target_": "lensblend.data.embedded.Embedded", "image_size": [32, 48], "train": 2, "val": 1}
FOLDERS = {"_target_": "lensblend.data.catalogue.Folders", "photos": "photos", "targets": "targets"}


def test_generated_data_is_used_and_its_cache_is_not(tmp_path):
    outside = tmp_path / "outside"
    for is_run in (True, False):
        source = recorded_data({"data": {**EMBEDDED, "cache": str(outside)}}, tmp_path / "x.ckpt", is_run)
        assert isinstance(source, Embedded)
        source.split("val").load(0)
    assert not outside.exists()


def test_a_cache_is_not_named_by_position(tmp_path):
    placed = {"_target_": EMBEDDED["_target_"], "_args_": [[32, 48], 2, 1, 0, str(tmp_path / "outside")]}
    for is_run in (True, False):
        with pytest.raises(RequestError, match=r"data\._args_` is .*by their names"):
            recorded_data({"data": placed}, tmp_path / "x.ckpt", is_run)


def test_data_in_files_is_used_only_where_the_runs_folder_was_named(tmp_path):
    for is_run, says in (
        (False, r"x\.ckpt was trained on files \(Folders\).*name the data set"),
        (True, "is not a folder"),
    ):
        with pytest.raises(RequestError, match=says):
            recorded_data({"data": FOLDERS}, tmp_path / "x.ckpt", is_run)


@pytest.mark.parametrize(
    "node",
    [
        None, [], "embedded", {}, {"_target_": "os.system"}, {"_target_": "lensblend.data.images.write_image"},
        {**EMBEDDED, "seed": "${oc.env:HOME}"}, {**EMBEDDED, "train": 10**15},
        {**EMBEDDED, "image_size": [10**6, 10**6]},
        {**EMBEDDED, "val": "x"}, {"_target_": NODE["_target_"]}, {**EMBEDDED, "_partial_": 3}, {**EMBEDDED, "zz": 1},
    ],
)  # fmt: skip
def test_other_data_is_refused(tmp_path, node):
    for is_run in (True, False):
        with pytest.raises(RequestError, match=r"x\.ckpt|at most"):
            recorded_data({"data": node}, tmp_path / "x.ckpt", is_run)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [x]\nb: [*a, *a]\n" + "seed: ${oc.env:HOME}", r"config: `seed` is"),
        ("[1, 2]", "is no configuration"),
        ("x", "is no configuration"),
        ("a: [", "damaged"),
        (BOMB, "unfolds"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_none_is_refused(tmp_path, text, says):
    trained = load_network(save(tmp_path / "theirs.ckpt", record(config=text)))
    with pytest.raises(DataError, match=says):
        _ = trained.config


def salient(tmp_path, source, folder=False):
    config = {"saliency": source, "data": EMBEDDED}
    path = save(tmp_path / "run" / "best.ckpt", content(SALIENT, {}, config))
    return load_network(path.parent if folder else path)


MAPS = {"_target_": "lensblend.inference.guidance.MapFiles", "folder": "maps"}
PRIOR = {
    "_target_": "lensblend.inference.prior_maps.NetworkMap",
    "network": {"_target_": "lensblend.priors.scrn.Scrn"},
    "published_size": [32, 48],
    "weights": "scrn.ckpt",
}


@pytest.mark.parametrize("source", [MAPS, PRIOR])
def test_files_that_a_single_checkpoint_names_are_not_read(tmp_path, source):
    with pytest.raises(RequestError, match=r"best\.ckpt was trained with saliency from .*--saliency SOURCE"):
        guides_of(salient(tmp_path, source))
    with pytest.raises(LensblendError, match=r"is not a folder|does not exist"):
        guides_of(salient(tmp_path, source, folder=True))
    os.makedirs(tmp_path / "own")
    assert guides_of(salient(tmp_path, source), {"saliency": str(tmp_path / "own")})["saliency"]


def test_sources_that_read_nothing_are_as_in_the_training(tmp_path):
    source = {"_target_": "lensblend.inference.guidance.Truth"}
    assert guides_of(salient(tmp_path, source))["saliency"].identity == "truth"
    for other in ({"_target_": "os.system"}, {"_target_": "lensblend.data.embedded.Embedded"}, "x", ["y"]):
        with pytest.raises((RequestError, DataError), match="saliency"):
            guides_of(salient(tmp_path, other))


def test_an_ensemble_is_as_trusted_as_the_least_of_its_members(tmp_path):
    save(tmp_path / "a" / "best.ckpt", content())
    save(tmp_path / "b" / "best.ckpt", content())
    assert load_ensemble([tmp_path / "a", tmp_path / "b"]).is_run
    assert not load_ensemble([tmp_path / "a", tmp_path / "b" / "best.ckpt"]).is_run


def test_what_a_training_starts_from_is_checked_alike(tmp_path):
    network = build(NODE, "model", *MODELS)
    for name in ("state none", "nan", "sparse", "complex", "record list"):
        with pytest.raises(DataError, match=r"theirs\.ckpt"):
            start_from(network, save(tmp_path / "theirs.ckpt", HOSTILE[name]))
    assert yaml.safe_load(content()["lensblend"]["config"]) == {"seed": 0}
