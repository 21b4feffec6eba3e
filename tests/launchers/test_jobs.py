"""Which folder a job gets, how it ended, and what it is called."""

import json
import signal
from pathlib import Path

import pytest

from lensblend.errors import RequestError
from lensblend.launchers.jobs import Folders, Job, done_before, ended, labels, score
from lensblend.runs.configuration import overrides_hash


def write_status(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(content), encoding="utf-8")


def test_jobs_are_called_by_what_differs():
    jobs = [Job(i, ("seed=1", "experiment=demo", f"kernels={k}"), Path()) for i, k in enumerate("ab")]
    assert labels(jobs) == ["kernels=a", "kernels=b"]
    assert labels(jobs[:1]) == ["seed=1 experiment=demo kernels=a"]


def test_a_first_start_takes_the_folder_that_the_configuration_names(tmp_path):
    assert Folders(tmp_path, resume=False).choose(tmp_path / "0", ["a=1"]) == tmp_path / "0"


def test_two_jobs_never_share_a_folder(tmp_path):
    folders = Folders(tmp_path, resume=False)
    folders.choose(tmp_path / "same", ["a=1"])
    with pytest.raises(RequestError, match=r"same belongs to another job of this sweep.*hydra\.sweep\.subdir"):
        folders.choose(tmp_path / "same", ["a=2"])


def test_an_earlier_start_is_not_overwritten(tmp_path):
    write_status(tmp_path / "0", state="done", overrides_hash=overrides_hash(["a=1"]))
    with pytest.raises(RequestError, match=r"0 belongs to an earlier start.*hydra\.launcher\.resume=true"):
        Folders(tmp_path, resume=False).choose(tmp_path / "0", ["a=1"])


def test_a_sweep_that_goes_on_finds_each_job_by_its_overrides_not_by_its_number(tmp_path):
    for number, override in enumerate(["a=1", "a=2"]):
        write_status(tmp_path / str(number), state="interrupted", overrides_hash=overrides_hash([override]))
    folders = Folders(tmp_path, resume=True)
    chosen = [folders.choose(tmp_path / str(n), [o]).name for n, o in enumerate(["a=0", "a=1", "a=2", "a=3"])]
    assert chosen == ["2", "0", "1", "3"]


def test_equal_jobs_of_a_sweep_that_goes_on_keep_folders_of_their_own(tmp_path):
    for number in (0, 1):
        write_status(tmp_path / str(number), state="done", overrides_hash=overrides_hash(["a=1"]))
    folders = Folders(tmp_path, resume=True)
    assert {folders.choose(tmp_path / str(n), ["a=1"]).name for n in (0, 1)} == {"0", "1"}


@pytest.mark.parametrize(
    ("code", "status", "state", "error"),
    [
        (0, {"state": "done"}, "done", ""),
        (0, {"state": "pruned"}, "pruned", ""),
        (143, {"state": "interrupted"}, "interrupted", ""),
        (-signal.SIGTERM, {}, "interrupted", ""),
        (1, {"state": "failed", "error": "no memory"}, "failed", "no memory"),
        (2, {}, "failed", "ended with exit code 2"),
        # A process of several that fails: Lightning kills the first one, which leaves its status as it was.
        (-signal.SIGKILL, {"state": "running"}, "failed", "killed by SIGKILL, perhaps for want of memory"),
        # What an earlier start wrote says nothing of this one.
        (1, {"state": "interrupted", "error": "stopped by SIGTERM"}, "failed", "ended with exit code 1"),
    ],
)
def test_how_a_job_ended_comes_from_its_exit_code_and_its_status(tmp_path, code, status, state, error):
    write_status(tmp_path, **status)
    outcome = ended(Job(0, (), tmp_path), code, 1.5)
    assert (outcome.state, outcome.error, outcome.exit_code) == (state, error, code)


def test_a_status_that_cannot_be_read_is_no_status(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "do', encoding="utf-8")
    assert done_before(Job(0, (), tmp_path)) is None
    assert ended(Job(0, (), tmp_path), 1, 0.0).error == "ended with exit code 1"


@pytest.mark.parametrize("state", ["done", "pruned"])
def test_only_what_is_done_or_pruned_counts_as_done_before(tmp_path, state):
    write_status(tmp_path, state="running")
    assert done_before(Job(0, (), tmp_path)) is None
    write_status(tmp_path, state=state, phases={"phase1": {"best": {"val/psnr": 21.0}}})
    outcome = done_before(Job(0, (), tmp_path))
    assert (outcome.state, outcome.exit_code, outcome.score) == (f"{state} before", 0, ("val/psnr", 21.0))


def test_the_score_is_the_last_phase_s():
    phases = {"phase1": {"best": {"val/psnr": 21.0}}, "phase2": {"best": {"val/ssim": 0.9}}, "phase3": {}}
    assert score({"phases": phases}) == ("val/ssim", 0.9)
    assert score({}) is None
