"""What a training says stands in its log as well, readable and without secrets."""

import logging
import os
import re
import warnings

import pytest

from lensblend.errors import DataError
from lensblend.runs.log import NAME, kept_log
from lensblend.runs.messages import note, say


def texts(folder):
    lines = (folder / NAME).read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)
    return [line[21:] for line in lines]


def test_what_is_said_noted_warned_of_and_failed_by_is_kept_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2222")
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))

    def train():
        say("\nphase1: begins\n  and more")
        assert texts(tmp_path) == ["phase1: begins", "  and more"]
        note("\x1b[32m10 of 20\x1b[0m\rdone\x1b]0;title\x07 with hunter2222 \x00")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("slow disk", UserWarning, stacklevel=1)
        logging.getLogger("some.library").warning("of %s", "theirs")
        raise DataError("no such pair")

    with pytest.raises(DataError), kept_log(tmp_path):
        train()
    say("after it")
    assert texts(tmp_path) == [
        *("phase1: begins", "  and more", r"10 of 20done with (redacted) \x00"),
        *("UserWarning: slow disk", "WARNING: of theirs", "no such pair"),
    ]
    assert shown == ["slow disk"]
    printed = capsys.readouterr().out
    assert "phase1: begins" in printed
    assert "10 of 20" not in printed


def test_an_error_that_nobody_expected_is_kept_with_where_it_came_from_and_appended(tmp_path):
    def train(number):
        say(f"start {number}")
        raise ZeroDivisionError("division by zero")

    for number in (1, 2):
        with pytest.raises(ZeroDivisionError), kept_log(tmp_path):
            train(number)
    kept = texts(tmp_path)
    assert [line for line in kept if line.startswith("start")] == ["start 1", "start 2"]
    assert kept.count("ZeroDivisionError: division by zero") == 2
    assert "Traceback (most recent call last):" in kept


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_nothing_but_a_file_is_written_to_and_the_work_goes_on(tmp_path, capsys, kind):
    run = tmp_path / "run"
    run.mkdir()
    if kind == "link":
        (run / NAME).symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(run / NAME)
    else:
        (run / NAME).mkdir()
    with kept_log(run):
        say("goes on")
    assert f"{run / NAME} is not kept" in capsys.readouterr().out
    assert not (tmp_path / "elsewhere").exists()
