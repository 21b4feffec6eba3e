"""The commands by which figures and pictures were made start, wherever one stands."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted([*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("*/__main__.py")])
# All in one process: most of a start is the import of PyTorch.
PROGRAM = """
import runpy, sys
path = list(sys.path)
for script in sys.argv[1:]:
    sys.path[:] = [script.rpartition("/")[0], *path]
    before = set(sys.modules)
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        print(script, ended.code)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "reliability":
            del sys.modules[name]
"""


@pytest.mark.slow
def test_every_benchmark_says_what_it_does(tmp_path):
    command = [sys.executable, "-P", "-c", PROGRAM, *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for script in SCRIPTS:
        assert f"{script} 0\n" in done.stdout, done.stderr
