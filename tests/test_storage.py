"""JSON that every parser reads, and folders that can be written to."""

import ast
import json
from pathlib import Path

import pytest

import lensblend
from lensblend.errors import StorageError
from lensblend.storage import check_writable, json_text

SOURCE = Path(lensblend.__file__).parent
# Texts that are compared, hashed or handed to a process of ours, and never written.
FINGERPRINTS = {
    "benching/measuring.py",
    "comparison/labels.py",
    "comparison/sharing.py",
    "comparison/rows.py",
    "data/embedded.py",
    "data/packed.py",
    "inference/exported_parts.py",
    "inference/prior_maps.py",
    "launchers/standby.py",
    "runs/configuration.py",
}


def refused(text):
    raise AssertionError(f"{text} is no JSON")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_null_wherever_it_stands(number):
    content = {"a": number, "b": [1, number, (number,)], "c": {"d": {"e": number}}, "f": 1e308, "g": "NaN", "h": None}
    read = json.loads(json_text(content), parse_constant=refused)
    assert read == {"a": None, "b": [1, None, [None]], "c": {"d": {"e": None}}, "f": 1e308, "g": "NaN", "h": None}


def test_json_is_written_in_one_place():
    writers = set()
    for file in SOURCE.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
        if any(ast.unparse(call) in ("json.dumps", "json.dump") for call in calls):
            writers.add(str(file.relative_to(SOURCE)))
    assert writers == {"storage.py", *FINGERPRINTS}


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(StorageError, match="could not be written"):
            check_writable(folder)
