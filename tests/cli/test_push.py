"""``lensblend push`` against a hub on this machine, and what it pushed named by its address; the real client asks."""

import re

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save

from hub_stand_in import TOKEN, Repository
from lensblend.errors import RequestError
from lensblend.runs.checkpoint_files import write_checkpoint
from lensblend.runs.checkpoints import find_checkpoint, load_network
from lensblend.runs.safetensors_files import read_network, write_network

# The client's own, where it sends a file by plain HTTP.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
OTHERS = save({"weight": torch.zeros(2, 2)}, {"format": "pt"})


@pytest.fixture
def run_dir(tiny_model, tmp_path):
    """A run's folder as far as it is pushed."""
    content = read_network(tiny_model)
    folder = tmp_path / "run"
    (folder / "phase1").mkdir(parents=True)
    write_checkpoint(content, folder / "phase1" / "best.ckpt")
    return folder


@pytest.fixture
def licensed(tiny_model, tmp_path):
    """A file that names its licence."""
    content = read_network(tiny_model)
    path = tmp_path / "licensed.safetensors"
    write_network(content["state_dict"], {**content["lensblend"], "card": {"licence": "MIT"}}, path)
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)).save(path)
    return path


def test_what_is_pushed_renders_elsewhere_as_it_does_here(
    hub, in_process, run_dir, photo, picture, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = in_process("push", run_dir, "hf://me/bokeh", "--licence", "CC BY-SA 4.0", "--message", "The first one")
    assert done.code == 0, done.err
    repository = hub.repositories["me/bokeh"]
    number = repository.branches["main"]
    assert f"{hub.address}/me/bokeh: model.safetensors and README.md, commit {number}" in done.out
    assert "--model hf://me/bokeh\n" in done.out
    assert repository.message == "The first one"
    assert not repository.private

    _, header, page = repository.commits[number]["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "cc-by-sa-4.0",
        "library_name": "lensblend",
        "pipeline_tag": "image-to-image",
        "tags": ["bokeh", "depth-of-field", "DepthBlend"],
    }
    assert "--model hf://me/bokeh/model.safetensors" in page
    assert "- weights: `CC BY-SA 4.0`" in page
    exported = tmp_path / "exported.safetensors"
    in_process("export", run_dir, "--output", exported, "--licence", "CC BY-SA 4.0")
    assert repository.commits[number]["model.safetensors"] == exported.read_bytes()

    monkeypatch.delenv("HF_TOKEN")
    for name, model in (("here", exported), ("elsewhere", "hf://me/bokeh")):
        done = in_process("render", photo, "--model", model, "--output", tmp_path / f"{name}.png")
        assert done.code == 0, done.err
    np.testing.assert_array_equal(picture(tmp_path / "here.png"), picture(tmp_path / "elsewhere.png"))
    with Image.open(tmp_path / "elsewhere.png") as image:
        made = " ".join(map(str, image.info.values()))
    assert f"hf://me/bokeh@{number}/model.safetensors" in made
    assert all(TOKEN.encode() not in body for body in hub.sent)


def test_a_file_is_pushed_as_it_is_into_a_branch_of_what_is_there(hub, in_process, licensed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.put(notes_txt=b"kept", other_safetensors=OTHERS)
    done = in_process("push", licensed, "hf://me/bokeh", "--revision", "next")
    assert done.code == 0, done.err
    repository = hub.repositories["me/bokeh"]
    assert set(repository.commits[repository.branches["main"]]) == {"notes.txt", "other.safetensors"}
    there = repository.commits[repository.branches["next"]]
    assert set(there) == {"notes.txt", "other.safetensors", "licensed.safetensors", "README.md"}
    assert there["licensed.safetensors"] == licensed.read_bytes()
    assert "Render with it: --model hf://me/bokeh@next/licensed.safetensors" in done.out
    assert find_checkpoint("hf://me/bokeh@next/licensed.safetensors").read_bytes() == licensed.read_bytes()


def test_a_page_of_the_users_own_stays(hub, in_process, licensed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for page in (b"# Mine\n", b"\xff\xfe"):
        hub.put(**{"README.md": page})
        done = in_process("push", licensed, "hf://me/bokeh")
        assert done.code == 0, done.err
        repository = hub.repositories["me/bokeh"]
        there = repository.commits[repository.branches["main"]]
        assert there["README.md"] == page
        assert there["licensed.safetensors"] == licensed.read_bytes()
        assert "licensed.safetensors, commit" in done.out
        assert "not written by `lensblend push`, and stays; delete it" in done.out


def test_a_page_that_was_pushed_is_written_anew(hub, in_process, run_dir, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for licence in ("MIT", "CC BY 4.0"):
        done = in_process("push", run_dir, "hf://me/bokeh", "--licence", licence)
        assert "model.safetensors and README.md" in done.out, done.err
    repository = hub.repositories["me/bokeh"]
    page = repository.commits[repository.branches["main"]]["README.md"].decode()
    assert "license: cc-by-4.0" in page


def test_a_private_repository_opens_to_its_token(hub, in_process, licensed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert in_process("push", licensed, "hf://me/secret", "--private").code == 0
    assert hub.repositories["me/secret"].private
    assert load_network("hf://me/secret").card == {"licence": "MIT"}
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RequestError, match=r"does not exist, or is private .*`hf auth login`, or set HF_TOKEN"):
        find_checkpoint("hf://me/secret")


@pytest.mark.parametrize(
    ("words", "token", "says"),
    [
        (["hf://me/bokeh"], None, "`lensblend push` needs a token .*`hf auth login`, or set HF_TOKEN"),
        (["hf://me/bokeh"], "hf_wrong_0123456789", "does not accept the token, or not for this"),
        (["hf://them/bokeh"], TOKEN, "does not accept the token, or not for this"),
        (["bokeh"], TOKEN, "is written hf://OWNER/NAME"),
        (["hf://me/bokeh@main"], TOKEN, "write --revision main instead"),
        (["hf://me/bokeh", "--revision", "a b"], TOKEN, "is written hf://OWNER/NAME"),
        (["hf://me/bokeh", "--message", " "], TOKEN, "`--message` is a text"),
        (["hf://me/bokeh", "--half"], TOKEN, "`--half` would have no effect"),
        (["hf://me/open", "--private"], TOKEN, "hf://me/open exists and is open to all; leave --private out"),
    ],
)
def test_a_wrong_push_is_refused_before_anything_is_sent(hub, in_process, licensed, monkeypatch, words, token, says):
    hub.repositories["me/open"] = Repository()
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    done = in_process("push", licensed, *words)
    assert done.code == 2, done
    assert re.search(says, done.err)
    assert len(done.err.splitlines()) == 1
    assert (token or TOKEN) not in done.err + done.out
    assert not hub.objects
    assert set(hub.repositories) == {"me/open"}


def test_a_push_without_a_connection_says_so(hub, in_process, licensed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = in_process("push", licensed, "hf://me/bokeh")
    assert done.code == 1
    assert "gives no answer that can be used (HF_HUB_OFFLINE is set); try again when it can be reached." in done.err


def test_weights_without_a_licence_are_not_pushed(hub, in_process, run_dir, tiny_model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for model, remedy in ((run_dir, "add --licence TEXT"), (tiny_model, "lensblend export ... --licence TEXT")):
        done = in_process("push", model, "hf://me/bokeh")
        assert done.code == 2
        assert "names no licence" in done.err
        assert remedy in done.err
    assert not hub.repositories


@pytest.mark.parametrize("token", ["hf_odd_\x0b_0123456789", "hf_ödd_0123456789", "hf_with space_0123"])
def test_a_token_that_cannot_be_sent_is_not_shown(hub, in_process, licensed, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    done = in_process("push", licensed, "hf://me/bokeh")
    assert done.code in (1, 2)
    assert len(done.err.splitlines()) == 1
    assert "0123" not in done.err + done.out


@pytest.mark.slow
def test_processes_of_their_own_are_told_by_the_environment(hub, lensblend, licensed, photo, picture, tmp_path):
    """Only the variables of the hub's client say where it is, and where its cache."""
    here = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "one")}
    done = lensblend("push", licensed, "hf://me/bokeh", env={**here, "HF_TOKEN": TOKEN})
    assert done.code == 0, done.err
    assert TOKEN not in done.out + done.err
    assert "Warning" not in done.err
    there = {**here, "HF_HOME": str(tmp_path / "other")}
    for name, model, more in (
        ("file", licensed, {}),
        ("fetched", "hf://me/bokeh", {}),
        ("kept", "hf://me/bokeh", {"HF_HUB_OFFLINE": "1"}),
    ):
        done = lensblend("render", photo, "--model", model, "-o", tmp_path / f"{name}.png", env={**there, **more})
        assert done.code == 0, done.err
    assert "HF_HUB_OFFLINE is set); the copy that was fetched before is taken" in done.err
    for name in ("fetched", "kept"):
        np.testing.assert_array_equal(picture(tmp_path / "file.png"), picture(tmp_path / f"{name}.png"))
    assert all(TOKEN not in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())
