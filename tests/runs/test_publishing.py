"""What a network that is handed on says of the machine that trained it: nothing."""

import pytest
import yaml

from lensblend.runs.checkpoints import describe
from lensblend.runs.publishing import published, without_places


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/data/people/me/photos", "photos"),
        ("/data/my own/photos/", "photos"),
        ("~/photos", "photos"),
        ("file:///srv/me/photos", "photos"),
        ("C:\\Users\\me\\photos", "photos"),
        ("from /srv/me/run1, then more", "from run1, then more"),
        ("a/b and 1/2", "a/b and 1/2"),
        ("lensblend.networks.depth_blend.DepthBlend", "lensblend.networks.depth_blend.DepthBlend"),
        ("", ""),
    ],
)
def test_of_a_path_its_name_is_left(text, left):
    assert without_places(text) == left


def test_a_home_folder_of_two_words_does_not_stay_by_half(monkeypatch):
    monkeypatch.setenv("HOME", "/home/Jo Doe")
    assert without_places("as in /home/Jo Doe/run1, again") == "as in run1, again"


def test_a_published_record_says_what_was_trained_and_not_where(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hunter2222")
    network = {"_target_": "a.Network", "backbone": {"name": "/srv/me/trunk.pth"}, "note": "hunter2222"}
    config = {
        "run_dir": "/srv/me/runs/1",
        "resume_overrides": ["data.root=/srv/me/photos"],
        "init_from": "../me/start.ckpt",
        "data": {"root": "/srv/me/photos", "exclude": ["/srv/me/a.txt", "me/b.txt"], "seed": 3, "cache": "/tmp/me"},
        "logger": {"wandb": {"entity": "me"}},
        "trainer": {"accelerator": "cpu", "precision": "32-true"},
        "schedule": {"run": ["one"], "phases": {"one": {"lr": 0.1}}},
    }
    record = {
        **describe(network, "one", [32, 48], config, {"path": "/srv/me/start.ckpt", "sha256": "0" * 64}),
        "position": {"epoch": 1, "batch": 0, "batches": 2},
        "host": "workstation-of-me",
        "commits": {"lensblend": "0123abcd-dirty"},
    }
    given = published(record, config, {"licence": "Apache-2.0", "attributions": "/srv/me/list.tsv", "f_number": 2.0})
    assert "me/" not in str(given)
    assert "hunter" not in str(given)
    assert given["config_hash"] == record["config_hash"]
    assert given["commits"] == {"lensblend": "0123abcd-dirty"}
    assert given["parent"] == {"path": "start.ckpt", "sha256": "0" * 64}
    assert given["card"] == {"licence": "Apache-2.0", "attributions": "list.tsv", "f_number": 2.0}
    assert given.keys() == {
        *("format", "network", "phase", "image_size", "config", "config_hash", "parent", "versions", "card", "commits")
    }
    assert yaml.safe_load(given["config"]) == {
        "init_from": "start.ckpt",
        "data": {"exclude": ["a.txt", "b.txt"], "seed": 3},
        "trainer": {"precision": "32-true"},
        "schedule": {"run": ["one"], "phases": {"one": {"lr": 0.1}}},
    }
