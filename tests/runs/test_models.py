"""The models in the box: found by their names, where no file or folder of the user's is called so."""

import pytest

from lensblend.errors import DataError
from lensblend.runs import models
from lensblend.runs.checkpoints import find_checkpoint
from lensblend.runs.places import placed


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A box with a file in it, and another folder to work in."""
    folder, work = tmp_path / "box", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "default.safetensors").touch()
    monkeypatch.setattr(models, "FOLDER", folder)
    monkeypatch.chdir(work)
    return folder


def test_a_name_stands_for_the_file_in_the_box(box):
    assert find_checkpoint("default") == box / "default.safetensors"


def test_what_the_user_has_called_so_comes_first(box, tmp_path):
    (tmp_path / "work" / "default").touch()
    assert str(find_checkpoint("default")) == "default"


def test_a_box_without_its_model_is_said(box):
    (box / "default.safetensors").unlink()
    with pytest.raises(DataError, match=r"`default` is missing from this installation .*; install lensblend again"):
        find_checkpoint("default")


def test_a_run_that_started_from_it_is_taken_up_again_from_it(box, tmp_path):
    assert placed({"init_from": "default", "name": "default"}, tmp_path) == {"init_from": "default", "name": "default"}
    assert placed({"init_from": {"path": "default"}}, tmp_path) == {"init_from": {"path": "default"}}
    (tmp_path / "default").mkdir()
    assert placed({"init_from": "default"}, tmp_path) == {"init_from": str(tmp_path / "default")}
