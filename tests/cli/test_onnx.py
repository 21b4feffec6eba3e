"""ONNX networks on the command line: which photo stays sharp is what they say, and what is wrong is said in a line."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

import onnx_graphs
from lensblend.data.images import write_image
from lensblend.runs.checkpoints import describe

NODE = {
    "_target_": "lensblend.networks.saliency_blend.SaliencyBlend",
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [9]},
}
CONFIG = {"saliency": {"_target_": "lensblend.inference.guidance.Truth"}, "seed": 0}


@pytest.fixture
def blend(tmp_path):
    """A checkpoint that keeps what is salient and blurs the rest."""
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {}, "lensblend": describe(NODE, "phase1", [48, 64], CONFIG, {}), "global_step": 0}, path)
    return path


@pytest.fixture
def photo(tmp_path):
    """Noise, dark on the left and bright on the right."""
    pixels = np.random.default_rng(0).integers(0, 100, (48, 64, 3)).astype(np.uint8)
    pixels[:, 32:] += 150
    write_image(tmp_path / "photo.png", pixels)
    return pixels


@pytest.fixture
def bright(tmp_path):
    """A network that calls what is bright salient, called like IS-Net, which takes the photo less a half."""
    return onnx_graphs.brightness(tmp_path / "isnet.onnx", (1, 3, 48, 64), scale=0.9, offset=0.5)


def test_what_the_network_finds_stays_as_sharp_as_it_says(in_process, blend, photo, bright, picture, tmp_path):
    unnamed = tmp_path / "model.onnx"
    unnamed.write_bytes(bright.read_bytes())
    for out, source in ((tmp_path / "a", bright), (tmp_path / "b", f"isnet:{unnamed}")):
        done = in_process("render", tmp_path / "photo.png", "--model", blend, "--output", out, "--saliency", source)
        assert done.code == 0, done.err
        kept = (0.9 * (photo.astype(float).mean(axis=2) / 255 - 0.5) + 0.5)[..., None]
        blurred = photo.astype(float)
        for axis in (0, 1):  # a Gaussian of 9 pixels, as the bank samples it
            blurred = gaussian_filter1d(blurred, 0.15 * 9 + 0.35, axis=axis, mode="mirror", radius=4)
        expected = kept * photo + (1 - kept) * blurred
        assert np.abs(picture(out / "photo.png") - expected).max() < 1.5


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        (
            "model.onnx",
            2,
            "Nothing says what model.onnx takes and gives: name the network, --saliency PRESET:model.onnx",
        ),
        ("isnett:model.onnx", 2, "did you mean 'isnet'?"),
        ("isnet:nothing.onnx", 1, "`saliency.path` = nothing.onnx does not exist; correct the path."),
        ("isnet:photo.onnx", 1, "photo.onnx is no network that onnxruntime can run"),
        ("isnet:grey.onnx", 1, "takes 1 channels"),
        ("isnet:logits.onnx", 1, "use sigmoid for logits, or minmax"),
    ],
)
def test_what_does_not_fit_is_answered_in_a_line(in_process, blend, photo, tmp_path, source, code, says):
    onnx_graphs.brightness(tmp_path / "grey.onnx", (1, 1, 48, 64))
    onnx_graphs.brightness(tmp_path / "logits.onnx", (1, 3, 48, 64), scale=20)
    (tmp_path / "photo.onnx").write_bytes((tmp_path / "photo.png").read_bytes())
    done = in_process("render", "photo.png", "--model", blend, "--output", "out", "--saliency", source, cwd=tmp_path)
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_checkpoint_alone_does_not_choose_the_file(in_process, photo, bright, tmp_path):
    node = {"_target_": "lensblend.inference.onnx_maps.OnnxMap", "path": str(bright)}
    path = tmp_path / "theirs.ckpt"
    record = describe(NODE, "phase1", [48, 64], {**CONFIG, "saliency": node}, {})
    torch.save({"state_dict": {}, "lensblend": record, "global_step": 0}, path)
    done = in_process("render", tmp_path / "photo.png", "--model", path, "--output", tmp_path / "out")
    assert done.code == 2
    assert "which a single file does not decide here" in done.err
