"""The converter against the released graph, put together here from the file's own names by plain function calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lensblend.errors import DataError, WeightsMissingError
from lensblend.priors.basnet import Basnet

pytestmark = pytest.mark.usefixtures("one_thread")

State = dict[str, Tensor]
DIVISOR = 16
DECODER = {  # inputs and the three outputs of each level, at full width
    6: (1024, 512, 512, 512),
    5: (1024, 512, 512, 512),
    4: (1024, 512, 512, 256),
    3: (512, 256, 256, 128),
    2: (256, 128, 128, 64),
    1: (128, 64, 64, 64),
}
SIDES = {"b": 512, "6": 512, "5": 512, "4": 256, "3": 128, "2": 64, "1": 64}
ENCODER = {1: (3, 64, 64), 2: (4, 64, 128), 3: (6, 128, 256), 4: (3, 256, 512)}


class Tensors:
    """Random tensors under the names of the authors' file, each BatchNorm with statistics of its own."""

    def __init__(self, divisor: int) -> None:
        self.state: State = {}
        self.divisor = divisor

    def conv(self, name: str, inputs: int, outputs: int, size: int = 3, bias: bool = True) -> None:
        inputs = inputs if inputs in (1, 3) else inputs // self.divisor
        outputs = outputs if outputs == 1 else outputs // self.divisor
        self.state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size) * (2 / (inputs * size**2)) ** 0.5
        if bias:
            self.state[f"{name}.bias"] = 0.1 * torch.randn(outputs)

    def norm(self, name: str, channels: int) -> None:
        for leaf, low in (("weight", 0.7), ("bias", -0.3), ("running_mean", -0.3), ("running_var", 0.7)):
            self.state[f"{name}.{leaf}"] = low + 0.6 * torch.rand(channels // self.divisor)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def block(self, name: str, inputs: int, outputs: int) -> None:
        for i, channels in enumerate((inputs, outputs), start=1):
            self.conv(f"{name}.conv{i}", channels, outputs, bias=False)
            self.norm(f"{name}.bn{i}", outputs)
        if inputs != outputs:
            self.conv(f"{name}.downsample.0", inputs, outputs, size=1, bias=False)
            self.norm(f"{name}.downsample.1", outputs)

    def level(self, name: str, plan: tuple[int, ...]) -> None:
        for place, inputs, outputs in zip("1m2", plan, plan[1:], strict=False):
            self.conv(f"conv{name}_{place}", inputs, outputs)
            self.norm(f"bn{name}_{place}", outputs)


def released_state(divisor: int = DIVISOR) -> State:
    tensors = Tensors(divisor)
    tensors.conv("inconv", 3, 64)
    tensors.norm("inbn", 64)
    for stage, (blocks, inputs, outputs) in ENCODER.items():
        for i in range(blocks):
            tensors.block(f"encoder{stage}.{i}", outputs if i else inputs, outputs)
    for name in [f"resb{stage}_{i}" for stage in (5, 6) for i in (1, 2, 3)]:
        tensors.block(name, 512, 512)
    tensors.level("bg", (512, 512, 512, 512))
    for level, plan in DECODER.items():
        tensors.level(f"{level}d", plan)
    for side, channels in SIDES.items():
        tensors.conv(f"outconv{side}", channels, 1)
    tensors.conv("refunet.conv0", 1, 64)
    tensors.conv("refunet.conv_d0", 64, 1)
    for i in range(1, 6):
        tensors.conv(f"refunet.conv{i}", 64, 64)
        tensors.norm(f"refunet.bn{i}", 64)
    for i in range(1, 5):
        tensors.conv(f"refunet.conv_d{i}", 128, 64)
        tensors.norm(f"refunet.bn_d{i}", 64)
    return tensors.state


def enlarge(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear")


def pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2, 2, ceil_mode=True)


class Graph:
    """The table of the fact sheet in evaluation mode."""

    def __init__(self, state: State, last_of_6: str = "bn6d_2") -> None:
        self.state, self.last_of_6 = state, last_of_6

    def conv(self, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return functional.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding, dilation)

    def norm(self, name: str, x: Tensor) -> Tensor:
        leaves = (self.state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *leaves)

    def unit(self, conv: str, norm: str, x: Tensor, dilation: int = 1) -> Tensor:
        return self.norm(norm, self.conv(conv, x, dilation=dilation)).relu()

    def block(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, stride)).relu()
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y))
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride))
        return (x + y).relu()

    def encode(self, photo: Tensor) -> dict[int, Tensor]:
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        brightest = photo.flatten(1).max(dim=1).values.view(-1, 1, 1, 1)
        x = self.unit("inconv", "inbn", (photo / brightest - mean) / deviation)
        skips = {}
        for stage, (blocks, _, _) in ENCODER.items():
            for i in range(blocks):
                x = self.block(f"encoder{stage}.{i}", x, stride=2 if stage > 1 and i == 0 else 1)
            skips[stage] = x
        for stage in (5, 6):
            x = pool(x)
            for i in (1, 2, 3):
                x = self.block(f"resb{stage}_{i}", x)
            skips[stage] = x
        return skips

    def decode(self, skips: dict[int, Tensor]) -> list[Tensor]:
        x = skips[6]
        for place in "1m2":
            x = self.unit(f"convbg_{place}", f"bnbg_{place}", x, dilation=2)
        maps = [enlarge(self.conv("outconvb", x), 32)]
        for level in (6, 5, 4, 3, 2, 1):
            dilation = 2 if level == 6 else 1
            x = torch.cat([x if level == 6 else enlarge(x, 2), skips[level]], dim=1)
            x = self.unit(f"conv{level}d_1", f"bn{level}d_1", x)
            x = self.unit(f"conv{level}d_m", f"bn{level}d_m", x, dilation)
            # Until September 2019 the released graph used one layer twice.
            x = self.unit(f"conv{level}d_2", self.last_of_6 if level == 6 else f"bn{level}d_2", x, dilation)
            side = self.conv(f"outconv{level}", x)
            maps.append(enlarge(side, 2 ** (level - 1)))
        return maps

    def refine(self, logits: Tensor) -> Tensor:
        x = self.conv("refunet.conv0", logits)
        levels = []
        for i in (1, 2, 3, 4):
            levels.append(self.unit(f"refunet.conv{i}", f"refunet.bn{i}", x))
            x = pool(levels[-1])
        x = self.unit("refunet.conv5", "refunet.bn5", x)
        for i in (4, 3, 2, 1):
            x = self.unit(f"refunet.conv_d{i}", f"refunet.bn_d{i}", torch.cat([enlarge(x, 2), levels[i - 1]], dim=1))
        return logits + self.conv("refunet.conv_d0", x)


def released_graph(state: State, photo: Tensor, last_of_6: str = "bn6d_2") -> list[Tensor]:
    """Eight maps of logits, the refined one first."""
    graph = Graph(state, last_of_6)
    maps = graph.decode(graph.encode(photo))
    return [graph.refine(maps[-1]), *reversed(maps)]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return released_state()


@pytest.fixture
def save(state, tmp_path):
    """Return a function that writes the released tensors, changed by ``edit``, and returns the path."""

    def write(edit=lambda state: state, prefix="", zipped=True):
        path = tmp_path / "basnet.pth"
        content = edit({prefix + name: tensor for name, tensor in state.items()})
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    return write


@pytest.fixture
def network() -> Basnet:
    torch.manual_seed(0)
    return Basnet(width_divisor=DIVISOR).eval()


def without_counters(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def test_the_reference_is_the_published_graph() -> None:
    with torch.device("meta"):
        tensors = released_state(divisor=1)
    assert sum(t.numel() for name, t in tensors.items() if name.endswith(("weight", "bias"))) == 87_060_360


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("old", [False, True])
@torch.no_grad()
def test_published_weights_compute_what_the_released_graph_does(network, state, save, prefix, old) -> None:
    network.load_published(save(without_counters, prefix, zipped=False) if old else save(prefix=prefix))
    photo = torch.rand(2, 3, 64, 96)
    maps, expected = network(photo), released_graph(state, photo)
    assert len(maps["side_logits"]) == len(expected) == 8
    assert maps["saliency_logits"] is maps["side_logits"][0]
    for ours, theirs in zip(maps["side_logits"], expected, strict=True):
        assert theirs.std() > 1e-2
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert int(network.stem[1].num_batches_tracked) == (0 if old else 7)


@torch.no_grad()
def test_a_darker_photo_has_the_same_saliency(network, state, save) -> None:
    network.load_published(save())
    photo = torch.rand(2, 3, 64, 64)
    photo[:, :, 0, 0] = 1.0
    dark = photo * torch.tensor([0.25, 0.6]).view(2, 1, 1, 1)
    expected = released_graph(state, dark)[0]
    for each in (photo, dark):
        ours = network(each)["saliency_logits"]
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@torch.no_grad()
def test_other_sizes_repeat_the_border_and_are_cut(network, state, save) -> None:
    network.load_published(save())
    photo = torch.rand(1, 3, 33, 70)
    rows, columns = (torch.arange(side).clamp(max=last) for side, last in ((64, 32), (96, 69)))
    expected = released_graph(state, photo[..., rows[:, None], columns])
    for ours, theirs in zip(network(photo)["side_logits"], expected, strict=True):
        torch.testing.assert_close(ours, theirs[..., :33, :70], rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def never_used(state: State) -> State:
    """A file of before September 2019: its `bn6d_2` has never seen a photo."""
    fresh = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0}
    ours = {name: torch.full_like(t, fresh[name[7:]]) for name, t in state.items() if name.startswith("bn6d_2.")}
    return {**state, **ours}


def without(state: State) -> State:
    return {name: t for name, t in state.items() if not name.startswith("bn6d_2")}


@pytest.mark.parametrize("edit", [never_used, without])
@torch.no_grad()
def test_a_file_of_before_september_2019_normalises_twice_by_one_layer(network, state, save, edit, caplog) -> None:
    network.load_published(save(edit))
    assert not caplog.records
    photo = torch.rand(1, 3, 64, 64)
    ours, theirs = network(photo)["saliency_logits"], released_graph(state, photo, last_of_6="bn5d_2")[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert not torch.allclose(ours, released_graph(state, photo)[0], atol=1e-3)


def test_the_first_missing_tensor_is_named(network, save) -> None:
    edited = save(lambda s: {name: t for name, t in s.items() if name != "resb6_2.bn1.bias"})
    with pytest.raises(DataError, match=r'basnet.pth": `resb6_2.bn1.bias` is missing, but `deep.1.2.bn1.bias` needs'):
        network.load_published(edited)


def test_another_width_is_refused_and_nothing_changed(save) -> None:
    wide = Basnet(width_divisor=8)
    before = wide.stem[0].weight.clone()
    with pytest.raises(
        DataError, match=r"`inconv.weight` has shape \[4, 3, 3, 3\], .*\[8, 3, 3, 3\].*width_divisor: 1"
    ):
        wide.load_published(save())
    assert torch.equal(wide.stem[0].weight, before)


def test_files_that_are_none_are_refused(network, save, tmp_path) -> None:
    with pytest.raises(WeightsMissingError, match=r"none.pth\"; download"):
        network.load_published(tmp_path / "none.pth")
    for content in ([1, 2], {"epoch": 3}, {0: torch.zeros(1)}):
        with pytest.raises(DataError, match="no mapping of names to tensors"):
            network.load_published(save(lambda _, content=content: content))
    path = save()
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match="is damaged, or holds more than tensors; download it again"):
        network.load_published(path)


def test_code_in_a_file_is_not_run(network, save, tmp_path) -> None:
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with pytest.raises(DataError, match=r"holds more than tensors: .*, whose code would have to be run"):
        network.load_published(save(lambda state: state | {"inconv.bias": Hostile()}))
    assert not (tmp_path / "ran").exists()
