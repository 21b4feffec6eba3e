"""``lensblend runs`` as it is typed: lists, removals and what is refused."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from made_runs import made


@pytest.fixture
def outputs(tmp_path):
    folder = tmp_path / "outputs"
    made(folder / "train" / "a", psnr=20.0, seed=1)
    made(folder / "train" / "b", psnr=22.0, seed=2, state="failed", error="[bold]no \x1b[2Jmemory")
    (folder / "train" / "c").mkdir()
    (folder / "train" / "c" / "status.json").write_text("{")
    return folder


def test_a_table_is_printed_with_what_differs_and_what_is_wrong(in_process, outputs):
    done = in_process("runs", cwd=outputs.parent)
    assert done.code == 0, done.err
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert lines["run"].split()[:9] == ["run", "state", "phase", "step", "psnr", "lpips", "age", "size", "what"]
    assert lines["train/a"].split()[1:7] == ["done", "two", "2/2", "7", "20", "0.3"]
    assert lines["train/a"].rstrip().endswith("seed=1")
    assert "[bold]no \\x1b[2Jmemory" in lines["train/b"]
    assert "status.json is damaged" in lines["train/c"]
    assert lines["3"].startswith("3 runs, ")


@pytest.mark.parametrize(
    ("width", "left_out"), [(60, {"phase", "step", "age", "size"}), (80, {"phase", "step"}), (200, set())]
)
def test_a_table_fits_its_terminal(in_process, outputs, monkeypatch, width, left_out):
    for name, value in {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    made(outputs / "multirun" / "2026-11-22" / "12-30-00" / "17")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", in_process("runs", outputs).out).splitlines()
    assert all(len(line) <= width for line in plain)
    assert {"phase", "step", "age", "size"} - set(plain[0].split()) == left_out
    assert {"run", "state", "psnr", "differs,"} <= set(plain[0].split())
    assert [line.split()[0][-7:] for line in plain[1:5]] == ["0-00/17", "train/a", "train/b", "train/c"]


def test_json_and_csv_say_the_same(in_process, outputs):
    done = in_process("runs", outputs, "--json", "--sort", "psnr", "--limit", "2")
    runs = json.loads(done.out)
    assert [run["folder"] for run in runs] == [str(outputs / "train" / name) for name in "ba"]
    assert [run["scores"]["psnr"] for run in runs] == [22.0, 20.0]
    assert [run["differs"] for run in runs] == [{"seed": 2}, {"seed": 1}]
    done = in_process("runs", outputs, "--csv", "--where", "seed=2", "--where", "kernels=g")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert (row["state"], row["val/psnr"], row["size"]) == ("failed", "22.0", str(runs[0]["size"]))


def test_an_empty_folder_and_none_at_all(in_process, tmp_path):
    (tmp_path / "empty").mkdir()
    done = in_process("runs", tmp_path / "empty")
    assert (done.code, done.out) == (0, f"{tmp_path / 'empty'}: no run is in it or below it.\n")
    assert json.loads(in_process("runs", tmp_path / "empty", "--json").out) == []


def test_runs_are_removed_only_after_an_answer(in_process, outputs):
    a, b = outputs / "train" / "a", outputs / "train" / "b"
    done = in_process("runs", "rm", a, cwd=outputs)
    assert done.code == 2
    assert "standard input is no terminal; add --yes" in done.err
    assert in_process("runs", "rm", a, outputs, "--yes").code == 2  # nothing, where one cannot be
    assert a.is_dir()
    done = in_process("runs", "rm", a, f"{a}/", b, "--yes")
    assert done.code == 0, done.err
    assert "Removed 2 runs" in done.out
    assert sorted(path.name for path in (outputs / "train").iterdir()) == ["c"]


@pytest.mark.parametrize(("answer", "left"), [(b"\n", True), (b"n\n", True), (b"y\n", False)])
def test_on_a_terminal_the_question_is_asked(outputs, answer, left):
    ours, theirs = pty.openpty()
    program = "import sys; from lensblend.cli.runs import main; sys.argv[:] = ['runs', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", program, "rm", outputs / "train" / "a"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        os.write(ours, answer)
        said = process.communicate()[0].decode()
    os.close(ours)
    assert process.returncode == 0
    assert "for good? [y/N]" in said
    assert (outputs / "train" / "a").exists() == left
    assert ("Nothing is removed." in said) == left


def test_cleaning_says_first_what_it_would_remove(in_process, outputs):
    phase = outputs / "train" / "a" / "one"
    phase.mkdir()
    for name in ("best.ckpt", "last.ckpt", "previous.ckpt"):
        (phase / name).write_bytes(b"x" * 1000)
    (phase / "last.ckpt.damaged").write_bytes(b"x" * 10)
    done = in_process("runs", "clean", outputs, "--dry-run")
    assert done.code == 0, done.err
    assert f"{phase / 'last.ckpt'}: 1.0 kB" in done.out
    assert "last: 2, 2.0 kB" in done.out
    assert "2.0 kB in 1 run would be removed." in done.out
    assert (phase / "last.ckpt").exists()
    done = in_process("runs", "clean", outputs, "--only", "damaged", "--yes")
    assert done.code == 0, done.err
    assert sorted(path.name for path in phase.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert in_process("runs", "clean", outputs).code == 2
    assert in_process("runs", "clean", outputs, "--yes").code == 0
    assert [path.name for path in phase.iterdir()] == ["best.ckpt"]
    assert "nothing to remove" in in_process("runs", "clean", outputs).out
