"""Where and when something was measured."""

import re
import subprocess

import lensblend
from lensblend.benching.surroundings import as_table, commit_of, surroundings


def test_machine_load_versions_date_and_command_are_said(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (3.25, 2.0, 1.0))
    about = surroundings("lensblend bench x")
    assert about["load before"] == "3.2 (1-minute average)"
    assert f"lensblend {lensblend.__version__}, PyTorch " in about["software"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d[+-]\d\d:\d\d", about["date"])
    assert re.search(r"\w.*, \d+ cores", about["machine"])
    assert about["command"] == "lensblend bench x"
    assert "| command | `lensblend bench x` |" in as_table(about)


def test_only_a_checkout_has_a_commit_marked_where_files_differ(tmp_path):
    assert commit_of(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    file = tmp_path / "file"
    file.write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert head.startswith(commit_of(tmp_path))
    file.write_text("2")
    assert commit_of(tmp_path).endswith("-dirty")
