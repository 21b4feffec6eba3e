"""What a run's folder holds beside its checkpoints: read within bounds, written within the folder."""

import json
import os

import pytest
from PIL import Image

from lensblend.errors import DataError, RequestError, StorageError
from lensblend.inference.pictures import save_picture
from lensblend.runs.configuration import read_config
from lensblend.runs.files import below
from lensblend.runs.status import Lock, Status
from lensblend.runs.status_file import read_status
from lensblend.storage import write_atomically
from lensblend.training.loggers.metrics_csv import read_rows

WHOLE = {"state": "done", "phases": {"phase1": {"state": "done", "step": 3, "best": {"val/psnr": 1.5}}}, "tags": ["a"]}


def test_a_status_is_read_as_it_was_written(tmp_path):
    status = Status(tmp_path)
    status.update_phase("phase1", state="done", step=3, scores={"val/psnr": float("nan")}, parent={"path": ""})
    status.update(label="gaussian · name=${hydra:job.num}")  # as somebody typed it
    assert read_status(tmp_path / "status.json")["phases"]["phase1"]["step"] == 3
    assert Status(tmp_path).is_finished("phase1")


@pytest.mark.parametrize(
    "content",
    [
        [], 7, None, "done", {"state": 5}, {"phases": []}, {"phases": "x"}, {"phases": {"phase1": 3}}, {"tags": [1]},
        {"phases": {"phase1": {"step": "3"}}}, {"phases": {"phase1": {"step": -1}}}, {"tags": {"a": 1}}, {"step": "1"},
        {"phases": {"../evil": {}}}, {"phases": {"/abs": {}}}, {"phases": {"": {}}}, {"choices": {"a": 1}},
        {"phases": {"phase1": {"state": 1}}}, {"phases": {"phase1": {"left_out": []}}}, {"phase": {"a": 1}},
        {"phases": {"phase1": {"best": {"val/psnr": "x"}}}}, {"error": ["x"]}, {"job": "1"}, {"label": {}},
        {"phases": {"phase1": {"parent": "x"}}}, {"sweep": 1},
    ],
)  # fmt: skip
def test_a_status_of_other_types_is_damaged(tmp_path, content, capsys):
    (tmp_path / "status.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"status\.json"):
        read_status(tmp_path / "status.json")
    assert Status(tmp_path).content == {"state": "new", "phases": {}}
    assert "is written anew" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.write_bytes(b"\xff"), lambda path: path.write_text("[" * 10**5)]
)
def test_a_status_that_is_none_stops_nobody(tmp_path, make, capsys):
    make(tmp_path / "status.json")
    assert Status(tmp_path).content["state"] == "new"
    assert "status.json" in capsys.readouterr().out


def test_a_lock_is_the_folders_own_file(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("dear")
    lock = tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    for make in (lambda: lock.symlink_to(precious), lambda: os.mkfifo(lock), lock.mkdir):
        make()
        with pytest.raises(DataError, match=r"\.lock is .*remove it"), Lock(tmp_path / "run"):
            pass
        lock.rmdir() if lock.is_dir() and not lock.is_symlink() else lock.unlink()
    assert precious.read_text() == "dear"
    with Lock(tmp_path / "run"):
        assert "process" in lock.read_text()


def test_nothing_is_written_through_a_link_that_leads_away(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "victim").mkdir()
    (tmp_path / "run" / "phase1").symlink_to(tmp_path / "victim")
    (tmp_path / "run" / "phase2").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("run")
    with pytest.raises(DataError, match="is a link that leads out of"):
        below(tmp_path / "run", "phase1")
    with pytest.raises(DataError, match="leads out of"):
        below(tmp_path / "run", "..")
    # A run's folder may be a link itself, and links within it may stay within it.
    assert below(tmp_path / "link", "phase2") == tmp_path / "link" / "phase2"


@pytest.mark.parametrize(
    "text",
    [
        "phase,epoch\n1,2\n",
        "phase,epoch,step\na,1,x\n",
        "phase,epoch,step\na,1\n",
        "phase,epoch,step\na,1,2,3\n",
        "a\0b,c\n1,2\n",
    ],
)
def test_a_damaged_metrics_file_is_said(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DataError, match=r"metrics\.csv.*move it away"):
        read_rows(tmp_path / "metrics.csv")
    (tmp_path / "metrics.csv").unlink()
    os.mkfifo(tmp_path / "metrics.csv")
    with pytest.raises(DataError, match="pipe or device"):
        read_rows(tmp_path / "metrics.csv")


@pytest.mark.parametrize("key", ["data", "model", "schedule", "trainer", "callbacks", "logger", "metrics", "loader"])
def test_a_group_of_a_configuration_that_is_something_else_is_named(tmp_path, key):
    for wrong in (5, "x", ["a"], True):
        write_atomically(tmp_path / "config.yaml", json.dumps({key: wrong}))
        with pytest.raises(DataError, match=rf"config\.yaml is damaged: its `{key}`"):
            read_config(tmp_path)
    for schedule in ({"phases": []}, {"phases": {"a": 1}}, {"run": "a"}, {"run": [1]}):
        write_atomically(tmp_path / "config.yaml", json.dumps({"schedule": schedule}))
        with pytest.raises(DataError, match=r"config\.yaml is damaged: its `schedule\."):
            read_config(tmp_path)


def test_a_configuration_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises((RequestError, StorageError), match=r"config\.yaml"):
        read_config(tmp_path)


def test_a_picture_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path):
    (tmp_path / "precious").write_text("dear")
    for write, name in (
        (lambda path: save_picture(Image.new("RGB", (4, 4)), path), "x.png"),
        (lambda path: write_atomically(path, "x"), "x.csv"),
    ):
        (tmp_path / name).symlink_to("precious")
        write(tmp_path / name)
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "precious").read_text() == "dear"
