"""Uploads: each in a folder of its own, under a harmless name, and deleted."""

import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hostile_names import NAMES
from lensblend.cli import app_sessions
from lensblend.cli.app_sessions import Sessions, harmless
from lensblend.errors import DataError


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path, most=2)


def uploaded(sessions, name="photo.jpg", content=None):
    """A file as Gradio's server writes an upload."""
    path = Path(tempfile.mkdtemp(dir=sessions.root)) / name
    if content is None:
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(path, "JPEG")
    else:
        path.write_bytes(content)
    return path


def test_an_upload_is_moved_and_with_the_next_one_deleted(sessions):
    upload = uploaded(sessions, "IMG 1.JPG")
    session = sessions.begin("a", upload)
    assert session.photo.name == "IMG 1.JPG"
    assert session.photo.is_file()
    assert not upload.exists()
    assert sessions.of("a") is session
    again = sessions.begin("a", uploaded(sessions))
    assert not session.folder.exists()
    sessions.forget("a")
    assert not again.folder.exists()
    assert not [file for file in sessions.root.rglob("*") if file.is_file()]
    with pytest.raises(DataError, match="There is no photo"):
        sessions.of("a")


def test_what_is_no_upload_is_not_taken(sessions, tmp_path_factory):
    secret = tmp_path_factory.mktemp("else") / "secret.jpg"
    secret.write_bytes(b"secret")
    other = sessions.begin("b", uploaded(sessions))
    (sessions.root / "maps" / "x").mkdir(parents=True)
    (sessions.root / "maps" / "kept.npy").touch()
    for path in (secret, other.photo, sessions.root, sessions.root / "maps" / "kept.npy", sessions.root / "gone"):
        with pytest.raises(DataError, match="upload is gone"):
            sessions.begin("a", path)
    assert secret.exists()
    assert other.photo.exists()


def test_a_name_without_a_known_suffix_gets_that_of_the_content_and_no_picture_is_refused(sessions):
    assert sessions.begin("a", uploaded(sessions, "photo.exe")).photo.name == "photo.jpg"
    with pytest.raises(DataError, match="no picture that is read"):
        sessions.begin("a", uploaded(sessions, "photo", b"<script>"))
    assert not [file for file in sessions.root.rglob("*") if file.is_file()]


def test_only_so_many_are_kept_and_none_for_ever(sessions):
    first, second = sessions.begin("a", uploaded(sessions)), sessions.begin("b", uploaded(sessions))
    first.used -= 10
    sessions.begin("c", uploaded(sessions))
    assert [first.folder.exists(), second.folder.exists()] == [False, True]
    sessions.sweep(now=lambda: time.monotonic() + 2 * app_sessions.KEEP)
    assert not second.folder.exists()
    stray = uploaded(sessions)
    os.utime(stray.parent, (1, 1))
    fresh = uploaded(sessions)
    sessions.sweep()
    assert [stray.exists(), fresh.exists()] == [False, True]


def test_a_photo_is_not_deleted_while_something_is_made_of_it(sessions):
    session = sessions.begin("a", uploaded(sessions))
    with session.lock:
        sessions.sweep(now=lambda: time.monotonic() + 2 * app_sessions.KEEP)
        leaving = threading.Thread(target=sessions.forget, args=["a"])
        leaving.start()
        leaving.join(0.2)
        assert session.photo.exists()
    leaving.join()
    assert not session.folder.exists()


@pytest.mark.parametrize("name", [*NAMES.values(), "", "..", "/etc/passwd", "a\0b", "x" * 5000], ids=ascii)
def test_hostile_names_become_harmless_ones(name, tmp_path):
    made = harmless(name, ".png")
    assert made.endswith(".png")
    assert len(made.encode("utf-8")) <= 128
    assert not set(made) & set("/\\<>\"'`$&;|*?\0\n\t\x1b\u202e")
    assert made[0] not in ".-"
    (tmp_path / made).touch()
    assert [file.name for file in tmp_path.iterdir()] == [made]
