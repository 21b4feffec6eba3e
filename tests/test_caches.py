"""Caches of users who may not write, or not read, where a cache lies."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lensblend import caches
from lensblend.caches import Cache, cache_folder, expanded, spare_folder
from lensblend.data import embedded
from lensblend.data.embedded import Embedded
from lensblend.errors import DataError, RequestError, StorageError
from lensblend.priors.weights import weights_path

NOBODY = 12345  # no name, no home folder
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Begin as a process does that has said nothing yet; its temporary folder is open to everybody."""
    monkeypatch.setattr(caches, "_said", set())
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        spare_folder.cache_clear()
        yield Path(folder)
    spare_folder.cache_clear()


@contextmanager
def another_user():
    """Be a user without a name; what was imported before stays."""
    spare_folder.cache_clear()
    "".encode("cp437")  # zip files need it, and Python may lie where only root reads
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        spare_folder.cache_clear()


def homes(fresh):
    """What `HOME` may be, by what is said of it."""
    return {
        "unknown": None,
        "not there": str(fresh / "nowhere" / "at all"),
        "not writable": "/proc",
        "a file": str(fresh / "file"),
    }


@root_only
@pytest.mark.parametrize("home", ["unknown", "not there", "not writable", "a file"])
def test_a_user_without_a_home_keeps_things_among_the_temporary_files(fresh, monkeypatch, home):
    (fresh / "file").touch()
    monkeypatch.delenv("LENSBLEND_CACHE")
    monkeypatch.delenv("HOME")
    if home != "unknown":
        monkeypatch.setenv("HOME", homes(fresh)[home])
    fresh.chmod(0o1777 if home != "not there" else 0o755)
    if home == "not there":
        (fresh / f"lensblend-{NOBODY}").mkdir()
        os.chown(fresh / f"lensblend-{NOBODY}", NOBODY, NOBODY)
    with another_user():
        for kind in ("weights", "embedded", "guidance", "compare"):
            folder = cache_folder(kind)
            assert folder == fresh / f"lensblend-{NOBODY}" / kind
            folder.mkdir()
        assert folder.parent.stat().st_uid == NOBODY


@root_only
def test_a_folder_that_somebody_else_has_put_there_is_not_used(fresh):
    (fresh / f"lensblend-{NOBODY}").mkdir()
    with another_user():
        folder = spare_folder()
        assert folder != fresh / f"lensblend-{NOBODY}"
        assert folder.stat().st_uid == NOBODY
        assert folder == spare_folder()


def test_nothing_temporary_at_all_is_said(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(StorageError, match="set TMPDIR, or LENSBLEND_CACHE"):
        spare_folder()


@root_only
def test_a_tilde_of_nobody_is_answered_with_the_remedy(monkeypatch):
    monkeypatch.delenv("HOME")
    with (
        another_user(),
        pytest.raises(RequestError, match=r"`~/x`: which folder `~` is .*write the whole path, or set HOME"),
    ):
        expanded("~/x")


@root_only
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_second_user_renders_a_pair_of_a_shared_cache_once(fresh, tmp_path, monkeypatch, capsys, umask):
    shared = fresh / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    before = os.umask(umask)
    try:
        first = Embedded(image_size=[32, 48], train=3, cache=str(shared)).split("train").load(1)
    finally:
        os.umask(before)
    (entry,) = shared.rglob("*.npz")
    assert entry.stat().st_mode & 0o777 == 0o666 & ~umask
    rendered = []
    render = embedded.render_scene
    monkeypatch.setattr(embedded, "render_scene", lambda *given: rendered.append(given[0]) or render(*given))
    with another_user():
        pairs = [Embedded(image_size=[32, 48], train=3, cache=str(shared)).split("train") for _ in range(2)]
        loaded = [each.load(index) for each in pairs for index in (1, 2, 1, 2)]
    np.testing.assert_array_equal(loaded[0].photo, first.photo)
    # What can be read is; what cannot, or is not there yet, is made once and kept.
    assert rendered == (["layers-0001"] if umask == 0o022 else ["layers-0000", "layers-0001"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "may not be written to by this user: what is missing there is kept in" in said


@root_only
def test_an_unreadable_entry_in_a_folder_that_all_may_write_to_is_made_again_once(fresh, monkeypatch, capsys):
    def build():
        return Embedded(image_size=[32, 48], train=3, cache=str(fresh / "shared")).split("train")

    build().load(1)
    for path in [fresh / "shared", *(fresh / "shared").rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o600)
    rendered = []
    render = embedded.render_scene
    monkeypatch.setattr(embedded, "render_scene", lambda *given: rendered.append(given[0]) or render(*given))
    with another_user():
        for _ in range(3):
            build().load(1)
    assert len(rendered) == 1
    assert "layers-0000.npz may not be read by this user: what is missing" in capsys.readouterr().err


@root_only
def test_where_nothing_can_be_kept_that_is_said(fresh, monkeypatch, capsys):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with another_user():
        cache = Cache(Path("/proc/cache"), "part")
    assert "what is missing there is made again each time" in capsys.readouterr().err
    assert cache.read(lambda folder: folder) == Path("/proc/cache/part")


@root_only
def test_weights_that_may_not_be_read_are_named(fresh, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(fresh))
    (fresh / "weights").mkdir()
    file = fresh / "weights" / "alexnet-owt-7be5be79.pth"
    file.touch(mode=0o600)
    with another_user(), pytest.raises(DataError, match=r"cannot be read .*change its permissions, or let LENSBLEND"):
        weights_path("alexnet")
