"""Exported networks that are damaged, or somebody's trap, given to the verbs that take one: a line, and no more."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load, save

from lensblend.runs.checkpoints import describe
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network

TRUNK = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
BANK = {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]}
NETWORK = {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": TRUNK, "bank": BANK}
CONFIG = {"seed": 0, "schedule": {"run": ["phase1"]}, "data": {"_target_": "lensblend.data.embedded.Embedded"}}
FIRST = "head.bias"
TRAINING = (
    *("experiment=demo", "schedule.run=[phase1]", "schedule.every_phase.max_epochs=1", "logger=none"),
    *("metrics.lpips=null", "kernels.sizes=[3,5]", "+backbone.width_divisor=16"),
    *("data.image_size=[32,48]", "data.train=1", "data.val=1"),
)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """A file as `lensblend export` writes it, of a small network with random weights; its header and its weights."""
    path = tmp_path_factory.mktemp("genuine") / "network.safetensors"
    network = build(NETWORK, "model", *MODELS)
    write_network(network.state_dict(), describe(NETWORK, "phase1", [32, 48], CONFIG, {}), path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, data):
    """A file of this header, which is text or what JSON is made of, and with these weights."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def signed(header, data):
    """A file whose record names the hash of its weights."""
    record = json.loads(header["__metadata__"]["lensblend"])
    record["weights_sha256"] = hashlib.sha256(data).hexdigest()
    return put_together({**header, "__metadata__": {"lensblend": json.dumps(record)}}, data)


def entry(**changes):
    """Change what the header says of one tensor."""
    return lambda header, data: put_together({**header, FIRST: {**header[FIRST], **changes}}, data)


def text(change):
    """Change the header's text."""
    return lambda header, data: put_together(change(json.dumps(header)).encode(), data)


def metadata(value):
    return lambda header, data: put_together({**header, "__metadata__": value}, data)


def weights(change):
    """Change the weights, and say their hash."""

    def changed(header, data):
        state = dict(load(put_together(header, data)))
        content = save(change(state) or state, header["__metadata__"])
        length = int.from_bytes(content[:8], "little")
        return signed(json.loads(content[8 : 8 + length]), content[8 + length :])

    return changed


def record(**changes):
    """Change what the file says of itself; None leaves it out."""

    def changed(header, data):
        said = json.loads(header["__metadata__"]["lensblend"])
        said = {key: value for key, value in {**said, **changes}.items() if value is not None}
        return put_together({**header, "__metadata__": {"lensblend": json.dumps(said)}}, data)

    return changed


def bank(**changes):
    return record(network={**NETWORK, "bank": {**BANK, **changes}})


def trunk(**changes):
    return record(network={**NETWORK, "backbone": {**TRUNK, **changes}})


def config(**changes):
    return record(config=yaml.safe_dump({**CONFIG, **changes}))


def overlapping(header, data):
    """Two tensors of one place."""
    tensors = [header[name] for name in header if name != "__metadata__"]
    wide = max(tensors, key=lambda tensor: tensor["data_offsets"][1] - tensor["data_offsets"][0])
    return entry(data_offsets=[wide["data_offsets"][0], wide["data_offsets"][0] + 12])(header, data)


BYTES = {
    "empty": lambda header, data: b"",
    "one byte": lambda header, data: b"\x08",
    "a header's length alone": lambda header, data: (100).to_bytes(8, "little"),
    "cut short in the header": lambda header, data: put_together(header, data)[:100],
    "cut short in the weights": lambda header, data: put_together(header, data)[: -len(data) // 2],
    "cut short by a byte": lambda header, data: put_together(header, data)[:-1],
    "a byte too many": lambda header, data: put_together(header, data) + b"\0",
    "a changed byte": lambda header, data: put_together(header, data[:-1] + bytes([data[-1] ^ 1])),
    "a header of 2⁶³ bytes": lambda header, data: (2**63).to_bytes(8, "little") + data,
    "a header of 2⁶⁴ − 1 bytes": lambda header, data: b"\xff" * 8 + data,
    "a header that is no JSON": lambda header, data: put_together(b"{]", data),
    "a header that is no text": lambda header, data: put_together(b"\xff\xfe\x00", data),
    "a header that is a list": lambda header, data: put_together([1], data),
    "a header that is a number": lambda header, data: put_together(1, data),
    "a header nested 100,000 deep": lambda header, data: put_together(b"[" * 100_000, data),
    "a header with a number of 10,000 digits": lambda header, data: put_together(
        b'{"a": ' + b"9" * 10_000 + b"}", data
    ),
    "a pickle": lambda header, data: b"cos\nsystem\n(Vtouch canary\ntR.",
    "no tensors, no metadata": lambda header, data: put_together({}, b""),
    "no metadata": lambda header, data: put_together({k: header[k] for k in header if k != "__metadata__"}, data),
    "metadata that is a list": metadata([]),
    "metadata that is nothing": metadata(None),
    "metadata without a configuration": metadata({"format": "pt"}),
    "metadata with a number": metadata({"lensblend": 5}),
    "metadata with a mapping": metadata({"lensblend": {"network": NETWORK}}),
    "metadata twice": text(lambda said: '{"__metadata__": {}, ' + said[1:]),
    "a tensor twice": text(
        lambda said: said[:-1] + f', "{FIRST}": {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}}}'
    ),
    "offsets that overlap": overlapping,
    "offsets beyond the end": entry(data_offsets=[10**9, 10**9 + 12]),
    "offsets that go back": entry(data_offsets=[12, 0]),
    "negative offsets": entry(data_offsets=[-12, 0]),
    "offsets of 2⁶⁴": entry(data_offsets=[2**64, 2**64 + 12]),
    "offsets of text": entry(data_offsets="all"),
    "one offset": entry(data_offsets=[0]),
    "a tensor of 2 GiB": entry(shape=[2**29], data_offsets=[0, 2**31]),
    "a tensor of 2⁸⁰ numbers": entry(shape=[2**40, 2**40]),
    "a tensor of 2⁶⁴ + 3 numbers": entry(shape=[2**64 + 3]),
    "a negative shape": entry(shape=[-3]),
    "a shape of 100,000 sides": entry(shape=[1] * 100_000 + [3]),
    "another shape of as many bytes": entry(shape=[3, 1]),
    "numbers of an unknown kind": entry(dtype="F128"),
    "numbers of four bits": entry(dtype="F4", shape=[24]),
    "no kind of numbers": entry(dtype=None),
    "a tensor that is a list": lambda header, data: put_together({**header, FIRST: [1]}, data),
}
WEIGHTS = {
    "another shape": weights(lambda state: state.update({FIRST: torch.zeros(4)})),
    "whole numbers": weights(lambda state: state.update({FIRST: state[FIRST].long()})),
    "truths": weights(lambda state: state.update({FIRST: state[FIRST].bool()})),
    "complex numbers": weights(lambda state: state.update({FIRST: state[FIRST].to(torch.complex64)})),
    "bytes": weights(lambda state: state.update({FIRST: state[FIRST].byte()})),
    "NaN": weights(lambda state: state.update({FIRST: state[FIRST] * torch.nan})),
    "an infinite weight": weights(lambda state: state.update({FIRST: state[FIRST] * torch.inf})),
    "too large for single precision": weights(
        lambda state: state.update({FIRST: torch.full((3,), 1e300, dtype=torch.float64)})
    ),
    "one too many": weights(lambda state: state.update(extra=torch.zeros(3))),
    "a name that steers a terminal": weights(lambda state: state.update({"\x1b[2J": torch.zeros(3)})),
    "one too few": weights(lambda state: {k: v for k, v in state.items() if k != FIRST}),
    "none at all": weights(lambda state: {"extra": torch.zeros(0)}),
}
SYSTEM = {"_target_": "os.system", "command": "touch canary"}
RECORDS = {
    "no JSON": metadata({"lensblend": "{"}),
    "a list": metadata({"lensblend": "[1]"}),
    "nested 100,000 deep": metadata({"lensblend": "[" * 100_000}),
    "a newer format": record(format=99),
    "a format of text": record(format="2"),
    "no network": record(network=None),
    "os.system": record(network=SYSTEM),
    "os.system by position": record(network={"_target_": "os.system", "_args_": ["touch canary"]}),
    "os.system within": record(network={**NETWORK, "backbone": SYSTEM}),
    "os.system as a number": bank(scale=SYSTEM),
    "a class of another package": record(network={"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}),
    "a class that is not there": record(network={"_target_": "evil.Network"}),
    "a function of ours": record(
        network={"_target_": "lensblend.storage.write_atomically", "path": "canary", "content": ""}
    ),
    "a data set of ours": record(network={"_target_": "lensblend.data.embedded.Embedded", "cache": "canary"}),
    "an interpolation": bank(family="${oc.env:HOME}"),
    "weights from a file": trunk(weights="/etc/passwd"),
    "kernels of 10⁹": bank(sizes=[3, 10**9 + 1]),
    "kernels of 10³⁰": bank(sizes=[3, 10**30 + 1]),
    "negative kernels": bank(sizes=[-3, 5]),
    "kernels of text": bank(sizes="all"),
    "100,000 kernels": bank(sizes=list(range(3, 200_003, 2))),
    "a scale of 10⁹": bank(scale=1e9),
    "a scale of NaN": bank(scale=float("nan")),
    "photos of −1 pixels": bank(photo_size=[-1, -1]),
    "widths of 10⁹": trunk(width_divisor=10**9),
    "widths of −1": trunk(width_divisor=-1),
    "widths of 0": trunk(width_divisor=0),
    "widths of text": trunk(width_divisor="16"),
    "an image of 10⁹ pixels a side": record(image_size=[10**9, 10**9]),
    "an image of 10⁹ pixels": record(image_size=[1, 10**9]),
    "a negative image": record(image_size=[-32, -48]),
    "an image of 0 pixels": record(image_size=[0, 48]),
    "an image of half pixels": record(image_size=[32.5, 48]),
    "an image of one side": record(image_size=[32]),
    "no image size": record(image_size=None),
    "a phase above": record(phase="../../x"),
    "a phase that is a list": record(phase=["phase1"]),
    "no hash": record(weights_sha256=None),
    "another hash": record(weights_sha256="0" * 64),
    "a hash that is a list": record(weights_sha256=[1]),
    "a card of lists": record(card={"licence": ["a"]}),
    "an f-number of 0": record(card={"f_number": 0}),
}
CONFIGURATIONS = {
    "of text": record(config="evil"),
    "no YAML": record(config="{"),
    "that runs Python": record(config="!!python/object/apply:os.system ['touch canary']"),
    "of aliases upon aliases": record(
        config="a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    ),
    "nested 100,000 deep": record(config="[" * 100_000),
    "of 2 MiB": record(config="a: " + "x" * 2**21),
    "data that is os.system": config(data=SYSTEM),
    "data in files": config(data={"_target_": "lensblend.data.catalogue.Folders", "photos": "/", "targets": "/"}),
    "data of 10⁹ pixels": config(data={**CONFIG["data"], "image_size": [10**5, 10**5]}),
    "data of −1 pairs": config(data={**CONFIG["data"], "train": -1}),
}
# What else may be called so.
FILES = {
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "a file of 2 TiB": lambda path: (path.touch(), os.truncate(path, 2**41)),
}
KINDS = {"bytes": BYTES, "weights": WEIGHTS, "record": RECORDS}
VERBS = {
    "render": ("render", "photo.png", "--output", "out.png", "--model", "x.safetensors"),
    "evaluate": ("evaluate", "checkpoint=x.safetensors", "output=out", "metrics.lpips=null", "limit=1"),
    "train": ("train", *TRAINING, "init_from=x.safetensors", "run_dir=out"),
}
# Training takes the weights alone; of what a file says of itself it is enough that it may be built.
TRAINED_FROM = {
    "bytes": ["a header of 2⁶³ bytes", "cut short in the weights"],
    "weights": ["NaN"],
    "record": ["os.system"],
}


@pytest.fixture
def answer(genuine, in_process, tmp_path):
    """Make a file, unless it is there, give it to a verb, and return how that ended."""

    def given(make, verb="render"):
        Image.new("RGB", (48, 40)).save(tmp_path / "photo.png")
        if make is not None:
            (tmp_path / "x.safetensors").write_bytes(make(*genuine))
        return in_process(*VERBS[verb], cwd=tmp_path)

    return given


def check_refused(done, folder):
    """One line that names the file, and nothing else: no command was run; a training leaves but its folder's notes."""
    assert done.code in (1, 2)
    assert len(done.err.splitlines()) == 1, done.err
    assert "x.safetensors" in done.err
    assert "Traceback" not in done.out + done.err
    assert {path.name for path in folder.iterdir()} - {"out"} == {"photo.png", "x.safetensors"}
    assert not [path for path in (folder / "out").rglob("*") if path.name == "canary" or path.suffix == ".ckpt"]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in KINDS[kind]])
def test_a_photo_is_not_rendered_by_it(answer, tmp_path, kind, name):
    check_refused(answer(KINDS[kind][name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in TRAINED_FROM for name in TRAINED_FROM[kind]])
def test_a_training_does_not_start_from_it(answer, tmp_path, kind, name):
    check_refused(answer(KINDS[kind][name], "train"), tmp_path)


@pytest.mark.parametrize(("name", "verb"), [*((name, "render") for name in FILES), ("a FIFO", "train")])
def test_what_is_no_file_is_neither_waited_for_nor_read(answer, tmp_path, name, verb):
    FILES[name](tmp_path / "x.safetensors")
    check_refused(answer(None, verb), tmp_path)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_it_is_not_evaluated_on_data_of_its_own(answer, tmp_path, name):
    check_refused(answer(CONFIGURATIONS[name], "evaluate"), tmp_path)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_another_precision_are_taken(answer, tmp_path, kind):
    done = answer(weights(lambda state: state.update({FIRST: state[FIRST].to(kind)})))
    assert done.code == 0, done.err
    assert (tmp_path / "out.png").is_file()


def memory(key):
    """Of this process, in bytes: what it takes (VmRSS), or the most that it took (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the most memory that was used")
def test_weights_of_another_network_take_no_memory(genuine, answer, tmp_path):
    """Zeros take no place on anybody's disk, and a file may hold gigabytes of them."""
    size, zeros = 2**28, bytes(2**20)
    digest = hashlib.sha256()
    for _ in range(size // len(zeros)):
        digest.update(zeros)
    said = {
        "__metadata__": genuine[0]["__metadata__"],
        "x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
    }

    answer(record(weights_sha256=digest.hexdigest()))  # reads what every rendering reads, the program's parts
    path = tmp_path / "x.safetensors"
    path.write_bytes(record(weights_sha256=digest.hexdigest())(said, b""))
    os.truncate(path, path.stat().st_size + size)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the most so far
    before = memory("VmRSS")
    done = answer(None)
    assert memory("VmHWM") - before < size // 4
    check_refused(done, tmp_path)
    assert "1 are unknown" in done.err
