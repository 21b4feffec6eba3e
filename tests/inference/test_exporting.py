"""Every network as ONNX renders what `render` renders; the table of them is that of the contract."""

import io
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import DataError, RequestError
from lensblend.inference import exporting, onnx_files
from lensblend.inference.exporting import exported
from lensblend.inference.folding import folded
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, BokehNetwork, Rendering
from networks.test_contract import NETWORKS

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGE_SIZE = (48, 64)
QUICK = ("saliency_blend",)
# Networks of the table that the exporter does not take, and why.
NOT_EXPORTED: dict[str, str] = {}
ROWS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETWORKS]
FULL_SIZE = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in ("saliency_blend", "depth_blend timm", "joint_blend")
]


def built(name):
    torch.manual_seed(0)
    return folded(NETWORKS[name].build().eval())


@pytest.mark.parametrize("name", ROWS)
def test_every_network_renders_photos_of_any_size(name):
    if name in NOT_EXPORTED:
        with pytest.raises(DataError, match=NOT_EXPORTED[name]):
            exported(built(name), IMAGE_SIZE, None, {})
        return
    network = built(name)
    content, found = exported(network, IMAGE_SIZE, None, {"lensblend": "{}"})
    assert found.largest <= 1 / 255
    graph = onnx.load(io.BytesIO(content))
    onnx.checker.check_model(graph)
    assert {entry.domain or "ai.onnx": entry.version for entry in graph.opset_import}["ai.onnx"] == 20
    assert [node.name for node in graph.graph.input] == ["photo", *network.guidance]
    assert [entry.value for entry in graph.metadata_props if entry.key == "lensblend"] == ["{}"]


@pytest.mark.parametrize("name", FULL_SIZE)
def test_networks_that_blend_at_full_size_do_so_at_one_size(name):
    content, found = exported(built(name), IMAGE_SIZE, (90, 70), {})
    assert found.largest <= 1 / 255
    (photo, *_) = onnxruntime.InferenceSession(content).get_inputs()
    assert photo.shape == [1, 3, 90, 70]


class Sum(BokehNetwork):
    """A network of one weight; what it does beside adding that can be changed."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, photo):
        return Rendering(photo + self.weight, {})


class Valued(Sum):
    def forward(self, photo):
        return Rendering(photo if photo.mean() > self.weight else 1 - photo, {})


class Plain(Backbone):
    """Two convolutions."""

    def __init__(self):
        super().__init__(8)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    def forward(self, photo):
        return self.layers(photo)


BACKBONES = {"plain": (Plain, 2), "hourglass": (lambda: Hourglass(width_divisor=16), 155)}


def blending(name):
    torch.manual_seed(0)
    return folded(DepthBlend(BACKBONES[name][0](), KernelBank(sizes=[3, 9])).eval())


@pytest.mark.parametrize(
    ("name", "photo_size"),
    [("plain", None), *(pytest.param("hourglass", size, marks=pytest.mark.slow) for size in (None, (90, 70)))],
)
@pytest.mark.parametrize(("precision", "held", "least"), [("fp16", "FLOAT16", 65), ("int8", "INT8", 40)])
def test_a_backbone_is_less_precise_and_the_rest_is_not(precision, held, least, name, photo_size):
    network = blending(name)
    content, found = exported(network, IMAGE_SIZE, photo_size, {}, precision)
    assert least < found.psnr < 120
    graph = onnx.load(io.BytesIO(content)).graph
    weights = {w.name: onnx.TensorProto.DataType.Name(w.data_type) for w in graph.initializer if len(w.dims) == 4}
    lowered = {name for name, kind in weights.items() if kind == held}
    # The head's, and the blurs, stay; in 8 bits the first convolution, too, unless it is the only one.
    convolutions = BACKBONES[name][1]
    assert len(lowered) == (max(1, convolutions - 1) if precision == "int8" else convolutions)
    assert all("backbone" in name for name in lowered)
    assert any("head" in name and kind == "FLOAT" for name, kind in weights.items())
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


def test_what_has_no_backbone_is_not_less_precise():
    with pytest.raises(RequestError, match=r"`--precision int8` is for the backbones .* Sum has none: leave it out"):
        exported(Sum().eval(), IMAGE_SIZE, None, {}, "int8")


def test_an_8_bit_graph_that_renders_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(exporting, "eight_bits", lambda content, nodes, inputs: content)
    monkeypatch.setattr(exporting, "LEAST_PSNR", 130)
    with pytest.raises(DataError, match=r"differs from PyTorch by .* levels of 8 bits \(\d+ dB\), more than"):
        exported(blending("plain"), IMAGE_SIZE, None, {}, "int8")


def test_what_cannot_be_exported_is_said_in_one_line():
    with pytest.raises(DataError, match=r"^Valued cannot be exported to ONNX: Could not guard on") as caught:
        exported(Valued(), IMAGE_SIZE, None, {})
    assert "\n" not in str(caught.value)


def test_a_graph_that_renders_something_else_is_refused(monkeypatch):
    network = Sum().eval()

    def changed(*arguments, **options):
        content = onnx_files.onnx_bytes(*arguments, **options)
        network.weight.data.fill_(-0.1)
        return content

    monkeypatch.setattr(exporting, "onnx_bytes", changed)
    with pytest.raises(DataError, match=r"differs from PyTorch by 2[56]\.\d\d levels"):
        exported(network, IMAGE_SIZE, None, {})


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(
        RequestError, match=r"^ONNX needs onnxscript, not installed here: pip install 'lensblend\[onnx\]'$"
    ):
        exported(Sum().eval(), IMAGE_SIZE, None, {})


def test_networks_that_cannot_blend_at_full_size_are_refused():
    with pytest.raises(RequestError, match="Sum cannot blend at full resolution; leave out `--photo-size`"):
        exported(Sum().eval(), IMAGE_SIZE, (64, 64), {})


@pytest.mark.slow
def test_the_command_writes_and_describes_a_file(in_process, trained, tmp_path):
    path = tmp_path / "network.onnx"
    done = in_process("export", trained, "--format", "onnx", "--output", path, "--f-number", "1.8")
    assert done.code == 0, done.err
    assert "levels of 8 bits at most" in done.out
    about = json.loads(next(p.value for p in onnx.load(path).metadata_props if p.key == "lensblend"))
    assert about["card"] == {"f_number": 1.8}
    session = onnxruntime.InferenceSession(path)
    photo = np.random.default_rng(0).random((1, 3, 50, 70), np.float32)
    assert session.run(None, {"photo": photo})[0].shape == photo.shape


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "onnx", "--half"), "`--half` would have no effect on the format onnx"),
        (("--format", "onnx", "--photo-size", "3x4"), "32 pixels or more, such as 1024x1536, but got '3x4'"),
        (("--precision", "int8"), "`--precision` would have no effect on the format safetensors"),
        (("--photo-size", "64x64"), "`--photo-size` would have no effect on the format safetensors"),
    ],
)
def test_wrong_requests_are_refused(in_process, tmp_path, arguments, said):
    suffix = ".onnx" if "onnx" in arguments else ".safetensors"
    done = in_process("export", "none.ckpt", *arguments, "--output", tmp_path / f"a{suffix}")
    assert done.code == 2
    assert said in done.err
