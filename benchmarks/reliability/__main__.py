"""The reliability matrix lies in tests/reliability; this is the command by which it has been run."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "tests" / "reliability"), run_name="__main__")
