"""The distance of VGG-19's features against NumPy, and where its weights do not go."""

import numpy as np
import pytest
import torch

from lensblend.errors import RequestError, WeightsMissingError
from lensblend.losses.perceptual import VggFeatures
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.priors.vgg import Vgg19Features

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loss(vgg19_file):
    return VggFeatures(vgg19_file)


@pytest.fixture(scope="module")
def pair():
    return torch.rand(2, 1, 3, 32, 40, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def means(vgg19_file, pair):
    network = Vgg19Features(vgg19_file)
    return [
        float(np.abs(a.numpy() - b.numpy()).mean()) for a, b in zip(network(pair[0]), network(pair[1]), strict=True)
    ]


@torch.no_grad()
def test_is_the_weighted_sum_of_mean_absolute_differences(loss, vgg19_file, pair):
    depths = means(vgg19_file, pair)
    expected = depths[0] / 32 + depths[1] / 16 + depths[2] / 8 + depths[3] / 4 + depths[4]
    assert loss(*pair).item() == pytest.approx(expected, rel=1e-5)
    deepest = VggFeatures(vgg19_file, layer_weights=[0, 0, 0, 0, 2])
    assert deepest(*pair).item() == pytest.approx(2 * depths[4], rel=1e-5)


def test_equal_photos_are_at_no_distance_and_only_the_first_gets_a_gradient(loss, pair):
    bokeh, target = pair.clone().unbind()
    assert loss(target, target).item() == 0
    bokeh, target = bokeh.requires_grad_(), target.requires_grad_()
    loss(bokeh, target).backward()
    assert bokeh.grad.abs().sum() > 0
    assert target.grad is None


@torch.no_grad()
def test_spade_feeds_its_photos_as_they_are_from_minus_one_to_one(vgg19_file, pair):
    seen = VggFeatures(vgg19_file, normalisation="symmetric")
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    # What ImageNet's normalisation makes of these is 2x - 1.
    same = [(2 * photo - 1) * std + mean for photo in pair]
    assert seen(*pair).item() == pytest.approx(VggFeatures(vgg19_file)(*same).item(), rel=1e-4)
    with pytest.raises(RequestError, match="`normalisation` is one of imagenet, symmetric, but got 'none'"):
        VggFeatures(vgg19_file, normalisation="none")


@torch.no_grad()
def test_renderings_beyond_the_range_and_autocast_are_taken_in_float32(loss, pair):
    bokeh = 3 * pair[0] - 1
    expected = loss(bokeh, pair[1])
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(bokeh, pair[1])
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


def test_state_dicts_and_optimizers_do_not_see_the_network(loss):
    total = WeightedSum({"vgg": {"weight": 10.0, "compares": "bokeh", "loss": loss}})
    assert list(total.parameters()) == []
    assert total.state_dict() == {}


def test_without_weights_there_is_no_loss(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("something was fetched"))
    with pytest.raises(WeightsMissingError, match="`vgg19` weights are not on this machine"):
        VggFeatures()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network here")))
    with pytest.raises(WeightsMissingError, match="could not be downloaded"):
        VggFeatures(download=True)


@pytest.mark.parametrize("layer_weights", [(1.0,), (1.0, 1.0, 1.0, 1.0, -1.0)])
def test_layer_weights_are_five_and_not_negative(layer_weights):
    with pytest.raises(RequestError, match="five numbers, none negative, but got"):
        VggFeatures(layer_weights=layer_weights)
