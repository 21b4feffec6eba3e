"""SCRN against its released graph, assembled here from tensors under the authors' names and torchvision's ResNet-50."""

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.priors.scrn import Scrn

pytestmark = pytest.mark.usefixtures("one_thread")


def released_shapes():
    """Kernel shapes (out, in, side) of all units but the ResNet's, under the authors' names."""
    shapes = {}
    for branch in "se":
        for level, inputs in enumerate((256, 512, 1024, 2048), start=1):
            for unit, shape in enumerate([(32, inputs, 1), (32, 32, 3), (32, 32, 3)]):
                shapes[f"reduce_{branch}{level}.reduce.{unit}.conv_bn"] = shape
        for step in (1, 2, 3):
            shapes[f"output_{branch}.conv_upsample{step}.conv_bn"] = (32, 32, 3)
            shapes[f"output_{branch}.conv_cat{step}.0.conv_bn"] = (64, 64, 3)
            shapes[f"output_{branch}.conv_cat{step}.1.conv_bn"] = (32, 64, 1)
        shapes[f"output_{branch}.output.0.conv_bn"] = (32, 32, 3)
    for refinement in (1, 2, 3, 4):
        for number in range(1, 13):
            shapes[f"df{refinement}.conv{number}.conv.conv_bn"] = (32, 32, 1)
        for number, inputs in enumerate((160, 128, 96, 64, 32, 32, 32, 32), start=1):
            shapes[f"df{refinement}.conv_f{number}.0.conv_bn"] = (32, inputs, 3)
            shapes[f"df{refinement}.conv_f{number}.1.conv_bn"] = (32, 32, 3)
    return shapes


def released_state():
    """Random tensors under the authors' names, of a size at which products of five features stay in range."""
    state = {}
    for name, (outputs, inputs, side) in released_shapes().items():
        state[f"{name}.0.weight"] = torch.randn(outputs, inputs, side, side) / (inputs * side**2) ** 0.5
        state[f"{name}.1.weight"] = 0.4 + 0.6 * torch.rand(outputs)
        state[f"{name}.1.bias"] = 0.3 * torch.randn(outputs)
        state[f"{name}.1.running_mean"] = 0.2 * torch.randn(outputs)
        state[f"{name}.1.running_var"] = 0.8 + torch.rand(outputs)
        state[f"{name}.1.num_batches_tracked"] = torch.tensor(7)
    for branch in "se":
        state[f"output_{branch}.output.1.weight"] = torch.randn(1, 32, 1, 1)
        state[f"output_{branch}.output.1.bias"] = torch.randn(1)
    return state | {f"resnet.{name}": tensor for name, tensor in resnet50().state_dict().items() if name[:3] != "fc."}


def resnet50():
    """torchvision's ResNet-50 with statistics of noise, and gains at which its residual branches count."""
    network = torchvision.models.resnet50(weights=None)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
        torch.nn.init.uniform_(norm.weight, 0.3, 0.8)
        torch.nn.init.normal_(norm.bias, std=0.1)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval()


def unit(state, name, x):
    norm = [state[f"{name}.1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
    kernel = state[f"{name}.0.weight"]
    return functional.batch_norm(functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2), *norm)


def up(x, factor):
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)


def reduced(state, photo):
    """Return saliency and edge features of levels 1 to 4."""
    resnet = torchvision.models.resnet50(weights=None)
    resnet.load_state_dict({n[7:]: t for n, t in state.items() if n.startswith("resnet.")}, strict=False)
    resnet.to(photo.dtype).eval()
    normalised = torchvision.transforms.functional.normalize(photo, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(normalised))))
    s, e = {}, {}
    for level in (1, 2, 3, 4):
        x = getattr(resnet, f"layer{level}")(x)
        for branch, features in (("s", s), ("e", e)):
            features[level] = x
            for number in (0, 1, 2):
                features[level] = unit(state, f"reduce_{branch}{level}.reduce.{number}.conv_bn", features[level])
    return s, e


def refined(state, df, s, e):
    def enlarged(number, x, factor):
        return unit(state, f"{df}.conv{number}.conv.conv_bn", up(x, factor))

    def fused(number, x):
        return unit(state, f"{df}.conv_f{number}.1.conv_bn", unit(state, f"{df}.conv_f{number}.0.conv_bn", x))

    into_s = {
        1: [s[1], e[1], enlarged(1, e[2], 2), enlarged(2, e[3], 4), enlarged(3, e[4], 8)],
        2: [s[2], e[2], enlarged(4, e[3], 2), enlarged(5, e[4], 4)],
        3: [s[3], e[3], enlarged(6, e[4], 2)],
        4: [s[4], e[4]],
    }
    into_e = {
        1: e[1] * s[1] * enlarged(7, s[2], 2) * enlarged(8, s[3], 4) * enlarged(9, s[4], 8),
        2: e[2] * s[2] * enlarged(10, s[3], 2) * enlarged(11, s[4], 4),
        3: e[3] * s[3] * enlarged(12, s[4], 2),
        4: e[4] * s[4],
    }
    return (
        {level: s[level] + fused(level, torch.cat(into_s[level], dim=1)) for level in s},
        {level: e[level] + fused(level + 4, into_e[level]) for level in e},
    )


def decoded(state, output, features):
    x = features[4]
    for number, level in ((1, 3), (2, 2), (3, 1)):
        x = torch.cat([features[level], unit(state, f"{output}.conv_upsample{number}.conv_bn", up(x, 2))], dim=1)
        x = unit(state, f"{output}.conv_cat{number}.0.conv_bn", x)
        x = unit(state, f"{output}.conv_cat{number}.1.conv_bn", x)
    x = unit(state, f"{output}.output.0.conv_bn", x)
    return up(functional.conv2d(x, state[f"{output}.output.1.weight"], state[f"{output}.output.1.bias"]), 4)


def released_graph(state, photo):
    """Compute saliency and edge logits level by level, for sides that 32 divides."""
    s, e = reduced(state, photo)
    for df in ("df1", "df2", "df3", "df4"):
        s, e = refined(state, df, s, e)
    return {"saliency_logits": decoded(state, "output_s", s), "edge_logits": decoded(state, "output_e", e)}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return released_state()


@pytest.fixture
def save(tmp_path):
    def write(state):
        torch.save(state, tmp_path / "scrn.pth")
        return tmp_path / "scrn.pth"

    return write


def without_counters(state):
    return {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}


def test_the_parameters_are_the_published_number():
    with torch.device("meta"):
        network = Scrn()
    assert sum(p.numel() for p in network.parameters()) == 25_226_498
    assert sum(p.numel() for p in network.encoder.parameters()) == 23_508_032


def test_tensors_that_it_has_no_use_for_are_named(state, save, caplog):
    Scrn().load_published(save(state | {"resnet.fc.weight": torch.zeros(2, 3), "resnet.fc.bias": torch.zeros(2)}))
    (told,) = caplog.messages
    assert f"2 of {len(state) + 2} tensors are of no use to Scrn and were left out (first: resnet.fc" in told


@pytest.mark.parametrize("old", [False, True])
@torch.no_grad()
def test_published_tensors_give_the_released_graphs_maps(state, save, old, caplog):
    given = {f"module.{n}": t for n, t in without_counters(state).items()} if old else state
    network = Scrn()
    network.load_published(save(given))
    assert not caplog.records
    assert int(network.decode_edge.head[0][1].num_batches_tracked) == (0 if old else 7)
    assert int(network.encoder.bn1.num_batches_tracked) == (0 if old else 1)
    photo = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    expected = released_graph({name: tensor.double() for name, tensor in state.items()}, photo)
    maps = network.double().eval()(photo)
    assert set(maps) == set(expected)
    for key, logits in expected.items():
        assert logits.std() > 0.1
        # Not nearer, because the network keeps ImageNet's mean and standard deviation in single precision.
        torch.testing.assert_close(maps[key], logits, rtol=0, atol=1e-6 * logits.abs().max().item())
    single = network.float()(photo.float())
    for key, logits in expected.items():
        torch.testing.assert_close(single[key].double(), logits, rtol=0, atol=1e-4 * logits.abs().max().item())


@torch.no_grad()
def test_sides_are_extended_by_the_border_on_the_right_and_at_the_bottom():
    torch.manual_seed(0)
    network, photo = Scrn(width_divisor=8), torch.rand(2, 3, 39, 50)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
    network(photo)  # statistics of a photo, or the maps would be flat
    padded = torch.from_numpy(np.pad(photo.numpy(), ((0, 0), (0, 0), (0, 64 - 39), (0, 64 - 50)), mode="edge"))
    maps, whole = network.eval()(photo), network(padded)
    for key, logits in maps.items():
        assert logits.std() > 1e-3
        torch.testing.assert_close(logits, whole[key][..., :39, :50])


def test_initial_weights_are_the_published_ones():
    torch.manual_seed(0)
    network = Scrn(width_divisor=2)
    heads = [module for name, module in network.named_modules() if not name.startswith("encoder")]
    kernels = torch.cat([m.weight.detach().flatten() for m in heads if isinstance(m, torch.nn.Conv2d)])
    assert abs(kernels.mean().item()) < 1e-4
    assert kernels.std().item() == pytest.approx(0.01, rel=0.01)
    assert network.decode_saliency.head[1].bias.item() == network.decode_edge.head[1].bias.item() == 0
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 53 + 24 + 4 * (12 + 16) + 2 * 10
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


@pytest.mark.parametrize("classifier", [True, False])
@torch.no_grad()
def test_the_encoder_starts_from_torchvisions_file(tmp_path, classifier):
    torch.manual_seed(0)
    published = resnet50()
    state = {n: t for n, t in published.state_dict().items() if classifier or not n.startswith("fc.")}
    torch.save(state, tmp_path / "resnet50.pth")
    network = Scrn(weights=str(tmp_path / "resnet50.pth")).eval()
    photo = torch.rand(1, 3, 64, 64)
    features = published.maxpool(published.relu(published.bn1(published.conv1(photo))))
    for level, tap in enumerate(network.encoder(photo), start=1):
        features = getattr(published, f"layer{level}")(features)
        torch.testing.assert_close(tap, features, rtol=1e-4, atol=1e-4)


def test_another_encoders_file_and_a_missing_one_are_refused(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(DataError, match=r"`layer1.0.conv1.weight` has shape"):
        Scrn(weights=str(tmp_path / "resnet18.pth"))
    with pytest.raises(RequestError, match=r"none.pth, which does not exist"):
        Scrn(weights=str(tmp_path / "none.pth"))


def test_a_published_file_with_a_gap_is_refused_and_changes_nothing(state, save):
    name = "df3.conv_f6.1.conv_bn.1.running_mean"
    network = Scrn()
    before = network.encoder.conv1.weight.clone()
    with pytest.raises(
        DataError, match=rf"scrn.pth\": `{name}` is missing.*`refinements.2.fuse_edge.1.1.1.running_mean` .*\[32\]"
    ):
        network.load_published(save({n: t for n, t in state.items() if n != name}))
    assert torch.equal(network.encoder.conv1.weight, before)


def test_a_published_tensor_of_another_shape_is_named(state, save):
    name = "output_e.conv_cat2.1.conv_bn.0.weight"
    with pytest.raises(DataError, match=rf"`{name}` has shape \[64, 32, 1, 1\].*`decode_edge.merge.1.1.0.*\[32, 64"):
        Scrn().load_published(save(state | {name: state[name].transpose(0, 1)}))


def test_a_narrow_network_takes_no_published_file(state, save):
    with pytest.raises(DataError, match="and `width_divisor: 1`"):
        Scrn(width_divisor=8).load_published(save(state))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {0: torch.zeros(1)}])
def test_a_file_of_other_content_is_refused(save, content):
    with pytest.raises(DataError, match="no mapping of names to tensors"):
        Scrn(width_divisor=8).load_published(save(content))


def test_a_missing_and_a_damaged_file_are_named(tmp_path):
    network = Scrn(width_divisor=8)
    with pytest.raises(WeightsMissingError, match=r"none.pth\"; download"):
        network.load_published(tmp_path / "none.pth")
    (tmp_path / "page.pth").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"page.pth\" is damaged, or holds more than tensors; download it again"):
        network.load_published(tmp_path / "page.pth")


def test_code_in_a_file_is_not_run(save, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with pytest.raises(DataError, match=r"holds more than tensors: .*, whose code would have to be run"):
        Scrn(width_divisor=8).load_published(save({"resnet.conv1.weight": Hostile()}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("divisor", [0, 3, 16, -1])
def test_other_divisors_are_refused(divisor):
    with pytest.raises(RequestError, match=rf"got {divisor}; use 1 .*8"):
        Scrn(width_divisor=divisor)
