"""Networks as safetensors: written, read back, and refused in one line where they are damaged or of other origin."""

import hashlib
import json
import os
import re

import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml
from safetensors import safe_open

from lensblend.errors import DataError, RequestError
from lensblend.runs.checkpoint_files import is_checkpoint, read_checkpoint
from lensblend.runs.checkpoints import describe, load_ensemble, load_network, start_from
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network

NETWORK = {
    "_target_": "lensblend.networks.depth_blend.DepthBlend",
    "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16},
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]},
}
CONFIG = {"seed": 0, "schedule": {"run": ["phase1"]}}


def written(path, node=NETWORK, half=False, **changes):
    """Write a network with random weights, and return it."""
    network = build(NETWORK, "model", *MODELS).eval()
    record = {**describe(node, "phase1", [32, 48], CONFIG, {}), **changes}
    write_network(network.state_dict(), record, path, half)
    return network


def parts(path):
    """Take a file apart by the format's own definition: the header as JSON, and the bytes after it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def with_record(path, change):
    """Change what a file says of itself."""
    header, data = parts(path)
    record = json.loads(header["__metadata__"]["lensblend"])
    change(record)
    header["__metadata__"]["lensblend"] = json.dumps(record)
    put_together(path, header, data)


def refusal(path):
    """The one line with which a file is refused."""
    with pytest.raises((DataError, RequestError)) as refused:
        load_network(path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_network_comes_back_bit_by_bit(tmp_path):
    network = written(tmp_path / "a.safetensors")
    trained = load_network(tmp_path / "a.safetensors")
    state = trained.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    photo = torch.rand(1, 3, 40, 48)
    torch.testing.assert_close(trained.network(photo).bokeh, network(photo).bokeh, rtol=0, atol=0)
    assert (trained.image_size, trained.label, trained.config) == ((32, 48), "phase1", CONFIG)


def test_other_programs_read_it_without_this_one(tmp_path):
    network = written(tmp_path / "a.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    expected = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(array, expected[name]) for name, array in arrays.items())
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        record = json.loads(file.metadata()["lensblend"])
    assert record["network"] == NETWORK
    assert yaml.safe_load(record["config"]) == CONFIG
    assert record["weights_sha256"] == hashlib.sha256(parts(tmp_path / "a.safetensors")[1]).hexdigest()


def test_half_precision_halves_the_file_and_is_loaded_in_single(tmp_path):
    network = written(tmp_path / "a.safetensors", half=True)
    torch.manual_seed(1)
    write_network(network.state_dict(), describe(NETWORK, "phase1", [32, 48], CONFIG, {}), tmp_path / "b.safetensors")
    stored = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    trained = load_network(tmp_path / "a.safetensors")
    for name, tensor in network.state_dict().items():
        array, loaded = tensor.numpy(), trained.network.state_dict()[name]
        halved = array.ndim > 1
        assert stored[name].dtype == (np.float16 if halved else array.dtype)
        assert loaded.dtype == tensor.dtype
        np.testing.assert_array_equal(loaded.numpy(), array.astype(np.float16) if halved else array)
    data = [len(parts(tmp_path / f"{name}.safetensors")[1]) for name in "ab"]
    assert data[0] < 0.55 * data[1]


def test_weights_too_large_for_half_precision_are_refused_by_name(tmp_path):
    state = {"fine": torch.ones(2, 2), "large": torch.full((2, 2), 70000.0), "vector": torch.full((2,), 70000.0)}
    with pytest.raises(RequestError, match=r"1 weights.*65,504 \(first: large\)"):
        write_network(state, {}, tmp_path / "a.safetensors", half=True)
    assert not any(tmp_path.iterdir())


def test_shared_weights_and_views_are_written_as_what_they_show(tmp_path):
    one = torch.arange(6.0).view(2, 3)
    write_network({"a": one, "b": one, "turned": one.T, "number": torch.tensor(3)}, {}, tmp_path / "a.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(arrays["turned"], np.arange(6.0).reshape(2, 3).T)
    np.testing.assert_array_equal(arrays["a"], arrays["b"])
    assert arrays["number"] == 3


def test_the_same_network_makes_the_same_file(tmp_path):
    network = written(tmp_path / "a.safetensors")
    record = describe(NETWORK, "phase1", [32, 48], CONFIG, {})
    for _ in range(5):
        write_network(network.state_dict(), record, tmp_path / "b.safetensors")
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.99])
def test_a_file_that_ends_too_early_is_refused(tmp_path, share):
    path = tmp_path / "a.safetensors"
    written(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read as a checkpoint" in refusal(path)


def test_a_changed_byte_is_found_wherever_it_lies(tmp_path):
    path = tmp_path / "a.safetensors"
    written(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in (header, (header + len(content)) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "is damaged" in refusal(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its header is missing"),
        ((2**62).to_bytes(8, "little") + b"{}", r"its header is 4,611,.* bytes long, above 8,388,608"),
        ((2).to_bytes(8, "little") + b"{]", "its header is no JSON"),
        ((2).to_bytes(8, "little") + b"[]", "its header is no list of tensors"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "its header is no JSON"),
        ((20).to_bytes(8, "little") + b'{"__metadata__": []}', "its header is no list of tensors"),
        (b"PK\x03\x04 an archive of torch.save", "its header is"),
    ],
)
def test_what_is_no_safetensors_is_refused_by_its_header(tmp_path, content, said):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert re.search(said, refusal(path))
    assert not is_checkpoint(path)


def test_a_file_of_terabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    written(path)
    os.truncate(path, 2**41)
    assert "it is longer than 2,147,483,648 bytes" in refusal(path)


def test_somebody_elses_safetensors_is_no_checkpoint_but_may_be_published_weights(tmp_path):
    path = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file({"layer.weight": np.ones(3, np.float32)}, path, {"format": "pt"})
    assert "is not a lensblend checkpoint" in refusal(path)
    assert not is_checkpoint(path)
    network = build(NETWORK, "model", *MODELS)
    taken = []
    network.load_published = taken.append
    assert start_from(network, path) == (path, "the published weights of ")
    assert taken == [path]


def test_a_training_starts_from_an_exported_network(tmp_path):
    network = written(tmp_path / "a.safetensors")
    other = build(NETWORK, "model", *MODELS)
    assert start_from(other, tmp_path / "a.safetensors") == (tmp_path / "a.safetensors", "")
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = build(NETWORK, "model", *MODELS)
    network.head.bias.data[0] = torch.nan
    write_network(network.state_dict(), describe(NETWORK, "phase1", [32, 48], CONFIG, {}), tmp_path / "a.safetensors")
    assert "holds 1 weights that are not finite (first: head.bias)" in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "os.system"}, "'os.system', which may not be built there"),
        ({**NETWORK, "backbone": {"_target_": "subprocess.Popen", "args": ["touch", "x"]}}, "may not be built there"),
        ({**NETWORK, "bank": {**NETWORK["bank"], "sizes": [3, 5, 7]}}, "2 have another shape"),
        ({**NETWORK, "linear_light": "${oc.env:HOME}"}, "interpolations are not resolved"),
    ],
)
def test_what_the_record_names_is_built_only_where_a_checkpoint_may_name_it(tmp_path, node, said):
    path = tmp_path / "a.safetensors"
    written(path, node)
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("network"), "does not say which network it holds"),
        (lambda record: record.pop("image_size"), "does not say its `image_size`"),
        (lambda record: record.pop("weights_sha256"), "does not say its `weights_sha256`"),
        (lambda record: record.update(format=99), "format 99, newer than"),
        (lambda record: record.update(image_size=[10**9, 10**9]), "its `image_size` is"),
        (lambda record: record.update(card={"licence": ["a"]}), "its `card` is {'licence': ['a']}"),
        (lambda record: record.update(card={"f_number": -2}), "its `card.f_number` is -2"),
        (lambda record: record.update(card={"f_number": "1.8"}), "its `card.f_number` is '1.8'"),
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_refused(tmp_path, change, said):
    path = tmp_path / "a.safetensors"
    written(path)
    with_record(path, change)
    assert said in refusal(path)


def test_a_record_that_is_no_json_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    written(path)
    header, data = parts(path)
    put_together(path, {**header, "__metadata__": {"lensblend": "{"}}, data)
    assert "its record is no JSON" in refusal(path)
    put_together(path, {**header, "__metadata__": {"lensblend": "[1]"}}, data)
    assert "is not a lensblend checkpoint" in refusal(path)


def test_it_is_a_member_of_ensembles_like_any_checkpoint(tmp_path):
    networks = [written(tmp_path / f"{name}.safetensors") for name in "ab"]
    both = load_ensemble([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    photo = torch.rand(1, 3, 40, 48)
    expected = (networks[0](photo).bokeh + networks[1](photo).bokeh) / 2
    torch.testing.assert_close(both.network(photo).bokeh, expected)


def test_its_content_is_that_of_a_checkpoint(tmp_path):
    written(tmp_path / "a.safetensors")
    content = read_checkpoint(tmp_path / "a.safetensors")
    assert content.keys() == {"lensblend", "state_dict"}


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "a\nb", "街"])
def test_any_name_will_do(tmp_path, name):
    path = tmp_path / f"{name}.safetensors"
    written(path)
    assert load_network(path).path == path
