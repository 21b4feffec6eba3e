"""Networks in ONNX files: what they are given, what they answer, and what is said of files that do not fit."""

import pickle
import sys

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from scipy.ndimage import correlate

import onnx_graphs
from lensblend.errors import DataError, RequestError
from lensblend.priors.onnx_dequantised import dequantised
from lensblend.priors.onnx_network import OnnxNetwork

MEAN, STD = [0.1, 0.2, 0.6], [0.5, 0.25, 2.0]


def photo(height=32, width=48, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def expected(pixels, mean=MEAN, std=STD):
    return ((pixels.astype(np.float64) / 255 - mean) / std).mean(axis=2)


@pytest.mark.parametrize("squeezed", [False, True])
def test_the_photo_is_normalised_by_channel_and_given_as_rgb(tmp_path, squeezed):
    network = OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx", squeezed=squeezed), MEAN, STD)
    assert (network.image_size, network.is_fixed) == ((32, 48), True)
    np.testing.assert_allclose(network(photo()), expected(photo()), atol=1e-5)


def test_one_number_stands_for_three(tmp_path):
    network = OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx"), 0.5, 0.25)
    np.testing.assert_allclose(network(photo()), expected(photo(), 0.5, 0.25), atol=1e-5)


def test_half_precision_is_given_and_taken(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "n.onnx", kind=TensorProto.FLOAT16)
    plane = OnnxNetwork(path, MEAN, STD)(photo())
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane, expected(photo()), atol=5e-3)


def test_a_graph_of_any_size_takes_the_given_one(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "n.onnx", ("batch", 3, "height", "width"))
    for network in (OnnxNetwork(path, MEAN, STD, [40, 56]), OnnxNetwork(path, MEAN, STD, None, (40, 56))):
        assert (network.image_size, network.is_fixed) == ((40, 56), False)
        np.testing.assert_allclose(network(photo(56, 40)), expected(photo(56, 40)), atol=1e-5)
    with pytest.raises(RequestError, match="takes photos of any size: give `image_size`"):
        OnnxNetwork(path, MEAN, STD)


def test_a_graph_of_one_size_counts_more_than_the_usual_one(tmp_path):
    path = onnx_graphs.brightness(tmp_path / "n.onnx")
    assert OnnxNetwork(path, MEAN, STD, None, (518, 770)).image_size == (32, 48)
    with pytest.raises(RequestError, match=r"takes photos of 32×48, but `image_size` is \[64, 48\]; leave it out"):
        OnnxNetwork(path, MEAN, STD, [64, 48])


@pytest.mark.parametrize("output", [1, "same"])
def test_an_output_is_chosen_by_name_or_number_and_must_be_one_map(tmp_path, output):
    path = onnx_graphs.brightness(tmp_path / "n.onnx")
    np.testing.assert_array_equal(OnnxNetwork(path, 0, 1, output="map")(photo()), OnnxNetwork(path, 0, 1)(photo()))
    says = r"`same` of .* has shape \[1, 3, 32, 48\], but a map is .*; name another output, one of map\."
    with pytest.raises(DataError, match=says):
        OnnxNetwork(path, 0, 1, output=output)(photo())


@pytest.mark.parametrize("output", ["mab", 2, -1])
def test_an_output_that_is_not_there_is_refused_with_those_that_are(tmp_path, output):
    with pytest.raises(RequestError, match=r"but .* has 2; .*There are: map, same; or a number, 0 to 1"):
        OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx"), 0, 1, output=output)


@pytest.mark.parametrize("shape", [(1, 1, 32, 48), (1, 4, 32, 48), (1, 32, 48, 3)])
def test_other_channels_than_three_are_refused(tmp_path, shape):
    with pytest.raises(DataError, match=rf"takes {shape[1]} channels .*, but a photo has 3"):
        OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx", shape), 0, 1)


def test_several_photos_at_a_time_or_whole_numbers_are_refused(tmp_path):
    with pytest.raises(DataError, match="takes 2 photos at a time"):
        OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx", (2, 3, 32, 48)), 0, 1)
    nodes = [helper.make_node("Identity", ["photo"], ["map"])]
    path = onnx_graphs.write(tmp_path / "u.onnx", nodes, [("map", [1, 3, 8, 8])], [1, 3, 8, 8], kind=TensorProto.UINT8)
    with pytest.raises(DataError, match=r"takes photo: tensor\(uint8\) .*, but one float photo"):
        OnnxNetwork(path, 0, 1)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x08\x08" + b"ConvInteger" * 3])
def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path, content, capfd):
    path = tmp_path / "n.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no network that onnxruntime can run") as refused:
        OnnxNetwork(path, 0, 1)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_fails_is_said_in_one_line(tmp_path, capfd):
    nodes = [helper.make_node("Reshape", ["photo", "sides"], ["map"])]
    sides = np.array([1, 1, 7, 7])
    outputs, shape = [("map", ["b", "c", "x", "y"])], [1, 3, "h", "w"]
    path = onnx_graphs.write(tmp_path / "n.onnx", nodes, outputs, shape, [("sides", sides)])
    with pytest.raises(DataError, match="failed on a photo of 32×48: ") as failed:
        OnnxNetwork(path, 0, 1, [32, 48])(photo())
    assert "\n" not in str(failed.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("mean", "std"), [([0.5, 0.5], 1), (0.5, [1, 2, 0]), (0.5, -1), (float("nan"), 1)])
def test_a_mean_and_a_deviation_that_make_no_sense_are_refused(tmp_path, mean, std):
    with pytest.raises(RequestError, match=r"`mean` is one number or three|`std` is .*"):
        OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx"), mean, std)


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_what_is_not_installed_is_said_with_how_to_install_it(tmp_path, monkeypatch, package):
    weight = np.full((1, 3, 3, 3), 5, np.uint8)
    path = onnx_graphs.rounded_convolution(tmp_path / "n.onnx", weight, np.uint8(1), np.float32(0.1), (1, 3, 8, 8))
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(
        f"lensblend.priors.{'onnx_network' if package == 'onnxruntime' else 'onnx_dequantised'}.find_spec",
        lambda name: None,
    )
    with pytest.raises(RequestError, match=rf"needs .*{package}.*lensblend\[onnx\]"):
        OnnxNetwork(path, 0, 1)


def test_it_computes_on_as_many_threads_as_pytorch_and_in_another_process_as_well(tmp_path, one_thread):
    network = OnnxNetwork(onnx_graphs.brightness(tmp_path / "n.onnx"), MEAN, STD)
    assert network._opened().get_session_options().intra_op_num_threads == torch.get_num_threads() == 1
    copied = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copied(photo()), network(photo()))
    before = network._opened()
    network._process += 1  # as it is for a forked child
    assert network._opened() is not before


@pytest.mark.parametrize("per_channel", [False, True])
def test_rounded_convolutions_are_computed_in_single_precision(tmp_path, per_channel):
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 256, (1, 3, 3, 3)).astype(np.uint8)
    zero, step = np.uint8(120), np.float32(0.01)
    if per_channel:
        zero, step = np.array([zero]), np.array([step])
    path = onnx_graphs.rounded_convolution(tmp_path / "n.onnx", weight, zero, step, (1, 3, 32, 48))
    dequantised_weight = (weight[0].astype(np.float64) - 120) * 0.01
    # A dark corner, which 256 levels up to the brightest value leave few of.
    pixels = photo()
    pixels[:20] //= 64
    channels = pixels.astype(np.float64).transpose(2, 0, 1) / 255
    exact = sum(correlate(c, w, mode="constant") for c, w in zip(channels, dequantised_weight, strict=True))
    got = OnnxNetwork(path, 0, 1)(pixels)
    np.testing.assert_allclose(got, exact, atol=2e-5)
    assert b"DynamicQuantizeLinear" not in dequantised(path)


def test_what_is_not_rounded_stays_as_it_is(tmp_path):
    assert dequantised(onnx_graphs.brightness(tmp_path / "n.onnx")) is None
    # A sum of whole numbers that is used as such.
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["photo"], ["levels", "photo_step", "photo_zero"]),
        helper.make_node("ConvInteger", ["levels", "weight", "photo_zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["map"], to=TensorProto.FLOAT),
    ]
    weight = [("weight", np.ones((1, 3, 1, 1), np.uint8))]
    path = onnx_graphs.write(tmp_path / "s.onnx", nodes, [("map", [1, 1, 8, 8])], [1, 3, 8, 8], weight)
    assert dequantised(path) is None
    plane = OnnxNetwork(path, 0, 1)(photo(8, 8))
    np.testing.assert_allclose(plane, np.rint(photo(8, 8) / photo(8, 8).max() * 255).sum(axis=2), atol=1.5)
