"""Maps of ONNX networks: what their numbers mean, presets, what a command line names, one computation per photo."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.transform import resize

import onnx_graphs
from lensblend.data.images import read_map, read_photo
from lensblend.data.pairs import Pair, Pairs
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.inference.guidance import build_guides
from lensblend.inference.onnx_maps import OnnxMap, onnx_node
from lensblend.inference.prior_maps import NetworkMap
from lensblend.priors.onnx_presets import PRESETS, recognised
from lensblend.priors.scrn import Scrn

SHARED = Path(__file__).parents[2] / "../shared/data"
PLAIN = {"mean": 0.0, "std": 1.0, "activation": "none"}
HALF = 6e-4  # half precision, in which maps are kept


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path / "cache"))


def pair(height=32, width=48, seed=0):
    rng = np.random.default_rng(seed)
    pixels = resize(rng.random((4, 5, 3)), (height, width, 3), order=1) * 200 + 30
    return Pair("a", pixels.astype(np.uint8), None)


def grey(of):
    return of.photo.astype(np.float64).mean(axis=2) / 255


def test_a_probability_is_taken_as_it_is(tmp_path):
    guide = OnnxMap("saliency", str(onnx_graphs.brightness(tmp_path / "n.onnx")), **PLAIN, holds="saliency")
    np.testing.assert_allclose(guide(pair()), grey(pair()), atol=HALF)
    focus = OnnxMap("focus", str(tmp_path / "n.onnx"), **PLAIN, holds="saliency")
    np.testing.assert_array_equal(focus(pair()), guide(pair()))


def test_logits_go_through_a_sigmoid(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "n.onnx", scale=40.0, offset=-20.0)
    guide = OnnxMap("saliency", str(path), mean=0, std=1, activation="sigmoid", holds="saliency")
    np.testing.assert_allclose(guide(pair()), 1 / (1 + np.exp(20 - 40 * grey(pair()))), atol=HALF)


def test_any_range_is_stretched(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "n.onnx", scale=-7.0, offset=3.0)
    guide = OnnxMap("disparity", str(path), mean=0, std=1, activation="minmax", holds="disparity")
    raw = -grey(pair())
    np.testing.assert_allclose(guide(pair()), (raw - raw.min()) / np.ptp(raw), atol=HALF)


def test_depth_is_inverted_and_both_kinds_are_divided_by_their_largest(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "n.onnx", scale=30.0, offset=2.0)
    metres = 30 * grey(pair()) + 2
    near, far = (OnnxMap("disparity", str(path), **PLAIN, holds=kind)(pair()) for kind in ("depth", "disparity"))
    np.testing.assert_allclose(near, metres.min() / metres, atol=HALF)
    np.testing.assert_allclose(far, metres / metres.max(), atol=HALF)


@pytest.mark.parametrize(
    ("name", "scale", "offset", "facts", "says"),
    [
        ("saliency", 9.0, -4.0, {"activation": "none"}, "use sigmoid for logits, or minmax"),
        ("saliency", 1.0, 0.0, {"activation": "sigmoid"}, "use minmax or none: there is a sigmoid in the graph"),
        ("disparity", 1.0, -0.5, {"holds": "disparity"}, "known but for an offset, use `activation: minmax`"),
        ("disparity", 1.0, -0.5, {"holds": "depth"}, r"gives depth down to -0\.\d+, .* is it `holds: disparity`"),
        ("disparity", np.nan, 0.0, {"holds": "depth"}, "finds no finite disparity for `a`"),
        ("saliency", np.inf, 0.0, {}, "finds no finite saliency for `a`"),
    ],
)
def test_numbers_that_mean_something_else_are_refused_and_not_kept(tmp_path, name, scale, offset, facts, says):
    path = onnx_graphs.brightness(tmp_path / "n.onnx", scale=scale, offset=offset)
    guide = OnnxMap(name, str(path), **{**PLAIN, "holds": name, **facts})
    with pytest.raises(DataError, match=says):
        guide(pair())
    assert not list(guide.cache.folder.glob("*.npy"))


def test_a_photo_is_resized_turned_where_the_graph_allows_it_and_the_map_brought_back(tmp_path):
    open_graph = onnx_graphs.brightness(tmp_path / "open.onnx", (1, 3, "h", "w"))
    fixed = onnx_graphs.brightness(tmp_path / "fixed.onnx")
    facts = {**PLAIN, "holds": "saliency"}
    upright = pair(120, 80)
    turning = OnnxMap("saliency", str(open_graph), image_size=[32, 48], **facts)
    standing = OnnxMap("saliency", str(fixed), **facts)
    assert turning.compute(upright).shape == (48, 32)
    assert standing.compute(upright).shape == (32, 48)
    for guide in (turning, standing):
        assert guide(upright).shape == (120, 80)
        np.testing.assert_allclose(guide(upright), grey(upright), atol=0.03)


def test_a_map_is_computed_once_per_photo_network_and_facts(tmp_path, monkeypatch):
    path = onnx_graphs.brightness(tmp_path / "n.onnx")
    facts = {**PLAIN, "holds": "saliency"}
    guide = OnnxMap("saliency", str(path), **facts)
    first = guide(pair())
    again = OnnxMap("saliency", str(path), **facts)
    monkeypatch.setattr(again, "compute", lambda pair: pytest.fail("computed twice"))
    np.testing.assert_array_equal(again(pair()), first)
    identities = {guide.identity}
    for change in ({"mean": 0.1}, {"std": 2.0}, {"activation": "minmax"}):
        identities.add(OnnxMap("saliency", str(path), **{**facts, **change}).identity)
    identities.add(OnnxMap("disparity", str(path), **{**facts, "holds": "depth"}).identity)
    identities.add(OnnxMap("disparity", str(path), **{**facts, "holds": "disparity"}).identity)
    assert len(identities) == 6
    onnx_graphs.brightness(path, offset=0.01)
    identities.add(OnnxMap("saliency", str(path), **facts).identity)
    (tmp_path / "n.onnx_data").write_bytes(b"weights")
    identities.add(OnnxMap("saliency", str(path), **facts).identity)
    assert len(identities) == 8


def test_maps_are_computed_before_they_are_asked_for_and_that_is_remembered(tmp_path):
    guide = OnnxMap("saliency", str(onnx_graphs.brightness(tmp_path / "n.onnx")), **PLAIN, holds="saliency")

    class Two(Pairs):
        ids = ("a", "b")

        def load(self, index, epoch=0):
            return pair(seed=index)

    guide.prepare(Two(), ["train"], torch.device("cpu"), lambda: range(2))
    assert len(list(guide.cache.folder.glob("*.npy"))) == 2
    guide.prepare(Two(), ["train"], torch.device("cpu"), lambda: pytest.fail("gone through twice"))


def test_a_known_network_needs_no_facts_and_each_may_be_replaced(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "isnet_quint8.onnx", offset=0.5)
    expected = grey(pair()) - 0.5 + 0.5
    by_name, by_preset = OnnxMap("saliency", str(path)), OnnxMap("saliency", str(path), preset="isnet")
    assert by_name.identity == by_preset.identity
    np.testing.assert_allclose(by_name(pair()), expected, atol=HALF)
    stretched = OnnxMap("saliency", str(path), activation="minmax")(pair())
    np.testing.assert_allclose(stretched, (expected - expected.min()) / np.ptp(expected), atol=2 * HALF)


def test_an_unknown_network_needs_all_facts(tmp_path):
    path = str(onnx_graphs.brightness(tmp_path / "model.onnx"))
    says = r"give saliency\.preset, one of isnet, u2net, birefnet; or saliency\.std, saliency\.activation"
    with pytest.raises(RequestError, match=says):
        OnnxMap("saliency", path, mean=0.5, holds="saliency")
    with pytest.raises(RequestError, match=r"or disparity\.holds\."):
        OnnxMap("disparity", path, **PLAIN)
    with pytest.raises(RequestError, match="`holds` is one of disparity, depth, but got 'saliency'"):
        OnnxMap("disparity", path, **PLAIN, holds="saliency")
    with pytest.raises(RequestError, match="depth is inverted as it is: use none"):
        OnnxMap("disparity", path, mean=0, std=1, activation="minmax", holds="depth")
    with pytest.raises(RequestError, match=r"`disparity\.preset` = isnet estimates saliency; for disparity there are"):
        OnnxMap("disparity", path, preset="isnet")
    with pytest.raises(RequestError, match=r"`preset` is one of .* did you mean 'u2net'"):
        OnnxMap("saliency", path, preset="unet")


@pytest.mark.parametrize(
    ("stem", "estimates", "preset"),
    [
        ("isnet-general-use", "saliency", "isnet"),
        ("u2netp", "saliency", "u2net"),
        ("u2net_cloth_seg", "saliency", None),
        ("BiRefNet-general-epoch_244", "saliency", "birefnet"),
        ("isnet", "disparity", None),
        ("depth_anything_v2_vits", "disparity", "depth_anything"),
        ("depth_anything_v2_metric_hypersim_vits", "disparity", None),
        ("midas_v21_384", "disparity", "midas"),
        ("midas_v21_small_256", "disparity", "midas_small"),
        ("dpt_hybrid_384", "disparity", "dpt"),
        ("DepthPro", "disparity", "depth_pro"),
        ("model", "disparity", None),
    ],
)
def test_networks_are_recognised_by_their_usual_names(stem, estimates, preset):
    assert recognised(stem, estimates) == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_enough_for_a_graph_of_any_size(tmp_path, preset):
    name = PRESETS[preset].estimates
    scale = 3.0 if PRESETS[preset].facts["activation"] == "sigmoid" else 0.1
    offset = 1.0 if name == "disparity" else 0.5
    path = onnx_graphs.brightness(tmp_path / "model.onnx", (1, 3, "h", "w"), scale=scale, offset=offset)
    values = OnnxMap(name, str(path), preset)(pair())
    assert values.shape == (32, 48)
    assert 0 <= values.min() < values.max() <= 1
    if preset == "depth_pro":  # bright is far here
        assert np.corrcoef(values.ravel(), grey(pair()).ravel())[0, 1] < -0.99
    else:
        assert np.corrcoef(values.ravel(), grey(pair()).ravel())[0, 1] > 0.9


def test_what_is_no_file_or_another_file_is_said(tmp_path):
    with pytest.raises(WeightsMissingError, match=r"`saliency\.path` = nowhere\.onnx does not exist"):
        OnnxMap("saliency", "nowhere.onnx")
    with pytest.raises(DataError, match="is a folder, not a file"):
        OnnxMap("saliency", str(tmp_path))
    path = onnx_graphs.brightness(tmp_path / "isnet.onnx")
    with pytest.raises(RequestError, match=r"is an ONNX network: use saliency=onnx saliency\.path="):
        NetworkMap("saliency", Scrn(), str(path), [32, 32])


def test_a_command_line_names_a_network_by_its_file_or_by_preset_and_file(tmp_path):
    def named(source, node=None):
        found = onnx_node("saliency", source, node or {})
        return found and {key: value for key, value in found.items() if key != "_target_"}

    assert named("maps") is None
    assert named("isnet:maps") is None
    assert named("some/isnet.onnx") == {"path": "some/isnet.onnx"}
    assert named("u2net:model.ONNX") == {"path": "model.ONNX", "preset": "u2net"}
    with pytest.raises(RequestError, match="did you mean 'u2net'"):
        named("u2nte:model.onnx")
    with pytest.raises(RequestError, match=r"--saliency PRESET:model\.onnx with one of isnet, u2net, birefnet"):
        named("model.onnx")
    trained_with = {"_target_": "lensblend.inference.onnx_maps.OnnxMap", "path": "old.onnx", "mean": 0.5}
    assert named("model.onnx", trained_with) == {"path": "model.onnx", "mean": 0.5}
    path = onnx_graphs.brightness(tmp_path / "isnet:1.onnx", offset=0.5)
    guide = build_guides(["saliency"], {"saliency": onnx_node("saliency", str(path), {})})["saliency"]
    np.testing.assert_allclose(guide(pair()), grey(pair()), atol=HALF)


@pytest.mark.slow  # seconds for one photo
def test_isnet_finds_the_subjects_that_people_marked():
    network, folder = SHARED / "priors" / "isnet_quint8.onnx", SHARED / "sod"
    if not network.exists() or not folder.exists():
        pytest.skip(f"{network} or {folder} is not on this machine")
    photos = sorted(folder.rglob("*.jpg"))[:3]
    overlaps = []
    for file in photos:
        mask = read_map(next(m for m in folder.rglob(f"{file.stem}.png"))) > 0.5
        found = OnnxMap("saliency", str(network))(Pair(file.stem, read_photo(file), None)) > 0.5
        overlaps.append((mask & found).sum() / (mask | found).sum())
    assert np.median(overlaps) > 0.8, overlaps
