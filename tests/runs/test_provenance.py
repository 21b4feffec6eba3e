"""Each start of a training leaves what it was made of, by whom it was asked for, and how it ended."""

import json
import os
import platform
import subprocess
from importlib.metadata import version

import pytest

import lensblend
from lensblend.errors import DataError, Interrupted
from lensblend.runs import provenance as module
from lensblend.runs.machine import driver
from lensblend.runs.provenance import provenance, read_provenance
from lensblend.runs.repositories import Repository

COMMAND = ["lensblend", "train", "experiment=demo", "+data.token=abc", "name=a b"]


def starts(run_dir):
    return read_provenance(run_dir / "provenance.json")["starts"]


@pytest.fixture
def run_dir(tmp_path):
    """A run's folder, as the lock makes it."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of the user's own, changed since its commit, and the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    (folder / "own.py").write_text("rate = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    (folder / "own.py").write_text('rate = 2\napi_key = "k3y-of-mine"\nnote = "hunter2222"\n')
    (folder / "notes.txt").write_text("mine")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MY_TOKEN", "hunter2222")
    monkeypatch.setattr(module, "package_folder", lambda: None)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    return folder, head


def test_a_start_says_its_code_command_machine_and_end(project, run_dir, monkeypatch):
    folder, head = project
    monkeypatch.setenv("SLURM_JOB_ID", "4242")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURM_JWT", "secret of the cluster")
    with provenance(run_dir, COMMAND) as commits:
        (begun,) = starts(run_dir)
        assert begun["ended"] is None
    assert commits["project"] == f"{head}-dirty"
    (start,) = starts(run_dir)
    assert start["command"] == "lensblend train experiment=demo '+data.token=(redacted)' 'name=a b'"
    assert start["folder"] == str(folder)
    code = start["code"]
    assert code["lensblend"]["version"] == lensblend.__version__
    assert code["project"] | {"diff": ""} == {
        "folder": str(folder), "commit": head, "dirty": True, "untracked": ["notes.txt"], "diff": ""
    }  # fmt: skip
    diff = (run_dir / code["project"]["diff"]).read_text()
    assert "+rate = 2" in diff
    assert "+api_key = (redacted)" in diff
    assert start["slurm"] == {"SLURM_JOB_ID": "4242", "SLURM_JOB_NODELIST": "node[1-2]"}
    assert start["exit_code"] == 0
    assert start["started"] <= start["ended"]
    assert 0 <= start["seconds"] < 60
    about = read_provenance(run_dir / "provenance.json")["environments"][start["environment"]]
    assert about["machine"]["host"] == platform.node()
    assert about["machine"]["python"] == platform.python_version()
    assert about["machine"]["cores"] == os.cpu_count()
    assert about["packages"]["torch"] == version("torch")
    written = "".join(file.read_text() for file in run_dir.rglob("*") if file.is_file())
    for secret in ("hunter2222", "k3y-of-mine", "secret of the cluster", "token=abc"):
        assert secret not in written


def test_the_packages_own_checkout_is_told_once(project, run_dir, monkeypatch):
    folder, head = project
    monkeypatch.setattr(module, "package_folder", lambda: folder)
    with provenance(run_dir, COMMAND) as commits:
        assert commits == {"lensblend": f"{head}-dirty"}
    (start,) = starts(run_dir)
    assert list(start["code"]) == ["lensblend"]
    assert start["code"]["lensblend"]["commit"] == head


def test_later_starts_are_appended_and_one_without_an_end_was_killed(run_dir, monkeypatch, capsys):
    monkeypatch.setattr(module, "repository", lambda folder: None)
    monkeypatch.setattr(module, "packages", dict)
    ways = [(DataError("no"), 1), (Interrupted("SIGTERM"), 143), (SystemExit(143), 143), (ZeroDivisionError(), 1)]
    for error, code in ways:
        with pytest.raises(type(error)), provenance(run_dir, COMMAND):
            raise error
        assert starts(run_dir)[-1]["exit_code"] == code
    file = run_dir / "provenance.json"
    content = json.loads(file.read_text())
    content["starts"][-1].update(ended=None, exit_code=None, seconds=None)
    file.write_text(json.dumps(content))
    with provenance(run_dir, COMMAND):
        pass
    assert [start.get("was_killed", False) for start in starts(run_dir)] == [False, False, False, True, False]
    assert len(json.loads(file.read_text())["environments"]) == 1
    assert "did not come to an end: it was killed" in capsys.readouterr().out
    assert "did not come to an end" in (run_dir / "train.log").read_text()


@pytest.mark.parametrize("content", ["{", "[]", '{"starts": [1], "environments": {}}', '{"starts": []}'])
def test_a_damaged_file_is_kept_and_a_new_one_begun(tmp_path, monkeypatch, capsys, content):
    monkeypatch.setattr(module, "repository", lambda folder: None)
    monkeypatch.setattr(module, "packages", dict)
    (tmp_path / "provenance.json").write_text(content)
    with provenance(tmp_path, COMMAND):
        pass
    assert len(starts(tmp_path)) == 1
    assert (tmp_path / "provenance.json.damaged").read_text() == content
    assert "is damaged" in capsys.readouterr().out


def test_what_cannot_be_recorded_is_said_and_the_training_goes_on(tmp_path, monkeypatch, capsys):
    def fails(folder):
        raise RuntimeError("git has gone")

    monkeypatch.setattr(module, "repository", fails)
    trained = []
    with provenance(tmp_path, COMMAND) as commits:
        trained.append(commits)
    assert trained == [{}]
    assert "provenance.json is not complete: git has gone" in capsys.readouterr().out
    monkeypatch.setattr(module, "repository", lambda folder: Repository(folder, "c", True, "+a\n"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "provenance").symlink_to(tmp_path / "elsewhere")
    with provenance(tmp_path / "run", COMMAND):
        pass
    assert "leads out of" in capsys.readouterr().out
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_later_process_of_a_training_records_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with provenance(tmp_path, COMMAND) as commits:
        assert commits == {}
    assert not list(tmp_path.iterdir())


def test_the_drivers_version_is_what_its_module_says(tmp_path):
    line = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 11.4\n"
    )
    (tmp_path / "version").write_text(line)
    assert driver(tmp_path / "version") == "550.54.15"
    assert driver(tmp_path / "none") is None
