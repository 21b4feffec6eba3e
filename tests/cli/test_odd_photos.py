"""Photos that no network was made for: each gives a picture of its size, or one line that says why not."""

import numpy as np
import pytest
import torch
from PIL import Image

from lensblend.runs.checkpoints import describe
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network

NETWORK = {
    "_target_": "lensblend.networks.depth_blend.DepthBlend",
    "backbone": {
        **{"_target_": "lensblend.backbones.timm_pyramid.TimmPyramid", "name": "tf_efficientnet_lite0"},
        **{"decoder_channels": 16, "stride": 4},
    },
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [9, 25], "family": "disk"},
    "enlarge": "guided",
    "bleeding": False,
}


def smooth(height, width):
    """A sky: nothing in it stands out."""
    rows = np.linspace(90, 200, height)[:, None, None] + np.array([0, 15, 40])
    return np.broadcast_to(rows, (height, width, 3)).clip(0, 255).astype(np.uint8)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


PHOTOS = {
    "without a subject": lambda: smooth(120, 180),
    "a subject that fills the frame": lambda: noise(120, 180),
    "black": lambda: np.zeros((120, 180, 3), np.uint8),
    "white": lambda: np.full((120, 180, 3), 255, np.uint8),
    "33×33": lambda: noise(33, 33),
    "a panorama of 1:6": lambda: noise(60, 360),
    "an upright panorama": lambda: noise(360, 60),
    "a panorama of 1:20": lambda: noise(32, 640),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An exported network like the one in the box, with random weights."""
    torch.manual_seed(0)
    network = build(NETWORK, "model", *MODELS)
    path = tmp_path_factory.mktemp("model") / "network.safetensors"
    write_network(network.state_dict(), describe(NETWORK, "phase1", [64, 96], {"seed": 0}, {}), path)
    return path


@pytest.mark.parametrize("name", PHOTOS)
def test_an_odd_photo_becomes_a_picture_of_its_size(in_process, model, picture, tmp_path, name):
    pixels = PHOTOS[name]()
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    for way in ("network", "photo"):
        target = tmp_path / way
        done = in_process("render", tmp_path / "photo.png", "--model", model, "--output", target, "--blend-at", way)
        assert done.code == 0, done.err
        rendered = picture(target / "photo.png").astype(int)
        assert rendered.shape == pixels.shape
        # What is blended of copies of a photo is nowhere darker or brighter than the photo.
        for channel in range(3):
            low, high = int(pixels[..., channel].min()), int(pixels[..., channel].max())
            assert low - 1 <= rendered[..., channel].min() <= rendered[..., channel].max() <= high + 1


@pytest.mark.parametrize("size", [(31, 200), (200, 8), (1, 1)])
def test_a_photo_with_a_side_below_32_becomes_a_picture_or_is_answered_in_one_line(
    in_process, model, picture, tmp_path, size
):
    Image.fromarray(noise(*size)).save(tmp_path / "photo.png")
    for way in ("network", "photo"):
        target = tmp_path / way
        done = in_process("render", tmp_path / "photo.png", "--model", model, "--output", target, "--blend-at", way)
        assert "Traceback" not in done.err
        if done.code == 0:
            assert picture(target / "photo.png").shape == (*size, 3)
        else:
            assert "A photo's sides are 32 pixels or more" in done.err


def test_more_pixels_than_are_read_are_refused_before_the_work(in_process, model, tmp_path):
    Image.new("RGB", (11648, 8736)).save(tmp_path / "photo.png", compress_level=1)
    done = in_process("render", tmp_path / "photo.png", "--model", model, "--output", tmp_path / "out")
    assert done.code == 1
    assert "is too large" in done.err
    assert "11648×8736" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_photo_of_100_megapixels_becomes_a_picture(in_process, model, tmp_path):
    Image.new("RGB", (12500, 8000), (10, 120, 240)).save(tmp_path / "photo.png", compress_level=1)
    done = in_process("render", tmp_path / "photo.png", "--model", model, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "out" / "photo.png") as rendered:
        assert rendered.size == (12500, 8000)
        assert rendered.getpixel((6000, 4000)) == (10, 120, 240)
