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
atexit.register(lambda: print("imported", *sys.modules))
verb, *sys.argv[1:] = sys.argv[1:]
importlib.import_module(f"lensblend.cli.{verb}").main()
"""


def imported(*arguments):
    """The modules that a command has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["main", "--help"], ["compare", "--help"], ["train", "--cfg", "job"]])
def test_what_only_tells_something_does_not_wait_for_pytorch(arguments):
    assert not imported(*arguments) & {"torch", "numpy", "pytorch_lightning", "matplotlib"}


@pytest.mark.parametrize("way", ["a run", "the model in the box", "a lens"])
def test_rendering_needs_little_beside_pytorch(way, trained, tmp_path, picture):
    """Nor PyTorch's compiler, which takes as long as PyTorch itself."""
    from skimage import data, io

    io.imsave(tmp_path / "photo.png", data.astronaut()[:64, :96], check_contrast=False)
    io.imsave(tmp_path / "mask.png", data.moon()[:64, :96], check_contrast=False)
    more = {"a run": ["--model", trained], "a lens": ["--focus-mask", tmp_path / "mask.png"]}.get(way, [])
    modules = imported("render", tmp_path / "photo.png", "--output", tmp_path / "out" / "", *more)
    assert picture(next((tmp_path / "out").iterdir())).shape == (64, 96, 3)
    assert "torch" in modules
    used = {"scipy"} if way == "a lens" else set()
    assert not (modules - used) & {
        *("albumentations", "hydra", "matplotlib", "onnxruntime", "pandas", "pytorch_lightning", "scipy", "skimage"),
        *("sympy", "timm", "torch._dynamo", "torchmetrics", "torchvision", "wandb"),
    }


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
