"""The converter against an independent build of the released graph, its tensors numbered as in the authors' file."""

import pickle
import struct
from collections import OrderedDict
from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.priors.depth import load_megadepth, read_megadepth
from lensblend.priors.depth_network import DepthNetwork
from lensblend.runs.checkpoints import start_from


class Sum(nn.Sequential):
    def forward(self, x):
        return sum(part(x) for part in self)


class Join(nn.Sequential):
    def forward(self, x):
        return torch.cat([part(x) for part in self], dim=1)


def inception(inputs, outputs, inner, *kernels):
    def unit(i, o, k):
        return [nn.Conv2d(i, o, k, padding=k // 2), nn.BatchNorm2d(o, affine=False), nn.ReLU()]

    branches = [nn.Sequential(*unit(inputs, inner, 1), *unit(inner, outputs // 4, k)) for k in kernels]
    return Join(nn.Sequential(*unit(inputs, outputs // 4, 1)), *branches)


def released_graph():
    """The tables of the fact sheet, every container numbered, in the order in which the authors' file lists it."""
    b, e = (128, 128, 32, 3, 5, 7), (256, 256, 32, 3, 5, 7)
    f, up = (256, 256, 64, 3, 7, 11), nn.Upsample(scale_factor=2)

    def chain(*parts):
        return nn.Sequential(*(part if isinstance(part, nn.Module) else inception(*part) for part in parts))

    level4 = Sum(chain(e, e), chain(nn.AvgPool2d(2), e, e, e, up))
    level3 = Sum(chain(e, f), chain(nn.AvgPool2d(2), e, e, level4, e, f, up))
    d, g, c = (128, 256, 32, 3, 5, 7), (256, 128, 32, 3, 5, 7), (128, 128, 64, 3, 7, 11)
    level2 = Sum(chain(nn.MaxPool2d(2), b, d, level3, e, g, up), chain(b, c))
    c_prime, a_prime, a = (128, 128, 64, 3, 5, 7), (128, 64, 32, 3, 7, 11), (128, 64, 64, 3, 7, 11)
    level1 = Sum(chain(nn.MaxPool2d(2), b, b, level2, c_prime, a_prime, up), chain(a))
    stem = [nn.Conv2d(3, 128, 7, padding=3), nn.BatchNorm2d(128), nn.ReLU()]
    return nn.Sequential(*stem, level1, nn.Conv2d(64, 1, 3, padding=1))


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    graph = released_graph()
    for norm in (module for module in graph.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():  # statistics of a photo, or the deeper levels would add next to nothing
        graph.train()(torch.rand(2, 3, 64, 64))
    for name, buffer in graph.named_buffers():
        if "num_batches" in name:
            buffer.fill_(7)
    return graph.eval()


@pytest.fixture
def save(reference, tmp_path):
    """Return a function that writes the reference's tensors, changed by ``edit``, and returns the path."""

    def write(edit=lambda state: state, prefix="module.", zipped=True):
        state = edit({prefix + name: tensor for name, tensor in reference.state_dict().items()})
        path = tmp_path / "best_generalization_net_G.pth"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        return path

    return write


class Stored(NamedTuple):
    tensor: torch.Tensor


class Python2Pickler(pickle._Pickler):
    """Writes what PyTorch 0.2 wrote under Python 2.7: strings of bytes, tensors of a GPU, dictionaries of pairs."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj):
        if isinstance(obj, torch.Tensor):  # stands for its storage
            return "storage", torch.cuda.FloatStorage, str(obj.data_ptr()), "cuda:0", obj.numel(), None
        return None

    def save_string(self, obj):
        self.write(pickle.SHORT_BINSTRING + bytes([len(obj)]) + obj.encode())
        self.memoize(obj)

    def save_stored(self, obj):
        tensor = obj.tensor
        parts = (tensor, 0, tuple(tensor.shape), tuple(tensor.stride()))
        self.save_reduce(torch._utils._rebuild_tensor, parts, obj=obj)

    def save_ordered(self, obj):
        self.save_reduce(OrderedDict, ([[name, value] for name, value in obj.items()],), obj=obj)

    dispatch |= {str: save_string, Stored: save_stored, OrderedDict: save_ordered}


def save_as_python_2(state, path):
    """Write what MegaDepth's authors published: they name PyTorch 0.2 and Python 2.7."""
    stored = {str(tensor.data_ptr()): tensor for tensor in state.values()}
    types = {"short": 2, "int": 4, "long": 4}
    content = OrderedDict((name, Stored(tensor)) for name, tensor in state.items())
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": types}]
    with path.open("wb") as file:
        for part in (*header, content, list(stored)):
            Python2Pickler(file, 2).dump(part)
        for tensor in stored.values():
            file.write(struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes())


def without_counters(state):
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def test_the_reference_is_the_published_graph(reference):
    assert len(reference.state_dict()) == 779
    assert sum(p.numel() for p in reference.parameters()) == 5_357_153


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("old", [False, True])
@torch.no_grad()
def test_the_hourglass_computes_the_references_log_depth(reference, save, prefix, old):
    path = save(without_counters, prefix, zipped=False) if old else save(prefix=prefix)
    weights = read_megadepth(path)
    trunk, head = Hourglass().eval(), nn.Conv2d(64, 1, 3, padding=1)
    trunk.load_state_dict(weights.trunk, strict=True)
    head.load_state_dict(weights.head, strict=True)
    photo = torch.rand(2, 3, 32, 48)
    expected = reference(photo)
    assert expected.std() > 1e-3
    torch.testing.assert_close(head(trunk(photo)), expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())
    assert int(weights.trunk["stem.1.num_batches_tracked"]) == (0 if old else 7)


@torch.no_grad()
def test_a_file_of_the_authors_pytorch_and_python_is_read(reference, tmp_path):
    path = tmp_path / "best_generalization_net_G.pth"
    state = without_counters({f"module.{name}": tensor for name, tensor in reference.state_dict().items()})
    save_as_python_2(state, path)
    assert {name: tuple(t.shape) for name, t in torch.load(path, "cpu", weights_only=False).items()} == {
        name: tuple(t.shape) for name, t in state.items()
    }
    network, photo = DepthNetwork(Hourglass()).eval(), torch.rand(1, 3, 32, 48)
    assert start_from(network, path) == (path, "the published weights of ")
    assert torch.equal(network.backbone.skips[0][0].branches[3][3].weight, state["module.3.1.0.3.3.weight"])
    torch.testing.assert_close(network(photo)["log_depth"], reference(photo), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_depth_network_computes_the_references_log_depth(reference, save):
    network = DepthNetwork(Hourglass()).eval()
    network.load_published(save(without_counters))
    photo = torch.rand(1, 3, 32, 48)
    expected = reference(photo)
    found = network(photo)["log_depth"]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


def test_a_network_starts_from_the_trunk_and_keeps_its_head(reference, save):
    network = DepthBlend(Hourglass(), KernelBank(sizes=[25, 45, 75]))
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    network.load_published(save())
    torch.testing.assert_close(network.backbone.stem[0].weight, reference[0].weight, rtol=0, atol=0)
    for name, tensor in network.head.state_dict().items():
        torch.testing.assert_close(tensor, head[name], rtol=0, atol=0)


@torch.no_grad()
def test_the_authors_trained_network_keeps_its_maps_the_photos_first(reference, tmp_path):
    """Its file holds four maps: kernels of 75, 45 and 25 pixels, and the photo."""
    torch.manual_seed(1)
    graph = nn.Sequential(*list(reference)[:-1], nn.Conv2d(64, 4, 3, padding=1)).eval()
    path = tmp_path / "phase3_best.pth"
    torch.save({f"module.{name}": tensor for name, tensor in graph.state_dict().items()}, path)
    network = DepthBlend(Hourglass(), KernelBank(sizes=[25, 45, 75])).eval()
    network.load_published(path)
    photo = torch.rand(1, 3, 64, 80)
    large, middle, small, sharp = graph(photo).softmax(dim=1).unbind(dim=1)
    expected = torch.stack([sharp, small, middle, large], dim=1)
    torch.testing.assert_close(network(photo).aux["weights"], expected, rtol=0, atol=1e-5)
    one = DepthBlend(Hourglass(), KernelBank(sizes=[75]))
    before = one.head.weight.clone()
    one.load_published(path)
    assert torch.equal(one.head.weight, before)
    with pytest.raises(DataError, match=r"phase3_best.pth\" holds a network that blends, and no depth"):
        DepthNetwork(Hourglass()).load_published(path)


def test_a_bare_hourglass_starts_too(reference, save):
    trunk = Hourglass()
    load_megadepth(trunk, save())
    torch.testing.assert_close(trunk.stem[1].running_mean, reference[1].running_mean, rtol=0, atol=0)


def test_the_first_tensor_of_another_shape_is_named(save):
    def transpose(state):
        name = "module.3.0.1.1.0.weight"  # second branch of the first block: 1×1, 128 → 32
        return state | {name: state[name].transpose(0, 1)}

    with pytest.raises(
        DataError, match=r"`module.3.0.1.1.0.weight` of shape \[128, 32, 1, 1\].*`descents.0.1.b.*\[32, 128"
    ):
        read_megadepth(save(transpose))


def test_tensors_in_another_order_are_refused_even_where_shapes_agree(save):
    def swap(state):
        weight, bias, third, fourth, *others = state.items()
        return dict([weight, bias, fourth, third, *others])

    with pytest.raises(
        DataError, match=r"entry 2, `module.1.bias` of shape \[128\].*has `stem.1.weight`.*as downloaded"
    ):
        read_megadepth(save(swap))


@pytest.mark.parametrize(
    ("count", "edit"), [(622, lambda s: dict(list(s.items())[:-2])), (625, lambda s: s | {"9.w": s["module.4.bias"]})]
)
def test_a_file_of_another_length_is_refused(save, count, edit):
    with pytest.raises(DataError, match=rf"net_G.pth\": it has {count} tensors, but .* 624"):
        read_megadepth(save(edit))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissingError, match=r"none.pth\"; download"):
        read_megadepth(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {0: torch.zeros(1)}])
def test_a_file_of_other_content_is_refused(save, content):
    with pytest.raises(DataError, match="no mapping of names to tensors"):
        read_megadepth(save(lambda _: content))


def test_a_damaged_file_is_refused(save):
    path = save()
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"is damaged, or holds more than tensors; download it again"):
        read_megadepth(path)


def test_code_in_a_file_is_not_run(save, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with pytest.raises(DataError, match=r"holds more than tensors: .*, whose code would have to be run"):
        read_megadepth(save(lambda state: state | {"module.0.weight": Hostile()}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("network", "found"), [(nn.Conv2d(3, 3, 1), "Conv2d"), (Hourglass(width_divisor=16), "Hourglass of 4 features")]
)
def test_other_backbones_are_refused(save, network, found):
    with pytest.raises(RequestError, match=rf"backbone is {found}; use `width_divisor=1`"):
        load_megadepth(network, save())
