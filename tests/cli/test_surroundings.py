"""Verbs where things are not as on a developer's desk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lensblend.cli import surroundings

CHECKOUT = Path(__file__).resolve().parents[2]
SIGNS = "".join(surroundings._PLAIN)

_PROGRAM = f"""
import os, sys
from lensblend.cli.surroundings import settle
settle()
print({SIGNS!a} * 50000)
print("\\u8857 \\udcff", file=sys.stderr)
sys.stdout.flush()
sys.stderr.write(os.path.expanduser("~"))
"""
# By what is unusual: variables; None removes one.
PLACES = {
    "no home": {"HOME": None},
    "a home that is not there": {"HOME": "/nowhere/at/all"},
    "a home that is a device": {"HOME": "/dev/null"},
    "a relative home": {"HOME": "home"},
    "no temporary folder": {"TMPDIR": "/nowhere/at/all", "HOME": None},
    "POSIX, not coerced": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII output": {"PYTHONIOENCODING": "ascii"},
    "Latin-1 output": {"PYTHONIOENCODING": "latin-1"},
    "a locale that is not there": {"LC_ALL": "xx_YY.UTF-8"},
}


def run(*command, cwd, **changes):
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")} | changes
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False
    )


@pytest.mark.parametrize("place", PLACES)
def test_output_and_home_are_found_anywhere(tmp_path, place):
    done = run(sys.executable, "-c", _PROGRAM, cwd=tmp_path, **PLACES[place])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 400_000
    assert b"Traceback" not in done.stderr
    home = done.stderr.splitlines()[-1].decode()
    assert os.path.isdir(home)
    assert os.path.isabs(home)


@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", ">&- 2>&- <&-", "| head -c 1 >&2", "2>&1 | head -c 1 >&2", ">/dev/full"]
)
def test_output_that_nobody_takes_does_not_end_the_work(tmp_path, redirection):
    script = f'set -o pipefail; "$0" -c "$1" {redirection}; code=$?; echo "ended $code" >"$2"'
    run("bash", "-c", script, sys.executable, _PROGRAM, str(tmp_path / "end"), cwd=tmp_path)
    assert (tmp_path / "end").read_text() == "ended 0\n"


@pytest.mark.parametrize("arguments", [["train", "--cfg", "job"], ["main", "train", "--cfg", "job"]])
def test_a_module_in_the_current_folder_is_not_executed(tmp_path, arguments):
    (tmp_path / "queue.py").write_text("raise SystemExit('executed')", encoding="utf-8")
    verb, *more = arguments
    done = run(
        sys.executable,
        "-m",
        f"lensblend.cli.{verb}",
        *more,
        cwd=tmp_path,
        PYTHONPATH=f"{CHECKOUT / 'src'}{'' if verb == 'train' else ':'}",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"data:")


def test_a_current_folder_that_is_gone_is_said(tmp_path):
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$0" -m lensblend.cli.main --help'
    done = run("bash", "-c", script, sys.executable, cwd=tmp_path)
    assert done.returncode == 2
    assert b"The current folder is gone" in done.stderr
    assert b"Traceback" not in done.stderr
