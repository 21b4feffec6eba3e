"""What ``lensblend demo`` ends with: real photos, rendered by what it has trained and by the model in the box."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from lensblend.cli.demo import _side_by_side
from lensblend.runs import models
from lensblend.runs.checkpoints import describe
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network
from lensblend.training.checkpoint_io import AtomicCheckpointIO

PHOTOS = {"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee}


def network(sizes):
    torch.manual_seed(0)
    backbone = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
    node = {
        "_target_": "lensblend.networks.depth_blend.DepthBlend",
        "backbone": backbone,
        "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": sizes},
    }
    return build(node, "model", *MODELS).state_dict(), describe(node, "phase1", [32, 48], {"seed": 0}, {})


@pytest.mark.slow
def test_real_photos_stand_beside_both_renderings(tmp_path, picture):
    state, record = network([3, 5])
    AtomicCheckpointIO().save_checkpoint({"state_dict": state, "lensblend": record}, tmp_path / "run/phase1/best.ckpt")
    write_network(*network([9, 25]), tmp_path / "box.safetensors")
    for _ in range(2):  # a demo is repeated into the same folder
        sheet = picture(_side_by_side(tmp_path / "run", str(tmp_path / "box.safetensors")))
    top = 0
    for name, photo in PHOTOS.items():
        pixels = photo()
        rendered = [picture(tmp_path / "run" / "real" / kind / f"{name}.png") for kind in ("demo", "model")]
        assert {image.shape for image in rendered} == {pixels.shape}
        height, width = 300, round(pixels.shape[1] * 300 / pixels.shape[0])
        # Three of one size, with a line of text above and a margin around each.
        cells = [sheet[top + 20 : top + 320, 6 + i * (width + 6) :][:, :width] for i in range(3)]
        for cell, image in zip(cells, (pixels, *rendered), strict=True):
            expected = 255 * resize(image, (height, width), anti_aliasing=True)
            assert np.abs(cell - expected).mean() < 4
        assert np.abs(cells[1].astype(int) - cells[2]).mean() > 1
        top += 326
    assert sheet.shape[0] == top


def test_a_demo_without_its_model_is_refused_before_the_training(in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    done = in_process("demo", "--smoke", "--output", tmp_path / "out", cwd=tmp_path)
    assert done.code == 1
    assert "`default` is missing from this installation" in done.err
    assert not any(tmp_path.iterdir())
