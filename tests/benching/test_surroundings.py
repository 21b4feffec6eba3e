"""Where and when something was measured."""

import re

import lensblend
from lensblend.benching import surroundings as module
from lensblend.benching.surroundings import as_table, surroundings
from lensblend.runs.repositories import Repository


def test_machine_load_versions_date_and_command_are_said(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (3.25, 2.0, 1.0))
    about = surroundings("lensblend bench x")
    assert about["load before"] == "3.2 (1-minute average)"
    assert f"lensblend {lensblend.__version__}, PyTorch " in about["software"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d[+-]\d\d:\d\d", about["date"])
    assert re.search(r"\w.*, \d+ cores", about["machine"])
    assert about["command"] == "lensblend bench x"
    assert "| command | `lensblend bench x` |" in as_table(about)


def test_only_a_checkout_has_a_commit_marked_where_files_differ(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "package_folder", lambda: None)
    assert "commit" not in surroundings("x")
    monkeypatch.setattr(module, "package_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "repository", lambda folder: Repository(folder, "0123abcd", True))
    assert surroundings("x")["commit"] == "0123abcd-dirty"
