"""VGG-19's features against torchvision's own network, and what is said without its weights."""

import numpy as np
import pytest
import torch
import torchvision

from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.priors.vgg import Vgg19Features

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network(vgg19_file):
    return Vgg19Features(vgg19_file)


def torchvisions(vgg19_file, photo):
    """The first rectified features of each block, one that begins after a pooling."""
    with torch.device("meta"):
        layers = torchvision.models.vgg19().features
    state = {name.removeprefix("features."): tensor for name, tensor in torch.load(vgg19_file).items()}
    layers.load_state_dict(state, strict=False, assign=True)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    features, first, found = torch.from_numpy((photo.numpy() - mean) / std), True, []
    for layer in layers[:30]:
        features = layer(features)
        if isinstance(layer, torch.nn.ReLU) and first:
            found.append(features.clone())
            first = False
        first = first or isinstance(layer, torch.nn.MaxPool2d)
    return found


@torch.no_grad()
def test_features_are_those_of_torchvision(vgg19_file, network):
    photo = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    features, expected = network(photo), torchvisions(vgg19_file, photo)
    sizes = [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    assert [tuple(f.shape[1:]) for f in features] == sizes
    for ours, theirs in zip(features, expected, strict=True):
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_photo_alone(network):
    photo = torch.rand(1, 3, 32, 32, requires_grad=True)
    network(photo)[-1].sum().backward()
    assert photo.grad.any()
    assert not [p for p in network.parameters() if p.requires_grad or p.grad is not None]


def test_construction_draws_no_random_numbers(vgg19_file):
    before = torch.random.get_rng_state()
    Vgg19Features(vgg19_file)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_weights_there_is_no_network_but_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissingError, match=r"`vgg19` weights are not on this machine.*`weights`") as caught:
        Vgg19Features()
    assert "\n" not in str(caught.value)


def test_a_download_is_fetched_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))
    asked = []

    def refuse(request, timeout):
        asked.append(request.full_url)
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(WeightsMissingError, match="are not on this machine"):
        Vgg19Features()
    assert asked == []
    with pytest.raises(WeightsMissingError, match="could not be downloaded"):
        Vgg19Features(download=True)
    assert [url.rsplit("/", 1)[1] for url in asked] == ["vgg19-dcbb9e9d.pth"]


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [("features.28.bias", None, "is missing"), ("features.5.bias", torch.zeros(7), r"has shape \[7\]")],
)
def test_other_networks_are_refused_by_name(vgg19_file, tmp_path, name, tensor, problem):
    state = torch.load(vgg19_file)
    other = {key: value[:1].clone() for key, value in state.items() if key.endswith("weight")}
    keep = {key: value for key, value in state.items() if key != name}
    # Small: the tensors before the first one that does not fit are as they should be.
    torch.save({**other, **keep, **({} if tensor is None else {name: tensor})}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=rf"other.pth.*`{name}` {problem}, but VGG-19 needs.*vgg19-dcbb9e9d.pth"):
        Vgg19Features(str(tmp_path / "other.pth"))


def test_photos_have_a_pixel_left_at_a_sixteenth(network):
    assert network(torch.rand(1, 3, 16, 16))[-1].shape == (1, 512, 1, 1)
    with pytest.raises(RequestError, match="16 pixels or more, but got 15 × 40"):
        network(torch.rand(1, 3, 15, 40))
