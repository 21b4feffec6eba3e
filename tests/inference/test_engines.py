"""Each engine renders what PyTorch renders, within what its precision allows; the rest is refused in one line."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut, immunohistochemistry
from torch import nn

from lensblend.errors import RequestError
from lensblend.inference import engines, exported_parts
from lensblend.inference.engines import check_engine, device_for
from lensblend.inference.folding import folded
from lensblend.inference.rendering import render_photo
from lensblend.inference.served import served
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical
from lensblend.networks.saliency_blend import SaliencyBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone
from lensblend.runs.checkpoints import load_network

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
# Set where OpenVINO may be imported: a W&B run of a later test in the same process leaves pytest without its capture.
APART = "LENSBLEND_TESTS_OPENVINO"
# In levels of 8 bits, at any pixel.
TOLERANCES = {"fp32": 0.05, "bf16": 4.0, "int8": 8.0}


class Plain(Backbone):
    """One convolution."""

    def __init__(self):
        super().__init__(8)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())

    def forward(self, photo):
        return self.layers(photo)


def blending():
    network = DepthBlend(Plain(), KernelBank(sizes=[3, 9]))
    with torch.no_grad():
        network.head.weight.mul_(20)
    return network


NETWORKS = {"backbone": blending, "whole": lambda: MultiscaleHierarchical(width=2)}


def built(name):
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))
    return tmp_path / "engines"


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)


def offered():
    slow = pytest.mark.slow
    for engine, about in engines.ENGINES.items():
        if engine == "openvino" and APART not in os.environ:
            continue
        for precision in about.precisions:
            if precision != "fp16" and (engine, precision) != ("torch", "fp32"):
                yield pytest.param(engine, precision, marks=slow if engine == "compile" else ())


def computed_or_skipped(engine, precision):
    try:
        check_engine(engine, precision, CPU)
    except RequestError as error:
        if "this CPU" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # of PyTorch's own compiler
@pytest.mark.parametrize(("engine", "precision"), list(offered()))
@pytest.mark.parametrize("name", NETWORKS)
def test_an_engine_renders_the_same(name, engine, precision, photo, folder):
    if (name, engine) == ("whole", "compile"):
        pytest.skip("what checks shapes in tests cannot be compiled; see below")
    if (name, precision) == ("whole", "int8"):
        with pytest.raises(RequestError, match="MultiscaleHierarchical has none: use fp32"):
            served(built(name), engine, precision, "sha")
        return
    computed_or_skipped(engine, precision)
    network = built(name)
    quick = served(network, engine, precision, "sha")
    for at in ("network", "photo") if network.blends_full_size else ("network",):
        expected = render_photo(network, photo, (32, 48), at)
        rendering = render_photo(quick, photo, (32, 48), at)
        assert rendering.aux.keys() == expected.aux.keys()
        error = 255 * (rendering.bokeh - expected.bokeh).abs().max()
        assert error < TOLERANCES[precision]
        assert precision == "fp32" or error > 1e-3  # it is computed otherwise at all
    assert {key for key, _ in network.named_children()} == {key for key, _ in built(name).named_children()}
    assert not any("Served" in type(part).__name__ for part in network.modules())


@pytest.mark.slow
def test_the_model_in_the_box_hardly_changes_in_8_bits(folder):
    """Its encoder pads as TensorFlow does, by sizes that a graph for photos of any size must not get lost in."""
    trained = load_network("default")
    network = folded(trained.network.eval())
    quick = served(network, "onnx", "int8", trained.sha256)
    for photo in (astronaut(), immunohistochemistry()):
        expected = render_photo(network, photo, trained.image_size, "photo").bokeh
        error = (render_photo(quick, photo, trained.image_size, "photo").bokeh - expected).abs()
        assert -10 * torch.log10(error.square().mean()) > 45
        assert 255 * error.max() < 30


@pytest.mark.skipif(APART in os.environ, reason="this is that process")
@pytest.mark.slow
def test_openvino_renders_the_same_in_a_process_of_its_own():
    asked = ["-p", "no:cacheprovider", __file__, "-k", "renders_the_same and openvino"]
    command = [sys.executable, "-m", "pytest", *asked]
    done = subprocess.run(command, env={**os.environ, APART: "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.slow
def test_a_compiled_network_renders_the_same_in_a_process_of_its_own():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < TOLERANCES["fp32"]


def test_a_graph_is_kept_by_weights_and_sizes(photo, folder, monkeypatch):
    made, graphs, export = [], {}, exported_parts.onnx_bytes

    def counted(name, part, inputs, outputs, open_sides):
        key = "any" if open_sides else inputs["photo"].shape
        made.append(key)
        graphs[key] = graphs.get(key) or export(name, part, inputs, outputs, open_sides)
        return graphs[key]

    monkeypatch.setattr(exported_parts, "onnx_bytes", counted)

    def render(sha="sha", size=(32, 48), precision="fp32"):
        return render_photo(served(built("backbone"), "onnx", precision, sha), photo, size).bokeh

    first = render()
    assert torch.equal(render(), first)
    assert len(made) == 1
    (file,) = folder.glob("*/graph.onnx")
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(render(), first)
    assert len(made) == 2
    render(sha="other")
    render(size=(40, 48))
    assert len(made) == 4
    # One calibration for photos of all sizes and orientations: the first photo must not decide how others look.
    render(precision="int8")
    render(size=(40, 48), precision="int8")
    assert made[4:] == ["any"]


def test_blurs_are_scaled_behind_a_served_backbone(photo, folder):
    network = built("backbone")
    quick = served(network, "torch", "bf16", "sha")
    expected = render_photo(network, photo, (32, 48), strength=2).bokeh
    assert 255 * (render_photo(quick, photo, (32, 48), strength=2).bokeh - expected).abs().max() < TOLERANCES["bf16"]
    assert 255 * (render_photo(quick, photo, (32, 48)).bokeh - expected).abs().max() > TOLERANCES["bf16"]


def test_what_needs_no_engine_stays_as_it_is():
    network, other = built("backbone"), SaliencyBlend(KernelBank(sizes=[9])).eval()
    assert served(network, "torch", "fp32", "sha") is network
    assert served(other, "torch", "bf16", "sha") is other


@pytest.mark.parametrize(
    ("engine", "precision", "device", "said"),
    [
        ("onxn", "fp32", "cpu", "`engine` is one of torch, compile, onnx, openvino, but got 'onxn'"),
        ("onnx", "fp8", "cpu", "`precision` is one of fp32, bf16, fp16, int8, but got 'fp8'"),
        ("onnx", "bf16", "cpu", "`engine` onnx computes in fp32 or int8, but `precision` is bf16"),
        ("torch", "fp16", "cpu", "`precision` fp16 is for GPUs; on the CPU use bf16"),
        ("onnx", "fp32", "cuda", "`engine` onnx computes on the CPU, but `device` is cuda; use device cpu"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(engine, precision, device, said):
    with pytest.raises(RequestError) as caught:
        check_engine(engine, precision, torch.device(device))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_engines_are_named(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(
        RequestError, match=r"^`engine` openvino is not installed here: pip install 'lensblend\[openvino"
    ):
        check_engine("openvino", "fp32", CPU)
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(RequestError, match=r"^`engine` compile needs a C\+\+ compiler"):
        check_engine("compile", "fp32", CPU)


def test_engines_of_the_cpu_take_it_where_nothing_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for("onnx", "auto") == CPU
    assert device_for("torch", "auto").type == "cuda"


@pytest.mark.slow
def test_the_command_renders_and_evaluates_by_an_engine(in_process, trained, photo, picture, tmp_path, folder):
    file = tmp_path / "photo.png"
    Image.fromarray(photo).save(file)
    for name, options in (("torch", ()), ("onnx", ("--engine", "onnx")), ("bf16", ("--precision", "bf16"))):
        done = in_process(
            "render", tmp_path / "photo.png", "--model", trained, "-o", tmp_path / f"{name}.png", *options
        )
        assert done.code == 0, done.err
    expected = picture(tmp_path / "torch.png").astype(int)
    assert abs(picture(tmp_path / "onnx.png") - expected).max() <= 1
    assert abs(picture(tmp_path / "bf16.png") - expected).max() <= 4
    assert list(folder.glob("*/graph.onnx"))
    small = ("data=embedded", "data.image_size=[32,48]", "data.train=1", "data.val=1", "metrics.lpips=null")
    done = in_process("evaluate", f"checkpoint={trained}", f"output={tmp_path}", "engine=onnx", *small)
    assert done.code == 0, done.err
    assert '"engine": "onnx"' in (tmp_path / "metrics.json").read_text()
    done = in_process("render", file, "--model", trained, "--engine", "onnx", "--precision", "fp16")
    assert (done.code, done.err.strip()) == (2, "`engine` onnx computes in fp32 or int8, but `precision` is fp16.")


if __name__ == "__main__":
    network = built("whole")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    plain, compiled = (
        render_photo(each, pixels, (32, 48), "network").bokeh
        for each in (network, served(network, "compile", "fp32", "sha"))
    )
    print(255 * float((compiled - plain).abs().max()))
