"""A process that waits becomes a job like any other; where it cannot, nothing is lost."""

import io
import os
import sys

import pytest

from lensblend.cli import standby as child
from lensblend.launchers import standby
from lensblend.launchers.standby import Standby

TRAIN = [sys.executable, "-P", "-m", "lensblend.cli.train"]


@pytest.fixture
def waiting():
    made = Standby()
    yield made
    made.close()


def test_a_job_of_a_waiting_process_has_its_own_arguments_environment_and_log(waiting, tmp_path):
    os.environ["LEFT_OVER"] = "yes"
    try:
        waiting.prepare(TRAIN, os.environ)
    finally:
        del os.environ["LEFT_OVER"]
    process = waiting._waiting
    asked = ["--cfg", "job", "name=${oc.env:GIVEN}", "run_dir=${oc.env:LEFT_OVER,gone}", "--resolve"]
    log = tmp_path / "job.log"
    log.write_text("before\n")
    assert waiting.take([*TRAIN, *asked], {**os.environ, "GIVEN": "a name\udcff"}, log) is process
    assert process.wait(timeout=120) == 0, log.read_text(errors="replace")
    said = log.read_text(encoding="utf-8", errors="surrogateescape")
    assert said.startswith("before\n")
    assert "run_dir: gone" in said
    assert 'name: "a name' in said
    assert "Warning" not in said


def test_a_sweep_that_is_gone_even_killed_leaves_none_behind(monkeypatch):
    monkeypatch.setattr(child, "WARM", ())
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))  # what reading gives once the other end is closed
    monkeypatch.setattr(child.runpy, "run_module", None)
    child.main()


def test_a_process_that_has_ended_is_nobodys(waiting, monkeypatch, tmp_path):
    monkeypatch.setattr(standby, "MODULE", "this_module_is_not_there")
    waiting.prepare(TRAIN, os.environ)
    waiting._waiting.wait(timeout=60)
    assert waiting.take(TRAIN, os.environ, None) is None
    assert waiting.take(TRAIN, os.environ, None) is None


@pytest.mark.parametrize("command", [[sys.executable, "-c", "pass"], [sys.executable, "-m", "lensblend.cli.evaluate"]])
def test_other_commands_are_not_prepared(waiting, command):
    waiting.prepare(command, os.environ)
    assert waiting._waiting is None
    assert waiting.take(command, os.environ, None) is None


def test_one_waits_at_most_and_is_ended(waiting, monkeypatch):
    monkeypatch.setattr(standby, "MODULE", "code")  # reads standard input until its end, too
    waiting.prepare(TRAIN, os.environ)
    first = waiting._waiting
    waiting.prepare(TRAIN, os.environ)
    assert waiting._waiting is first
    waiting.close()
    assert first.returncode is not None
    waiting.close()
