"""``lensblend export`` as a user calls it, and the other verbs with what it wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image
from safetensors import safe_open

from lensblend.runs import models
from lensblend.runs.checkpoints import load_network

CHECKOUT = Path(__file__).resolve().parents[2]
# As the run of `trained` was started.
TRAINED = ("experiment=demo", "debug=smoke", "+backbone.width_divisor=8")
SMALL = ("data=embedded", "data.image_size=[32,48]", "data.train=1", "data.val=1", "metrics.lpips=null")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def exported(trained, lensblend, tmp_path_factory):
    """What the command writes of a run's folder, with all that may be said of it."""
    path = tmp_path_factory.mktemp("exported") / "network.safetensors"
    said = ("--licence", "Apache-2.0", "--attributions", "photos.tsv", "--f-number", "1.8")
    done = lensblend("export", trained, "--output", path, *said)
    assert done.code == 0, done.err
    count = sum(parameter.numel() for parameter in load_network(trained).network.parameters())
    assert f"{path}: DepthBlend, {count:,} parameters" in done.out
    return path


def test_the_file_tells_nothing_of_the_machine(trained, exported):
    content = exported.read_bytes()
    for place in (trained, trained.parent, CHECKOUT, Path.home(), Path.home().name + "/"):
        assert str(place).encode() not in content
    with safe_open(exported, "np") as file:
        record = json.loads(file.metadata()["lensblend"])
    assert record["card"] == {"licence": "Apache-2.0", "attributions": "photos.tsv", "f_number": 1.8}
    assert record["config_hash"] == load_network(trained).record["config_hash"]
    assert record["parent"]["path"] == "best.ckpt"


@pytest.mark.slow
def test_every_verb_takes_it_as_it_takes_the_run(in_process, trained, exported, photo, picture, tmp_path):
    for name, model in (("run", trained), ("file", exported)):
        done = in_process("render", photo, "--model", model, "--output", tmp_path / name)
        assert done.code == 0, done.err
        done = in_process("evaluate", f"checkpoint={model}", f"output={tmp_path / name}", *SMALL)
        assert done.code == 0, done.err
    np.testing.assert_array_equal(picture(tmp_path / "run" / "photo.png"), picture(tmp_path / "file" / "photo.png"))
    scores = [(tmp_path / name / "scores.csv").read_text() for name in ("run", "file")]
    assert scores[0] == scores[1]


def test_its_own_data_is_that_of_the_training(in_process, exported, tmp_path):
    done = in_process("evaluate", f"checkpoint={exported}", f"output={tmp_path}", "limit=1", "metrics.lpips=null")
    assert done.code == 0, done.err


def test_a_training_starts_from_it(in_process, exported, tmp_path):
    small = (*TRAINED, "schedule.run=[phase1]", "metrics.lpips=null", "logger=none")
    done = in_process("train", *small, f"init_from={exported}", f"run_dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    assert f"starts from {exported}" in done.out


def test_the_model_in_the_box_is_called_default(in_process, exported, photo, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    done = in_process("render", photo, "--model", "default", "--output", tmp_path / "a")
    assert done.code == 1
    assert "`default` is missing from this installation" in done.err
    (tmp_path / "default.safetensors").write_bytes(exported.read_bytes())
    done = in_process("render", photo, "--model", "default", "--output", tmp_path / "a")
    assert done.code == 0, done.err
    # Without a name, nothing of the user's can be meant.
    (tmp_path / "work" / "default").mkdir(parents=True)
    done = in_process("render", photo, "--output", tmp_path / "b", cwd=tmp_path / "work")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(picture(tmp_path / "a" / "photo.png"), picture(tmp_path / "b" / "photo.png"))
    done = in_process("render", photo, "--model", "default", "--output", tmp_path / "b", cwd=tmp_path / "work")
    assert done.code == 2
    assert "`checkpoint` default is a folder without best.ckpt" in done.err
    done = in_process("evaluate", "checkpoint=default", f"output={tmp_path / 'b'}", *SMALL)
    assert done.code == 0, done.err
    small = (*TRAINED, "schedule.run=[phase1]", "metrics.lpips=null", "logger=none")
    done = in_process("train", *small, "init_from=default", f"run_dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    assert f"starts from {tmp_path / 'default.safetensors'}" in done.out


def test_half_precision_changes_the_picture_by_little(in_process, trained, photo, picture, tmp_path):
    done = in_process("export", trained, "--output", tmp_path / "half.safetensors", "--half")
    assert done.code == 0, done.err
    arrays = safetensors.numpy.load_file(tmp_path / "half.safetensors")
    assert {array.dtype for array in arrays.values() if array.ndim > 1} == {np.dtype(np.float16)}
    network = load_network(tmp_path / "half.safetensors").network
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    for name, model in (("run", trained), ("half", tmp_path / "half.safetensors")):
        assert in_process("render", photo, "--model", model, "--output", tmp_path / name).code == 0
    pictures = [picture(tmp_path / name / "photo.png").astype(int) for name in ("run", "half")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_what_is_exported_can_be_exported_again(in_process, exported, tmp_path):
    done = in_process("export", exported, "--output", tmp_path / "again.safetensors", "--f-number", "2.8")
    assert done.code == 0, done.err
    card = load_network(tmp_path / "again.safetensors").card
    assert card == {"licence": "Apache-2.0", "attributions": "photos.tsv", "f_number": 2.8}


def test_a_file_is_replaced_only_where_that_is_asked_for(in_process, trained, tmp_path):
    path = tmp_path / "network.safetensors"
    path.write_text("mine")
    done = in_process("export", trained, "--output", path)
    assert done.code == 2
    assert f"{path} exists; name another file, or add --overwrite" in done.err
    assert path.read_text() == "mine"
    assert in_process("export", trained, "--output", path, "--overwrite").code == 0
    assert load_network(path).label


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--output", "a.bin"), "is to end in .safetensors"),
        (("--output", "folder.safetensors"), "is a folder; name a file in it"),
        (("--output", "/proc/none/a.safetensors"), "could not be written"),
        (("--output", "a.safetensors", "--f-number", "f/2"), "a number above 0, such as 1.8, but got 'f/2'"),
        (("--output", "a.safetensors", "--f-number", "0"), "a number above 0, such as 1.8, but got '0'"),
        (("--output", "a.safetensors", "--format", "pickle"), "invalid choice: 'pickle'"),
        (("--output", "a.safetensors"), "`checkpoint` none.ckpt does not exist"),
    ],
)
def test_a_wrong_request_is_answered_before_anything_is_written(in_process, tmp_path, arguments, said):
    (tmp_path / "folder.safetensors").mkdir()
    done = in_process("export", "none.ckpt", *arguments, cwd=tmp_path)
    assert done.code in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]
