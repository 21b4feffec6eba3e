"""What a verb imports: seconds of every start, and what a machine that only renders needs."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import lensblend
from lensblend.errors import RequestError
from lensblend.losses.pixel import L1

SOURCE = Path(lensblend.__file__).parent

_PROGRAM = """
import atexit, importlib, sys
atexit.register(lambda: print("imported", *{name.partition(".")[0] for name in sys.modules}))
verb, *sys.argv[1:] = sys.argv[1:]
importlib.import_module(f"lensblend.cli.{verb}").main()
"""


def imported(*arguments):
    """The top-level packages that a command has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["main", "--help"], ["compare", "--help"], ["train", "--cfg", "job"]])
def test_what_only_tells_something_does_not_wait_for_pytorch(arguments):
    assert not imported(*arguments) & {"torch", "numpy", "pytorch_lightning", "matplotlib"}


def test_rendering_needs_neither_lightning_nor_torchmetrics_nor_matplotlib(trained, tmp_path, picture):
    from skimage import data, io

    io.imsave(tmp_path / "photo.png", data.astronaut()[:64, :96], check_contrast=False)
    packages = imported("render", tmp_path / "photo.png", "--model", trained, "--output", tmp_path / "out")
    assert picture(tmp_path / "out" / "photo.png").shape == (64, 96, 3)
    assert "torch" in packages
    assert not packages & {"pytorch_lightning", "torchmetrics", "matplotlib", "torchvision", "wandb", "hydra", "scipy"}


def test_nine_frames_of_ours_lie_between_the_command_and_the_loss(in_process, monkeypatch, tmp_path):
    depths = []

    def forward(self, predicted, truth):
        ours = [frame for frame in traceback.extract_stack() if SOURCE in Path(frame.filename).parents]
        depths.append(len(ours) + 1)  # the loss itself is replaced by this one
        raise RequestError("deep enough")

    monkeypatch.setattr(L1, "forward", forward)
    small = ("experiment=demo", "debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "logger=none")
    assert in_process("train", *small, f"run_dir={tmp_path / 'run'}").code == 2
    assert depths == [9]
