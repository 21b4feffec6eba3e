"""Files of rendering networks' authors, against graphs put together from the names in them by plain functions."""

from __future__ import annotations

import re

import pytest
import torch

from lensblend.errors import DataError
from lensblend.networks.dual_bokehnet import DualBokehNet
from lensblend.networks.dynamic_filter_dense import DynamicFilterDense
from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical, StackedMultiscaleHierarchical
from lensblend.networks.spade_blend import SpadeBlend
from lensblend.runs.checkpoints import start_from
from released_graphs import Bokehnets, DenseFilter, Dmshn, Spade, State

pytestmark = pytest.mark.usefixtures("one_thread")


def dmshn():
    return Dmshn(4), MultiscaleHierarchical(4), ()


def stacked_dmshn():
    return Dmshn(4, ("net1.", "net2.")), StackedMultiscaleHierarchical(4), ()


def xmu_viplab():
    return Bokehnets(8), DualBokehNet(8, variant="released", released_weight_sharing=True), ()


def ipcv_iitm():
    return DenseFilter(4), DynamicFilterDense(4), ("saliency", "disparity")


def slyym():
    return Spade(2), SpadeBlend(2, "raw", working_size=(64, 64)), ("saliency",)


SYSTEMS = {make.__name__: make for make in (dmshn, stacked_dmshn, xmu_viplab, ipcv_iitm, slyym)}


@pytest.fixture
def photo():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(2)
    return {name: torch.rand(1, 1, 64, 64, generator=generator) for name in ("saliency", "disparity")}


@pytest.fixture
def made(request):
    torch.manual_seed(0)
    return SYSTEMS[request.param]()


every_system = pytest.mark.parametrize("made", SYSTEMS, indirect=True)


def without_counters(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("file", "parameters"),
    [
        (lambda: Dmshn(32), 5_424_393),
        (lambda: Dmshn(32, ("net1.", "net2.")), 10_848_786),
        (lambda: Bokehnets(64), 5_372_397),
        (lambda: DenseFilter(32), 13_839_968),
        (lambda: Spade(64), 92_090_116),
    ],
)
def test_the_files_have_the_published_numbers_of_parameters(file, parameters):
    with torch.device("meta"):
        state = file().state
    learnt = [tensor for name, tensor in state.items() if name.endswith(("weight", "bias", "weight_orig"))]
    assert sum(tensor.numel() for tensor in learnt) == parameters


@every_system
@pytest.mark.parametrize("old", [False, True])
@torch.no_grad()
def test_a_network_renders_what_its_authors_graph_does(made, photo, maps, tmp_path, old):
    file, network, guidance = made
    given = {name: maps[name] for name in guidance}
    expected = file.render(photo, **given)
    state = without_counters(file.state) if old else {"state_dict": {f"module.{n}": t for n, t in file.state.items()}}
    torch.save(state, tmp_path / "authors.pkl", _use_new_zipfile_serialization=not old)
    assert start_from(network, tmp_path / "authors.pkl") == (tmp_path / "authors.pkl", "the published weights of ")
    network.in_range = lambda bokeh: bokeh  # what is clamped compares nothing
    found = network.eval()(photo, **given).bokeh
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-6 * expected.abs().max().item())


@torch.no_grad()
def test_statistics_of_the_batch_are_those_of_the_teams_script(photo, maps, tmp_path):
    torch.manual_seed(0)
    file, network = DenseFilter(4), DynamicFilterDense(4, bn_batch_stats_at_test=True)
    torch.save(file.state, tmp_path / "model_latest.pt")
    network.load_published(tmp_path / "model_latest.pt")
    expected = file.render(photo, batch=True, **maps).clamp(0, 1)
    torch.testing.assert_close(network.eval()(photo, **maps).bokeh, expected, rtol=0, atol=1e-5)
    assert (expected - file.render(photo, **maps).clamp(0, 1)).abs().max() > 1e-2


@torch.no_grad()
def test_dense_layers_may_have_the_names_of_their_time(photo, maps, tmp_path):
    torch.manual_seed(0)
    file, network = ipcv_iitm()[:2]
    dotted = {re.sub(r"(denselayer\d+\.[a-z]+)(\d)", r"\1.\2", name): tensor for name, tensor in file.state.items()}
    assert {"dense_block1.denselayer1.norm.1.weight", "dense_block3.denselayer24.conv.2.weight"} <= dotted.keys()
    torch.save(dotted, tmp_path / "model_latest.pt")
    network.load_published(tmp_path / "model_latest.pt")
    expected = file.render(photo, **maps).clamp(0, 1)
    torch.testing.assert_close(network.eval()(photo, **maps).bokeh, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_without_sharing_the_fourth_block_becomes_like_the_third(photo, tmp_path):
    torch.manual_seed(0)
    file, network = Bokehnets(8), DualBokehNet(8, variant="released").eval()
    torch.save(file.state, tmp_path / "Dem_60.pkl")
    network.load_published(tmp_path / "Dem_60.pkl")
    torch.testing.assert_close(network(photo).bokeh, file.render(photo).clamp(0, 1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_spectral_norms_of_pytorch_1_0_are_what_pytorch_makes_of_them(photo, maps, tmp_path):
    """It kept divided weights, which were those of before the last step, and no right vectors."""
    torch.manual_seed(0)
    file, network = slyym()[:2]
    old = {}
    for name, tensor in file.state.items():
        if name.endswith("weight_v"):
            continue
        old[name] = tensor
        if name.endswith("weight_orig"):
            old[name.removesuffix("_orig")] = tensor / (1.5 + len(name) % 3)
    torch.save(old, tmp_path / "350_net_G.pth")
    network.load_published(tmp_path / "350_net_G.pth")
    for name, conv in file.spectral.items():  # what has no version is of 1.0 to PyTorch
        conv.load_state_dict(
            {leaf: old[f"{name}.{leaf}"] for leaf in ("weight", "weight_orig", "weight_u")}, strict=False
        )
    expected = file.render(photo, maps["saliency"]).clamp(0, 1)
    found = network.eval()(photo, maps["saliency"]).bokeh
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("edit", ["missing", "unknown", "transposed", "empty"])
def test_what_does_not_fit_is_named_with_what_the_file_holds(tmp_path, edit):
    file, network, _ = dmshn()
    name = next(n for n, t in file.state.items() if n.endswith("weight") and t.ndim == 4 and t.shape[0] != t.shape[1])
    wrong = {
        "missing": {n: t for n, t in file.state.items() if n != name},
        "unknown": file.state | {"netD.weight": torch.ones(2, 3)},
        "transposed": file.state | {name: file.state[name].transpose(0, 1).contiguous()},
        "empty": {},
    }[edit]
    shape = r"\[\d+, \d+, \d+, \d+\]"
    said = {
        "missing": rf"1 tensors are missing \(first: `{name}` {shape} for `.*`\); the file's {len(wrong)} begin with ",
        "unknown": r"1 are unknown \(first: netD.weight \[2, 3\]\); the file's \d+ begin with ",
        "transposed": rf"1 have another shape \(first: `{name}` {shape}, not {shape}\); the file's \d+ begin with ",
        "empty": r"\d+ tensors are missing \(first: .*; it is empty. Give the",
    }[edit]
    before = {n: t.clone() for n, t in network.state_dict().items()}
    torch.save(wrong, tmp_path / "authors.pth")
    with pytest.raises(DataError, match=said) as refused:
        network.load_published(tmp_path / "authors.pth")
    assert "\n" not in str(refused.value)
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


@pytest.mark.parametrize(
    "network",
    [
        lambda: DualBokehNet(8),
        lambda: DualBokehNet(8, variant="released", memory="memnet"),
        lambda: DualBokehNet(16, variant="released"),
    ],
)
def test_another_variant_is_told_which_one_fits(network, tmp_path):
    torch.save(Bokehnets(8).state, tmp_path / "Dem_60.pkl")
    with pytest.raises(DataError, match=r"baseline=xmu_viplab model\.variant=released"):
        network().load_published(tmp_path / "Dem_60.pkl")


def test_one_bokehnet_is_not_the_whole(tmp_path):
    one = {n.removeprefix("model1."): t for n, t in Bokehnets(8).state.items() if n.startswith("model1.")}
    torch.save(one, tmp_path / "Dem_60.pkl")
    with pytest.raises(DataError, match=r"begin with conv1.weight \[8, 3, 7, 7\]. Give .* not of one bokehNet"):
        xmu_viplab()[1].load_published(tmp_path / "Dem_60.pkl")
