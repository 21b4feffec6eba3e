"""Models on a hub: ``lensblend push``, and ``hf://OWNER/NAME`` where a model is named; the hub's own client asks."""

import json
import os
import re

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import close_session, constants
from PIL import Image
from safetensors.torch import save

from hub_stand_in import TOKEN, Repository, serving
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.runs.checkpoint_files import write_checkpoint
from lensblend.runs.checkpoints import find_checkpoint, load_network, start_from
from lensblend.runs.hub import origin, parse_address
from lensblend.runs.publishing import published
from lensblend.runs.safetensors_files import read_network, write_network

# The client's own, where it sends a file by plain HTTP.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
OTHERS = save({"weight": torch.zeros(2, 2)}, {"format": "pt"})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, an empty cache of its client, and no token."""
    with serving() as hub:
        place = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # files go by plain HTTP
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub
        close_session()


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


def put(hub, **files):
    hub.repositories["me/bokeh"] = Repository({name.replace("_", "."): content for name, content in files.items()})
    return hub.repositories["me/bokeh"]


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
    put(hub, notes_txt=b"kept", other_safetensors=OTHERS)
    done = in_process("push", licensed, "hf://me/bokeh", "--revision", "next")
    assert done.code == 0, done.err
    repository = hub.repositories["me/bokeh"]
    assert set(repository.commits[repository.branches["main"]]) == {"notes.txt", "other.safetensors"}
    there = repository.commits[repository.branches["next"]]
    assert set(there) == {"notes.txt", "other.safetensors", "licensed.safetensors", "README.md"}
    assert there["licensed.safetensors"] == licensed.read_bytes()
    assert "Render with it: --model hf://me/bokeh@next/licensed.safetensors" in done.out
    assert find_checkpoint("hf://me/bokeh@next/licensed.safetensors").read_bytes() == licensed.read_bytes()


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


@pytest.mark.parametrize("way", ["the hub is away", "HF_HUB_OFFLINE", "another page answers"])
def test_what_was_fetched_once_serves_without_a_connection(hub, tiny_model, monkeypatch, capsys, way):
    repository = put(hub, tiny_safetensors=tiny_model.read_bytes())
    first = find_checkpoint("hf://me/bokeh")
    assert "taken" not in capsys.readouterr().out
    close_session()  # and with it, what is left open
    if way == "the hub is away":
        hub.stop()
    elif way == "HF_HUB_OFFLINE":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        hub.page = b"<html>Welcome to our hotel</html>"
    assert find_checkpoint("hf://me/bokeh") == first
    number = repository.branches["main"]
    said = capsys.readouterr().out
    assert f"the copy that was fetched before is taken: hf://me/bokeh@{number}/tiny.safetensors" in said
    assert find_checkpoint(f"hf://me/bokeh@{number}/tiny.safetensors") == first
    for missing in ("hf://me/other", "hf://me/bokeh@next", "hf://me/bokeh/other.safetensors"):
        with pytest.raises(WeightsMissingError, match="holds no copy; connect once, or give a file"):
            find_checkpoint(missing)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf://me/nothing", "hf://me/nothing does not exist, or is private"),
        ("hf://me/bokeh@v9", "hf://me/bokeh has no revision `v9`; name another"),
        ("hf://me/gated", "is gated: accept its terms at http.*/me/gated, then run `hf auth login`"),
        ("hf://me/bokeh", "holds several .safetensors files; name one.*'a.safetensors', 'b.safetensors'"),
        ("hf://me/bokeh/c.safetensors", "is not there; of .safetensors files there are: 'a.safetensors'"),
        ("hf://me/pickles", "holds no .safetensors file, and no others are read"),
        ("hf://me/leading-out", "calls its file '../../a.safetensors', which cannot be named here"),
    ],
)
def test_what_cannot_be_fetched_is_said_with_its_remedy(hub, address, says):
    hub.repositories |= {
        "me/bokeh": Repository({"a.safetensors": OTHERS, "b.safetensors": OTHERS}),
        "me/gated": Repository({"a.safetensors": OTHERS}, gated=True),
        "me/pickles": Repository({"pytorch_model.bin": b"\x80\x02.", "best.ckpt": b"\x80\x02."}),
        "me/leading-out": Repository({"../../a.safetensors": OTHERS}),
    }
    with pytest.raises(RequestError, match=says) as error:
        find_checkpoint(address)
    assert len(str(error.value).splitlines()) == 1
    assert not any(line.startswith("GET") and "/resolve/" in line for line in hub.asked)


def test_another_projects_file_is_no_network_also_to_start_from(hub, tiny_model):
    put(hub, a_safetensors=OTHERS)
    network = load_network(tiny_model).network
    for load in (load_network, lambda address: start_from(network, address)):
        with pytest.raises(DataError, match=r"hf://me/bokeh: a.safetensors holds no network of lensblend's"):
            load("hf://me/bokeh")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hf://bokeh",
            "hf://me/",
            "hf:///bokeh",
            "hf://me/bokeh/",
            "hf://me/../bokeh",
            "hf://me/bo..keh",
            "hf://me/b--h",
        ),
        *(
            "hf://me/bokeh@",
            "hf://me/bokeh@a/b",
            "hf://me/bokeh@../x",
            "hf://me/bokeh@-x",
            "hf://me/bo keh",
            "hf://mé/b",
        ),
        *("hf://me/bokeh/best.ckpt", "hf://me/bokeh/../a.safetensors", "hf://me/bokeh/%2e%2e/a.safetensors"),
        *("hf://me/bokeh?x=1", "hf://me/bokeh\n", f"hf://me/{'b' * 100}", "hf://models/me/bokeh", "HF://me/bokeh"),
    ],
)
def test_a_malformed_address_is_answered_with_the_form(text):
    with pytest.raises(RequestError, match=r"is written hf://OWNER/NAME\[@REVISION\]\[/FILE.safetensors\].* but got"):
        parse_address(text)


@pytest.mark.slow
def test_evaluate_says_from_which_commit_a_model_came(hub, in_process, tiny_model, tmp_path):
    number = put(hub, tiny_safetensors=tiny_model.read_bytes()).branches["main"]
    small = ("data=embedded", "data.image_size=[32,48]", "data.train=1", "data.val=1")
    done = in_process("evaluate", "checkpoint=hf://me/bokeh@main", f"output={tmp_path}", *small, "metrics.lpips=null")
    assert done.code == 0, done.err
    assert "HTTP" not in done.out + done.err
    assert (
        json.loads((tmp_path / "metrics.json").read_text())["checkpoint"] == f"hf://me/bokeh@{number}/tiny.safetensors"
    )


def test_a_training_starts_from_it(hub, tiny_model):
    number = put(hub, tiny_safetensors=tiny_model.read_bytes()).branches["main"]
    network = load_network(tiny_model).network
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    file, _ = start_from(network, "hf://me/bokeh")
    assert origin(file) == f"hf://me/bokeh@{number}/tiny.safetensors"
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_what_is_handed_on_keeps_an_address_and_no_path(tiny_model, tmp_path):
    trained = load_network(tiny_model)
    address = "hf://me/bokeh@main/tiny.safetensors"
    record = {**trained.record, "parent": {"path": address, "sha256": "0"}}
    handed = published(record, {"init_from": address, "saliency": {"path": str(tmp_path)}}, {})
    assert handed["parent"]["path"] == address
    assert yaml.safe_load(handed["config"]) == {"init_from": address, "saliency": {"path": tmp_path.name}}


def test_only_files_in_the_clients_own_cache_come_from_the_hub(hub, tmp_path, tiny_model):
    """A folder that somebody else made up is not believed."""
    folder = tmp_path / "models--me--bokeh" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    os.link(tiny_model, folder / "tiny.safetensors")
    assert origin(folder / "tiny.safetensors") is None
