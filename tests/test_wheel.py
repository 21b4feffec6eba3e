"""A built wheel carries the configurations and works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lensblend.survey.pages import FILES

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_a_wheel_trains_in_an_empty_folder(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        vendored = "lensblend/comparison/page/vendor/img-comparison-slider"
        page = [f"lensblend/comparison/page/gallery.{kind}" for kind in ("html", "css", "js")]
        assert archive.getinfo("lensblend/models/default.safetensors").file_size <= 20_000_000
        page += [f"lensblend/survey/page/{name}" for name in ("survey.html", *FILES)]
        assert {*page, f"{vendored}/index.js", f"{vendored}/LICENSE"} <= set(archive.namelist())
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import lensblend; print(lensblend.__file__)"],
        cwd=work, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
    command = [sys.executable, "-m", "lensblend.cli.main", "train", "debug=smoke", "schedule.run=[phase1]"]
    done = subprocess.run(
        [*command, "run_dir=run"], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (work / "run" / "phase1" / "best.ckpt").is_file()
    swept = subprocess.run(
        [*command[:-2], "+sweep=table3", "--cfg", "hydra"],
        cwd=work, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "kernels: gaussian_5_25_45,gaussian_25_45_75" in swept.stdout, swept.stderr
