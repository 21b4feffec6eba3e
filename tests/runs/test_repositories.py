"""What git says of a checkout, in bounded time, and without running what the checkout names."""

import os
import subprocess
import time

import pytest

from lensblend.runs import repositories
from lensblend.runs.repositories import repository


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "file").write_text("one\n")
    git(folder, "add", "file")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_clean_checkout_has_its_commit_and_names_what_git_does_not_know(checkout):
    (checkout / "below").mkdir()
    (checkout / "below" / "a b\n.txt").write_text("new")
    found = repository(checkout / "below")
    assert found.folder.samefile(checkout)
    assert found.commit == found.name == git(checkout, "rev-parse", "HEAD")
    assert (found.is_dirty, found.diff, found.is_cut) == (False, "", False)
    assert found.untracked == ("below/",)


def test_a_changed_checkout_is_marked_and_its_diff_makes_the_files_of_it(checkout, tmp_path):
    (checkout / "file").write_text("one\ntwo\n")
    found = repository(checkout)
    assert found.name == f"{git(checkout, 'rev-parse', 'HEAD')}-dirty"
    git(tmp_path, "clone", "-q", checkout, "copy")
    (tmp_path / "change.diff").write_text(found.diff)
    git(tmp_path / "copy", "apply", tmp_path / "change.diff")
    assert (tmp_path / "copy" / "file").read_text() == "one\ntwo\n"


def test_a_long_diff_is_cut_at_the_end_of_a_line(checkout, monkeypatch):
    monkeypatch.setattr(repositories, "DIFF_LIMIT", 1000)
    (checkout / "file").write_text("".join(f"line {number}\n" for number in range(500)))
    found = repository(checkout)
    assert found.is_cut
    assert 900 < len(found.diff) <= 1000
    assert found.diff.splitlines()[-1] in {f"+line {number}" for number in range(500)}


def test_outside_of_any_checkout_and_without_git_there_is_nothing(tmp_path, checkout, monkeypatch):
    assert repository(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository(checkout) is None


def test_before_its_first_commit_a_checkout_has_none(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("new")
    git(tmp_path, "add", "file")
    found = repository(tmp_path)
    assert (found.commit, found.name, found.is_dirty) == ("", "", True)


@pytest.mark.parametrize("hangs", ["rev-parse", "status"])
def test_a_git_that_hangs_is_not_waited_for(checkout, tmp_path, monkeypatch, hangs):
    real = next(p for p in map(lambda d: f"{d}/git", os.environ["PATH"].split(":")) if os.access(p, os.X_OK))
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncase "$*" in *{hangs}*) sleep 60;; esac\nexec {real} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    start = time.monotonic()
    found = repository(checkout, seconds=0.5)
    assert time.monotonic() - start < 2
    if hangs == "status":
        assert found.commit
        assert found.is_dirty is None
    else:
        assert found is None


def test_nothing_that_the_checkout_configures_is_run(checkout, tmp_path):
    """Programs in the configuration of a repository from somebody else run at `git status` otherwise."""
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    program.chmod(0o755)
    (checkout / ".gitattributes").write_text("file filter=a.b=c diff=d\n")
    git(checkout, "add", ".gitattributes")
    git(checkout, "commit", "-qm", "two")
    for key in ("filter.a.b=c.clean", "core.fsmonitor", "diff.d.textconv", "diff.d.command", "diff.external"):
        git(checkout, "config", key, str(program))
    git(checkout, "config", "filter.a.b=c.required", "true")
    (checkout / "file").write_text("two\n")
    ran.unlink(missing_ok=True)
    found = repository(checkout)
    assert found.is_dirty
    assert "+two" in found.diff
    assert not ran.exists()
    git(checkout, "status")
    assert ran.exists()


def test_a_hook_that_points_git_elsewhere_is_not_followed(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert repository(checkout).commit
