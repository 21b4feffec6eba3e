"""The commands in the example's README, as they stand there, in an environment of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "examples" / "own-project"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh environment that sees this one's packages, but nothing of this project until it is installed."""
    venv = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # Plain paths: what is installed there by a link to its folder, such as this project, does not come with them.
    (site / "parent.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")), encoding="utf-8")
    pip = venv / "bin" / "pip"
    options = f"--python {venv / 'bin' / 'python'} --offline --no-cache --no-deps --no-build-isolation"
    pip.write_text(f'#!/bin/bash\nexec {sys.executable} -m uv pip "$1" {options} "${{@:2}}"\n', encoding="utf-8")
    pip.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LENSBLEND_ALLOW")}
    made = {**inherited, "VIRTUAL_ENV": str(venv), "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([pip, "install", CHECKOUT], check=True, env=made)
    return made


@pytest.mark.slow
def test_the_commands_of_its_readme_work(environment, tmp_path):
    project = shutil.copytree(EXAMPLE, tmp_path / "own-project")
    (commands,) = re.findall(r"```bash\n(.*?)```", (project / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert commands.count("lensblend ") == 4
    done = subprocess.run(
        ["bash", "-euxc", commands], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lights = project / "outputs" / "lights"
    means = json.loads((lights / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert means["psnr"] > means["references"]["photo"]["psnr"] + 5
    assert (project / "outputs" / "rendered" / "val-000.png").is_file()
    assert (lights / "evaluation" / "gallery.html").is_file()
