"""Models named by their addresses on a hub on this machine; the hub's own client fetches them."""

import json
import os

import pytest
import torch
import yaml
from huggingface_hub import close_session, constants
from safetensors.torch import save

from hub_stand_in import Repository
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.runs import hub as addresses
from lensblend.runs.checkpoints import find_checkpoint, load_network, start_from
from lensblend.runs.hub import origin, parse_address
from lensblend.runs.publishing import published

OTHERS = save({"weight": torch.zeros(2, 2)}, {"format": "pt"})


@pytest.mark.parametrize("way", ["the hub is away", "HF_HUB_OFFLINE", "another page answers"])
def test_what_was_fetched_once_serves_without_a_connection(hub, tiny_model, monkeypatch, capsys, way):
    repository = hub.put(tiny_safetensors=tiny_model.read_bytes())
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
    hub.put(a_safetensors=OTHERS)
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
    number = hub.put(tiny_safetensors=tiny_model.read_bytes()).branches["main"]
    small = ("data=embedded", "data.image_size=[32,48]", "data.train=1", "data.val=1")
    done = in_process("evaluate", "checkpoint=hf://me/bokeh@main", f"output={tmp_path}", *small, "metrics.lpips=null")
    assert done.code == 0, done.err
    assert "HTTP" not in done.out + done.err
    assert (
        json.loads((tmp_path / "metrics.json").read_text())["checkpoint"] == f"hf://me/bokeh@{number}/tiny.safetensors"
    )


def test_a_training_starts_from_it(hub, tiny_model):
    number = hub.put(tiny_safetensors=tiny_model.read_bytes()).branches["main"]
    network = load_network(tiny_model).network
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    file, _ = start_from(network, "hf://me/bokeh")
    assert origin(file) == f"hf://me/bokeh@{number}/tiny.safetensors"
    assert [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, expected[name])] == []


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


def test_a_file_that_is_too_large_is_not_fetched(hub, tiny_model, monkeypatch):
    hub.put(tiny_safetensors=tiny_model.read_bytes())
    monkeypatch.setattr(addresses, "LARGEST", 1000)
    with pytest.raises(DataError, match=r"tiny.safetensors has 1\d\d,\d\d\d bytes, above 1,000; name another file"):
        find_checkpoint("hf://me/bokeh")
    assert not any("/resolve/" in line for line in hub.asked)


def test_a_folder_that_is_called_so_is_no_run(hub, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "hf:" / "me" / "bokeh").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    hub.put(tiny_safetensors=tiny_model.read_bytes())
    assert not load_network("hf://me/bokeh").is_run
