"""What may be removed of runs, and what never is."""

import json
import os
import subprocess
import sys

import pytest

from lensblend.errors import RequestError
from lensblend.runs.folders import run_folders, size_of
from lensblend.runs.removal import check_run, remove_run, remove_spare, spare
from lensblend.runs.status import Lock, held_by, last_host

HOLD = """
import sys
from pathlib import Path
from lensblend.runs.status import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def made(folder, state="done", **phases):
    """A run's folder as a training leaves it, with phases in given states."""
    folder.mkdir(parents=True)
    about = {name: {"state": stands, "step": 2} for name, stands in phases.items()}
    (folder / "status.json").write_text(json.dumps({"state": state, "phases": about}))
    for name in phases:
        (folder / name).mkdir()
        for file in ("best.ckpt", "last.ckpt", "last.ckpt.sha256", "previous.ckpt"):
            (folder / name / file).write_bytes(b"x" * 1000)
    return folder


def spare_names(run):
    return {(part.kind, str(part.path.relative_to(run))) for part in spare(run)}


def test_of_finished_phases_only_the_best_is_needed(tmp_path):
    run = made(tmp_path / "run", state="failed", one="done", two="stopped", three="running", four="pruned")
    (run / "two" / "best.ckpt").unlink()  # then nothing else stands for the phase
    (run / "three" / "last.ckpt.damaged").write_bytes(b"x")
    (run / "one" / ".best.ckpt.0123abcd.tmp").write_bytes(b"x")
    (run / "compare" / "one").mkdir(parents=True)
    (run / "compare" / "one" / "scores.csv").write_bytes(b"x" * 500)
    assert spare_names(run) == {
        *(("last", f"one/{name}") for name in ("last.ckpt", "last.ckpt.sha256", "previous.ckpt")),
        ("damaged", "three/last.ckpt.damaged"),
        ("temporary", "one/.best.ckpt.0123abcd.tmp"),
        ("compare", "compare"),
    }
    assert sum(part.size for part in spare(run)) == 3000 + 1 + 1 + 500
    kept = {path for path in run.rglob("*") if path.is_file()} - {part.path for part in spare(run)}
    remove_spare(run, spare(run))
    left = {path for path in run.rglob("*") if path.is_file()}
    assert left == {path for path in kept if "compare" not in path.parts} | {run / ".lock"}


def test_links_are_not_followed(tmp_path):
    elsewhere = made(tmp_path / "elsewhere", one="done")
    (elsewhere / "compare").mkdir()
    run = made(tmp_path / "run", one="done")
    (run / "one" / "last.ckpt").unlink()
    (run / "one" / "last.ckpt").symlink_to(elsewhere / "one" / "last.ckpt")
    (run / "two").symlink_to(elsewhere / "one")
    (run / "compare").symlink_to(elsewhere / "compare")
    before = {path for path in elsewhere.rglob("*")}
    assert {name for _, name in spare_names(run)} == {"one/last.ckpt.sha256", "one/previous.ckpt"}
    assert size_of(run) == 3000 + (run / "status.json").stat().st_size
    assert [path.name for path in run_folders(tmp_path)] == ["elsewhere", "run"]
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(RequestError, match="is a link to"):
        check_run(tmp_path / "link")
    remove_run(run)
    assert not run.exists()
    assert {path for path in elsewhere.rglob("*")} == before


def test_what_is_no_run_or_holds_others_is_refused(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    sweep = made(tmp_path / "sweep", one="done")
    made(sweep / "below" / "1", one="done")
    run = made(tmp_path / "run", one="done")
    monkeypatch.chdir(run / "one")
    for folder, said in (
        (tmp_path / "photos", "is no run's folder"),
        (tmp_path / "none", "No such file"),
        (run / "status.json", "is no run's folder"),
        (sweep, "holds other runs"),
        (run, "is the current folder, or holds it"),
    ):
        with pytest.raises(RequestError, match=said):
            check_run(folder)


def test_what_is_being_trained_is_left_alone(tmp_path):
    run = made(tmp_path / "run", state="running", one="done")
    assert held_by(run) is None
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        assert held_by(run) == f"process {holder.pid} on {last_host(run)}"
        for refused in (check_run, remove_run):
            with pytest.raises(RequestError, match=f"is being trained in by process {holder.pid}"):
                refused(run)
        assert spare(run) == []
        holder.stdin.close()
        holder.wait()
    check_run(run)
    with Lock(run):
        assert held_by(run) == "this process"
    (run / ".lock").write_text("process 1 on another-machine\n")
    with pytest.raises(RequestError, match="a process on another-machine, as its status"):
        check_run(run)
    assert spare(run) == []
